package service

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
)

// reachTimeout is how long one try of reachable waits for answers.
const reachTimeout = 250 * time.Millisecond

// prober finds out whether NATS carries messages between this node and the others. A probe goes to another
// member's node through that member's server and comes back: an in-process connection stays up when the routes
// are cut, so that only the way through the others proves anything. A node without others, and one with an
// outside NATS, probes itself through its server.
type prober struct {
	s     *Service
	inbox string

	mu      sync.Mutex
	round   uint64
	sent    map[uint64]time.Time // rounds that may still be answered
	answers map[string]answered  // by node name
	changed chan struct{}        // closed and replaced at each answer

	leaderSeen time.Time // when a leader was last heard
}

// answered is what a member's last answer says.
type answered struct {
	round   uint64
	at      time.Time // of the probe, not of the answer: it was reachable then
	healthy bool      // what it says of itself
}

func newProber(s *Service) *prober {
	return &prober{s: s, inbox: nats.NewInbox(), sent: make(map[uint64]time.Time), answers: make(map[string]answered),
		changed: make(chan struct{}), leaderSeen: s.started}
}

// targets returns the nodes to probe and how many of them have to answer.
func (p *prober) targets() (names []string, need int) {
	st := p.s.node.Status()
	voters, self := 0, false
	for _, m := range configOf(&st).Members {
		if m.Learner {
			continue
		}
		voters++
		if m.ID == st.ID {
			self = true
			continue
		}
		names = append(names, m.Name)
	}
	if p.s.cfg.ExternalNATS || len(names) == 0 || canary.Broken(canary.ProbeThroughOthers) {
		return []string{p.s.cfg.Name}, 1
	}
	need = voters/2 + 1
	if self {
		need--
	}
	return names, need
}

// run probes at each interval, on every node: followers too have to know whether they could serve.
func (p *prober) run() {
	tick := time.NewTicker(p.s.cfg.Timing.ProbeInterval)
	defer tick.Stop()
	for {
		p.send()
		p.noteLeader()
		select {
		case <-p.s.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *prober) noteLeader() {
	if st := p.s.node.Status(); st.Leader != 0 {
		p.mu.Lock()
		p.leaderSeen = time.Now().Add(-st.LeaderContact)
		p.mu.Unlock()
	}
}

// leaderAge is the time since this node last heard from a leader.
func (s *Service) leaderAge() time.Duration {
	if st := s.node.Status(); st.Leader != 0 {
		return st.LeaderContact
	}
	s.prober.mu.Lock()
	defer s.prober.mu.Unlock()
	return time.Since(s.prober.leaderSeen)
}

// send sends one round of probes and returns its number.
func (p *prober) send() uint64 {
	names, _ := p.targets()
	p.mu.Lock()
	p.round++
	round := p.round
	now := time.Now()
	p.sent[round] = now
	for r, at := range p.sent {
		if now.Sub(at) > p.s.cfg.Timing.NATSLost {
			delete(p.sent, r)
		}
	}
	p.mu.Unlock()
	reply := p.inbox + "." + strconv.FormatUint(round, 10)
	for _, name := range names {
		// A probe that can't be sent is one without an answer.
		_ = p.s.nc.PublishRequest(probeSubject(name), reply, nil)
	}
	return round
}

// receive takes an answer. "No responders" is none.
func (p *prober) receive(msg *nats.Msg) {
	round, err := strconv.ParseUint(msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:], 10, 64)
	if err != nil || len(msg.Data) == 0 {
		return
	}
	var m coorddv1.ProbeReply
	if decodeBody(msg.Data, &m) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.sent[round]
	if old := p.answers[m.Name]; !ok || round < old.round {
		return
	}
	p.answers[m.Name] = answered{round: round, at: at, healthy: m.Healthy}
	close(p.changed)
	p.changed = make(chan struct{})
}

// answer tells another member's prober that this node can be reached here, and whether it reaches a majority.
func (p *prober) answer(msg *nats.Msg) {
	if msg.Reply == "" {
		return
	}
	body, err := encodeBody(&coorddv1.ProbeReply{Name: p.s.cfg.Name, Healthy: p.healthy()}, isJSON(msg.Data))
	if err != nil {
		return
	}
	_ = msg.Respond(body)
}

// healthy reports whether enough members answered a probe of the last while.
func (p *prober) healthy() bool {
	since := time.Now().Add(-p.s.cfg.Timing.NATSLost)
	return p.enough(func(a answered) bool { return a.at.After(since) })
}

func (p *prober) enough(good func(answered) bool) bool {
	names, need := p.targets()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enoughLocked(names, need, good)
}

func (p *prober) enoughLocked(names []string, need int, good func(answered) bool) bool {
	for _, name := range names {
		if a, ok := p.answers[name]; ok && good(a) {
			need--
		}
	}
	return need <= 0
}

// reachable sends a round of its own and waits until enough members answered that one: the subscriptions that
// were made before are then known there, since interest and messages travel in one order.
func (p *prober) reachable(ctx context.Context) bool {
	round := p.send()
	names, need := p.targets()
	limit := time.NewTimer(reachTimeout)
	defer limit.Stop()
	for {
		p.mu.Lock()
		ok := p.enoughLocked(names, need, func(a answered) bool { return a.round >= round })
		changed := p.changed
		p.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-p.s.ctx.Done():
			return false
		case <-limit.C:
			return false
		case <-changed:
		}
	}
}

// healthyMember returns a voter that reports health, as far as this node can still ask. 0: none.
func (p *prober) healthyMember(ctx context.Context) raft.MemberID {
	st := p.s.node.Status()
	since := time.Now().Add(-p.s.cfg.Timing.NATSLost)
	for _, m := range configOf(&st).Members {
		if m.ID == st.ID || m.Learner || m.Standby {
			continue
		}
		p.mu.Lock()
		a, ok := p.answers[m.Name]
		p.mu.Unlock()
		if (ok && a.healthy && a.at.After(since)) || canary.Broken(canary.HandOverToHealthy) {
			return m.ID
		}
		if p.askPeer(ctx, m.ID) {
			return m.ID
		}
	}
	return 0
}
