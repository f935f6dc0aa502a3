package metrics

import (
	"github.com/coordd/coordd/internal/service"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/transport"
)

// codes that any verb can answer with, and the ones that belong to a group of verbs.
var (
	commonCodes = []string{"OK", "BAD_REQUEST", "BUSY", "INTERNAL"}
	opCodes     = map[string][]string{
		"session.keepalive": {"SESSION_EXPIRED", "DENIED"},
		"session.resume":    {"SESSION_EXPIRED", "DENIED"},
		"session.close":     {"SESSION_EXPIRED", "DENIED"},
		"lock.acquire":      {"LOCKED", "WAIT_TIMEOUT", "SESSION_EXPIRED", "DENIED", "QUOTA", "DEADLOCK", "LIMIT_MISMATCH"},
		"lock.acquire-all":  {"LOCKED", "WAIT_TIMEOUT", "SESSION_EXPIRED", "DENIED", "QUOTA", "DEADLOCK", "LIMIT_MISMATCH"},
		"lock.release":      {"NOT_HELD", "SESSION_EXPIRED", "DENIED"},
		"lock.hand-over":    {"NOT_HELD", "NOT_FOUND", "SESSION_EXPIRED", "DENIED"},

		"election.campaign":  {"LOCKED", "WAIT_TIMEOUT", "SESSION_EXPIRED", "DENIED", "QUOTA", "DEADLOCK", "LIMIT_MISMATCH", "TOO_LARGE"},
		"election.proclaim":  {"NOT_HELD", "SESSION_EXPIRED", "DENIED", "TOO_LARGE"},
		"election.resign":    {"NOT_HELD", "SESSION_EXPIRED", "DENIED"},
		"election.hand-over": {"NOT_HELD", "NOT_FOUND", "SESSION_EXPIRED", "DENIED"},
		"barrier.wait":       {"WAIT_TIMEOUT", "SESSION_EXPIRED", "DENIED", "QUOTA", "LIMIT_MISMATCH"},
		"latch.set":          {"SESSION_EXPIRED", "DENIED", "QUOTA"},
		"latch.count-down":   {"NOT_FOUND", "SESSION_EXPIRED", "DENIED"},
		"latch.wait":         {"WAIT_TIMEOUT", "SESSION_EXPIRED", "DENIED", "QUOTA"},

		"id.create":  {"SEQ_CONFLICT", "QUOTA"},
		"id.alloc":   {"SEQ_NOT_FOUND", "SEQ_EXHAUSTED"},
		"id.advance": {"SEQ_NOT_FOUND", "SEQ_BACKWARD"},
	}
	quotaKinds     = []string{"sessions", "locks", "sequences", "payload", "rate"}
	rejectionKinds = []transport.Rejection{transport.RejectProtocol, transport.RejectCluster, transport.RejectMember,
		transport.RejectIncarnation, transport.RejectFrame, transport.RejectTimeout}
)

// fillKnownLabels makes the label values that are known before anything happened, at zero.
func (m *Metrics) fillKnownLabels() {
	for _, o := range []node.Outcome{node.OutcomeApplied, node.OutcomeNotLeader, node.OutcomeBusy, node.OutcomeTooLarge,
		node.OutcomeLost, node.OutcomeStopped} {
		m.proposals.WithLabelValues(string(o))
	}
	for _, op := range service.Verbs() {
		for _, code := range commonCodes {
			m.requests.WithLabelValues(op, code)
		}
		for _, code := range opCodes[op] {
			m.requests.WithLabelValues(op, code)
		}
	}
	for _, k := range quotaKinds {
		m.quotaRefusals.WithLabelValues(k)
	}
	for _, k := range rejectionKinds {
		m.peerRejected.WithLabelValues(string(k))
	}
	m.tlsExpiry.WithLabelValues("node")
	m.KnowPeers("tcp", []string{"none"})
}

// KnowPeers makes the peers' series present at zero. Without peers, as on a lone node, the families stand
// with the peer "none".
func (m *Metrics) KnowPeers(transport string, peers []string) {
	if len(peers) == 0 {
		return
	}
	m.peerRoundTrip.DeleteLabelValues("none", transport)
	m.peerSent.DeleteLabelValues("none", transport)
	m.peerReceived.DeleteLabelValues("none", transport)
	m.peerSendFailures.DeleteLabelValues("none", transport)
	for _, p := range peers {
		m.peerRoundTrip.WithLabelValues(p, transport)
		m.peerSent.WithLabelValues(p, transport)
		m.peerReceived.WithLabelValues(p, transport)
		m.peerSendFailures.WithLabelValues(p, transport)
	}
}
