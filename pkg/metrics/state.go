package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// State is everything that is read for a scrape rather than counted as it happens.
type State struct {
	HasLeader bool
	// IsLeader: leader of this term with its first entry committed, and in contact with a majority.
	IsLeader                 bool
	Term                     uint64
	CommitIndex              uint64
	AppliedIndex             uint64
	ProposalsPending         int
	LeaderLastContactSeconds float64 // 0 on the leader
	FailureTolerance         int     // members that may still fail
	Recovering               bool

	DBBytes       uint64
	LogEntries    uint64
	SnapshotBytes uint64

	NATSConnected bool

	// What follows is a property of the replicated state: equal on all nodes at equal applied index.
	LocksHeld         uint64
	LockWaiters       uint64
	Sessions          uint64
	LockGrants        uint64
	LockExpirations   uint64
	IDsAllocated      uint64
	IDRanges          uint64
	SequenceRemaining float64 // smallest share of any sequence that is left, 0 to 1; 1 without sequences
}

type stateMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*State) float64
}

type stateCollector struct {
	metrics []stateMetric
	source  atomic.Pointer[func() State]
}

func newStateCollector() *stateCollector {
	c := &stateCollector{}
	add := func(kind prometheus.ValueType, name, help string, value func(*State) float64) {
		c.metrics = append(c.metrics, stateMetric{prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil), kind, value})
	}
	gauge := func(name, help string, value func(*State) float64) { add(prometheus.GaugeValue, name, help, value) }
	count := func(name, help string, value func(*State) float64) { add(prometheus.CounterValue, name, help, value) }

	gauge("has_leader", "1 if this node knows a leader.", func(s *State) float64 { return truth(s.HasLeader) })
	gauge("is_leader", "1 if this node leads, its first entry is committed and a majority answered within an election timeout.",
		func(s *State) float64 { return truth(s.IsLeader) })
	gauge("term", "The Raft term.", func(s *State) float64 { return float64(s.Term) })
	gauge("commit_index", "Highest index known to be committed.", func(s *State) float64 { return float64(s.CommitIndex) })
	gauge("applied_index", "Highest index applied to the state machine.", func(s *State) float64 { return float64(s.AppliedIndex) })
	gauge("proposals_pending", "Proposals that are not answered yet.", func(s *State) float64 { return float64(s.ProposalsPending) })
	gauge("leader_last_contact_seconds", "Time since this node last heard from a leader; 0 on the leader.",
		func(s *State) float64 { return s.LeaderLastContactSeconds })
	gauge("failure_tolerance", "Members that may fail before the cluster stops answering.", func(s *State) float64 { return float64(s.FailureTolerance) })
	gauge("recovering", "1 while the log is behind what this node once acknowledged.", func(s *State) float64 { return truth(s.Recovering) })
	gauge("db_size_bytes", "Size of the log's files.", func(s *State) float64 { return float64(s.DBBytes) })
	gauge("log_entries", "Entries in the log.", func(s *State) float64 { return float64(s.LogEntries) })
	gauge("snapshot_size_bytes", "Size of the latest snapshot; 0 without one.", func(s *State) float64 { return float64(s.SnapshotBytes) })
	gauge("nats_connected", "1 while the node's own NATS connection is up.", func(s *State) float64 { return truth(s.NATSConnected) })
	gauge("locks_held", "Locks that are held. Equal on all nodes: use max.", func(s *State) float64 { return float64(s.LocksHeld) })
	gauge("lock_waiters", "Requests that wait for a lock. Equal on all nodes: use max.", func(s *State) float64 { return float64(s.LockWaiters) })
	gauge("sessions", "Open sessions. Equal on all nodes: use max.", func(s *State) float64 { return float64(s.Sessions) })
	count("lock_grants_total", "Grants of locks. Equal on all nodes: use max.", func(s *State) float64 { return float64(s.LockGrants) })
	count("lock_expirations_total", "Locks that ended because their session did. Equal on all nodes: use max.",
		func(s *State) float64 { return float64(s.LockExpirations) })
	count("ids_allocated_total", "Numbers given out by sequences. Equal on all nodes: use max.", func(s *State) float64 { return float64(s.IDsAllocated) })
	count("id_ranges_total", "Ranges given out by sequences. Equal on all nodes: use max.", func(s *State) float64 { return float64(s.IDRanges) })
	gauge("sequence_remaining_ratio_min", "Share that is left of the sequence that is nearest to its end.",
		func(s *State) float64 { return s.SequenceRemaining })
	return c
}

// SetSource names the function that is asked for the state at each scrape.
func (m *Metrics) SetSource(source func() State) { m.state.source.Store(&source) }

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	s := State{SequenceRemaining: 1}
	if source := c.source.Load(); source != nil {
		s = (*source)()
	}
	for _, m := range c.metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
