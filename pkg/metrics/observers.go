package metrics

import (
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/internal/service"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport"
)

// TransportObserver feeds the metrics of a peer transport.
type TransportObserver struct{ m *Metrics }

// NodeObserver feeds the metrics of a node.
type NodeObserver struct {
	node.NoObserver
	m *Metrics
	// leader is the last leader that a message came from, to count changes as this node sees them.
	leader atomic.Uint64
}

// StorageObserver feeds the metrics of a log.
type StorageObserver struct{ m *Metrics }

// ServiceObserver feeds the metrics of requests and of the NATS connection.
type ServiceObserver struct{ m *Metrics }

// ApplyObserver feeds the metrics of what applied entries did, equal on all nodes.
type ApplyObserver struct{ m *Metrics }

var (
	_ transport.Observer = TransportObserver{}
	_ node.Observer      = (*NodeObserver)(nil)
	_ storage.Observer   = StorageObserver{}
	_ service.Observer   = ServiceObserver{}

	_ service.ApplyObserver = ServiceObserver{}

	_ service.ApplyObserver = ApplyObserver{}
)

// Transport returns the observer for the peer transport.
func (m *Metrics) Transport() TransportObserver { return TransportObserver{m} }

// Node returns the observer for the node.
func (m *Metrics) Node() *NodeObserver { return &NodeObserver{m: m} }

// Storage returns the observer for the log.
func (m *Metrics) Storage() StorageObserver { return StorageObserver{m} }

// Service returns the observer for the service and its NATS connection.
func (m *Metrics) Service() ServiceObserver { return ServiceObserver{m} }

// Apply returns the observer for applied entries.
func (m *Metrics) Apply() ApplyObserver { return ApplyObserver{m} }

// LockWaited implements service.ApplyObserver.
func (o ApplyObserver) LockWaited(d time.Duration) { o.m.lockWait.Observe(d.Seconds()) }

// LockHeld implements service.ApplyObserver.
func (o ApplyObserver) LockHeld(d time.Duration) { o.m.lockHold.Observe(d.Seconds()) }

// PeerSent implements transport.Observer.
func (o TransportObserver) PeerSent(peer, transport string, bytes int) {
	o.m.peerSent.WithLabelValues(peer, transport).Add(float64(bytes))
}

// PeerReceived implements transport.Observer.
func (o TransportObserver) PeerReceived(peer, transport string, bytes int) {
	o.m.peerReceived.WithLabelValues(peer, transport).Add(float64(bytes))
}

// PeerSendFailed implements transport.Observer.
func (o TransportObserver) PeerSendFailed(peer, transport string) {
	o.m.peerSendFailures.WithLabelValues(peer, transport).Inc()
}

// PeerRejected implements transport.Observer.
func (o TransportObserver) PeerRejected(kind transport.Rejection) {
	o.m.peerRejected.WithLabelValues(string(kind)).Inc()
}

// PeerRoundTrip implements transport.Observer.
func (o TransportObserver) PeerRoundTrip(peer, transport string, seconds float64) {
	o.m.peerRoundTrip.WithLabelValues(peer, transport).Observe(seconds)
}

// Proposals implements node.Observer.
func (o *NodeObserver) Proposals(outcome node.Outcome, count int) {
	o.m.proposals.WithLabelValues(string(outcome)).Add(float64(count))
}

// RoleChanged implements node.Observer.
func (o *NodeObserver) RoleChanged(role raft.Role, _ uint64) {
	if role == raft.Leader {
		o.sawLeader(^uint64(0)) // itself
	}
}

// LeaderContact implements node.Observer.
func (o *NodeObserver) LeaderContact(leader raft.MemberID, _ float64) { o.sawLeader(uint64(leader)) }

func (o *NodeObserver) sawLeader(leader uint64) {
	if o.leader.Load() != leader && o.leader.Swap(leader) != leader {
		o.m.leaderChanges.Inc()
	}
}

// SnapshotSaved implements node.Observer.
func (o *NodeObserver) SnapshotSaved(seconds float64, bytes int64) {
	o.m.snapshotSave.Observe(seconds)
	o.m.snapshotBytes.Store(bytes)
}

// SnapshotInstalled implements node.Observer.
func (o *NodeObserver) SnapshotInstalled(seconds float64, bytes int64) {
	o.m.snapshotInstall.Observe(seconds)
	o.m.snapshotBytes.Store(bytes)
}

// SendFailed implements node.Observer.
func (o *NodeObserver) SendFailed(raft.MemberID) { o.m.heartbeatSendFailures.Inc() }

// LogSync implements storage.Observer.
func (o StorageObserver) LogSync(seconds float64, _, _ int) { o.m.logSync.Observe(seconds) }

// DBSize implements storage.Observer.
func (o StorageObserver) DBSize(bytes int64) { o.m.dbBytes.Store(bytes) }

// Recovering implements storage.Observer: the node's own view of it is read at each scrape.
func (o StorageObserver) Recovering(bool) {}

// SnapshotBytes is the size of the newest snapshot's file, once one was saved, installed or found.
func (m *Metrics) SnapshotBytes() uint64 { return uint64(max(m.snapshotBytes.Load(), 0)) }

// FoundSnapshot tells of a snapshot that was there at the start.
func (m *Metrics) FoundSnapshot(bytes int64) { m.snapshotBytes.Store(bytes) }

// DBBytes is the size of the log's files when they were last measured.
func (m *Metrics) DBBytes() uint64 { return uint64(max(m.dbBytes.Load(), 0)) }

// NATSConnected implements natsserver.Observer: the connection itself is asked at each scrape.
func (o ServiceObserver) NATSConnected(bool) {}

// NATSReconnected implements natsserver.Observer.
func (o ServiceObserver) NATSReconnected() { o.m.natsReconnects.Inc() }

// NATSSlowConsumer implements natsserver.Observer.
func (o ServiceObserver) NATSSlowConsumer() { o.m.natsSlowConsumers.Inc() }

// RequestDone implements service.Observer.
func (o ServiceObserver) RequestDone(op, code string, took time.Duration) {
	o.m.requests.WithLabelValues(op, code).Observe(took.Seconds())
}

// DuplicateRequest implements service.Observer.
func (o ServiceObserver) DuplicateRequest() { o.m.duplicateRequests.Inc() }

// QuotaRefused implements service.Observer.
func (o ServiceObserver) QuotaRefused(kind string) { o.m.quotaRefusals.WithLabelValues(kind).Inc() }

// LockWaited implements service.ApplyObserver.
func (o ServiceObserver) LockWaited(d time.Duration) { o.m.lockWait.Observe(d.Seconds()) }

// LockHeld implements service.ApplyObserver.
func (o ServiceObserver) LockHeld(d time.Duration) { o.m.lockHold.Observe(d.Seconds()) }

// ClockJumped counts a jump of the wall clock.
func (m *Metrics) ClockJumped() { m.clockJumps.Inc() }
