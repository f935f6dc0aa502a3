package daemon

import (
	"sync"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/metrics"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// inspectLimit bounds what a scrape waits for a busy applier; the last known figures stand then.
const inspectLimit = time.Second

// stateSource reads the state of a node for a scrape.
type stateSource struct {
	daemon *Daemon

	mu     sync.Mutex
	counts machine.Counts // as of the last scrape that the applier answered
	ratio  float64
	known  bool
}

// read returns everything that a scrape shows of the present.
func (s *stateSource) read() metrics.State {
	d := s.daemon
	st := d.node.Status()
	counts, ratio := s.machine()
	return metrics.State{
		HasLeader: st.Leader != 0, IsLeader: st.Leading && st.Lease, Term: st.Term,
		CommitIndex: st.Commit, AppliedIndex: st.Applied, ProposalsPending: d.pending(&st),
		LeaderLastContactSeconds: st.LeaderContact.Seconds(), FailureTolerance: tolerance(&st, d.cfg.ElectionTimeoutMax),
		Recovering: st.Recovering, DBBytes: d.metrics.DBBytes(), SnapshotBytes: d.metrics.SnapshotBytes(), LogEntries: st.Last - min(st.First-1, st.Last),
		NATSConnected: d.conn.IsConnected(),
		LocksHeld:     counts.LocksHeld, LockWaiters: counts.LockWaiters, Sessions: counts.Sessions,
		LockGrants: counts.Grants, LockExpirations: counts.Expirations,
		IDsAllocated: counts.IDsAllocated, IDRanges: counts.IDRanges, SequenceRemaining: ratio,
	}
}

// pending is the number of entries that this node appended as leader and that are not applied.
func (d *Daemon) pending(st *node.Status) int {
	if !st.Leading {
		return 0
	}
	return int(st.Last - min(st.Applied, st.Last))
}

// machine asks the applier for the state machine's figures.
func (s *stateSource) machine() (machine.Counts, float64) {
	type figures struct {
		counts machine.Counts
		ratio  float64
	}
	got := make(chan figures, 1)
	asked := s.daemon.node.Inspect(func(uint64) {
		v := s.daemon.sm.Machine().Live()
		got <- figures{v.Counts(), v.LowestRemainingRatio()}
	})
	if asked {
		limit := time.NewTimer(inspectLimit)
		defer limit.Stop()
		select {
		case f := <-got:
			s.mu.Lock()
			s.counts, s.ratio, s.known = f.counts, f.ratio, true
			s.mu.Unlock()
		case <-limit.C:
		case <-s.daemon.node.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		return s.counts, 1
	}
	return s.counts, s.ratio
}

// tolerance is how many more members may fail: on the leader those that answered lately are counted, on any
// other member all voters are taken to be well while a leader is known.
func tolerance(st *node.Status, lately time.Duration) int {
	voters, well := 0, 0
	for _, m := range st.Active.Members {
		if m.Learner {
			continue
		}
		voters++
		if m.ID == st.ID || (st.Role != raft.Leader && st.Leader != 0) || answeredLately(st, m.ID, lately) {
			well++
		}
	}
	return max(well-(voters/2+1), 0)
}

func answeredLately(st *node.Status, id raft.MemberID, lately time.Duration) bool {
	for _, p := range st.Peers {
		if p.ID == id {
			return p.LastContact >= 0 && p.LastContact <= 2*lately
		}
	}
	return false
}
