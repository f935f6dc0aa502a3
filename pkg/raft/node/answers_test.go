package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// asked is what became of one proposal.
type asked struct {
	data    string
	answers []error
	result  Result
}

// ledger collects the answers to proposals.
type ledger struct {
	mu  sync.Mutex
	all []*asked
}

func (l *ledger) submit(m *member) {
	l.mu.Lock()
	a := &asked{data: fmt.Sprintf("proposal %d to %d", len(l.all), m.id)}
	l.all = append(l.all, a)
	l.mu.Unlock()
	m.Submit([]byte(a.data), func(r Result, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		a.result, a.answers = r, append(a.answers, err)
	})
}

// check compares the answers with the log that the cluster agreed on.
func (l *ledger) check(t *testing.T, log []raft.Entry, outcomes map[string]int) {
	t.Helper()
	where := make(map[string][]raft.Entry)
	for _, e := range log {
		if e.Kind == raft.EntryCommand {
			where[string(e.Data)] = append(where[string(e.Data)], e)
		}
	}
	for _, a := range l.all {
		if len(a.answers) != 1 {
			t.Fatalf("%s: answered %d times: %v", a.data, len(a.answers), a.answers)
		}
		err, found := a.answers[0], where[a.data]
		if len(found) > 1 {
			t.Fatalf("%s: in the log %d times", a.data, len(found))
		}
		switch {
		case err == nil:
			outcomes["applied"]++
			if len(found) != 1 || found[0].Index != a.result.Index || found[0].Term != a.result.Term {
				t.Fatalf("%s: acknowledged as %+v, in the log as %+v", a.data, a.result, found)
			}
		case errors.Is(err, raft.ErrLeadershipLost):
			outcomes["lost"]++
			if errors.Is(err, ErrStopped) || errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrBusy) {
				t.Fatalf("%s: unknown and certainly not done at once: %v", a.data, err)
			}
		case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrBusy), errors.Is(err, ErrStopped), errors.Is(err, raft.ErrTransferring):
			outcomes["refused"]++
			if len(found) != 0 {
				t.Fatalf("%s: certainly not done (%v), but in the log at %d", a.data, err, found[0].Index)
			}
		default:
			t.Fatalf("%s: %v", a.data, err)
		}
	}
}

func TestEveryProposalIsAnsweredOnceAndTruthfully(t *testing.T) {
	t.Parallel()
	outcomes := make(map[string]int)
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) { answersUnderFaults(t, seed, outcomes) })
	}
	t.Logf("outcomes: %v", outcomes)
	for _, kind := range []string{"applied", "lost", "refused"} {
		if outcomes[kind] == 0 {
			t.Errorf("no proposal was %s: the faults did not bite", kind)
		}
	}
}

func answersUnderFaults(t *testing.T, seed uint64, outcomes map[string]int) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	c := newCluster(t, 3)
	c.change = func(cfg *Config) { cfg.Limits.MaxUncommittedBytes = 16 << 10 }
	c.start()
	defer c.stop()
	c.leader()
	var book ledger
	var stops sync.WaitGroup
	for range 60 {
		for range rnd.IntN(40) {
			up := c.running()
			book.submit(up[rnd.IntN(len(up))])
		}
		up := c.running()
		m := up[rnd.IntN(len(up))]
		switch rnd.IntN(8) {
		case 0:
			c.net.Isolate(m.id)
		case 1, 2:
			c.net.HealAll()
		case 3:
			stops.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_ = m.TransferLeadership(ctx, 0) // whatever comes of it
			})
		case 4:
			if rnd.IntN(2) == 0 {
				m.kill()
			} else if err := m.Stop(c.ctx()); err != nil {
				t.Errorf("seed %d: stopping %d: %v", seed, m.id, err)
			}
			c.startOne(m.id, m.log.(*storage.Memory).Reopen())
		}
		time.Sleep(time.Duration(rnd.IntN(120)) * time.Millisecond) // virtual: the pace of the faults
	}
	c.net.HealAll()
	l := c.leader()
	c.barrier(l)
	log := c.same()
	c.stop()
	stops.Wait()
	book.check(t, log, outcomes)
}
