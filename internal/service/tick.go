package service

import (
	"math"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service/decide"
	"github.com/coordd/coordd/pkg/raft/node"
)

// ticker proposes a Tick when something in the machine is due and no other entry came to let it end. It alone
// makes time pass in an idle cluster; what ends, and when, is decided at apply.
type ticker struct {
	r       *reign
	due     dueWatch
	pending chan struct{} // holds one token while a Tick is under way
}

func newTicker(r *reign) *ticker {
	t := &ticker{r: r, pending: make(chan struct{}, 1)}
	t.due.wake = make(chan struct{}, 1)
	t.due.armed.Store(math.MaxInt64)
	return t
}

func (t *ticker) watch()   { t.r.s.sm.watch.Store(&t.due) }
func (t *ticker) unwatch() { t.r.s.sm.watch.CompareAndSwap(&t.due, nil) }

func (t *ticker) kick() {
	select {
	case t.due.wake <- struct{}{}:
	default:
	}
}

func (t *ticker) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-t.r.ctx.Done():
			return
		case <-t.due.wake:
		case <-timer.C:
		}
		// Until the instant that is armed below, an earlier due has to wake this loop: arm first, look then.
		t.due.armed.Store(math.MaxInt64)
		due := t.r.s.sm.due.Load()
		now, leading := t.r.s.node.ClusterTime()
		propose, again := decide.Tick(due, now, leading, t.r.serving.Load())
		if again == 0 {
			timer.Reset(time.Hour)
		} else {
			t.due.armed.Store(due)
			timer.Reset(again)
			if t.r.s.sm.due.Load() < due {
				t.kick()
			}
		}
		if propose {
			t.propose()
		}
	}
}

// TimePassed has the service look at once whether something is due. It is for a node whose cluster time moves in leaps, as a
// test's does: the service's own timers go by this machine's clock.
func (s *Service) TimePassed() {
	if r := s.reign.Load(); r != nil {
		r.ticks.kick()
	}
}

// propose sends one Tick; another one follows only when it is done.
func (t *ticker) propose() {
	select {
	case t.pending <- struct{}{}:
	default:
		return
	}
	s := t.r.s
	data, err := machine.EncodeCommandsAs(s.node.ClusterVersion(), []machine.Command{{Kind: machine.KindTick}})
	if err != nil {
		<-t.pending
		s.cfg.Logger.Error("a tick can't be encoded", "error", err)
		return
	}
	s.node.Submit(data, func(_ node.Result, err error) {
		if err == nil {
			s.answers.entry(nil, s.sm.takeEvents())
		}
		<-t.pending
		if err != nil {
			// Too much under way: what is under way lets time pass as well. Look again a little later.
			time.AfterFunc(retryPause, t.kick)
			return
		}
		t.kick()
	})
}
