package service

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// maxWatched bounds the transitions that wait to be published. Those who watch see by the numbers that some are missing.
// watchedAtOnce is how many of them are taken out at a time.
const (
	maxWatched    = 65536
	watchedAtOnce = 1024
)

// watcher publishes what happens to locks on coord.v1.<ns>.watch.<name>, to whoever listens. It has a goroutine of its
// own: neither the applier nor any answer waits for it.
type watcher struct {
	s    *Service
	jobs chan struct{} // holds one token while there is something to do

	mu      sync.Mutex
	waiting []machine.Change // from first on
	first   int
	closed  bool

	dropped atomic.Uint64 // transitions that found no place
}

func newWatcher(s *Service) *watcher { return &watcher{s: s, jobs: make(chan struct{}, 1)} }

// put takes a copy of transitions in and returns at once. Beyond its bound the oldest make way: the newest tell what is.
func (w *watcher) put(changes []machine.Change) {
	if len(changes) == 0 {
		return
	}
	w.mu.Lock()
	if w.first > len(w.waiting)/2 {
		n := copy(w.waiting, w.waiting[w.first:])
		clear(w.waiting[n:])
		w.waiting, w.first = w.waiting[:n], 0
	}
	w.waiting = append(w.waiting, changes...)
	if n := len(w.waiting) - w.first - maxWatched; n > 0 {
		w.first += n
		w.dropped.Add(uint64(n))
	}
	w.mu.Unlock()
	w.kick()
}

// take moves the oldest transitions to a list.
func (w *watcher) take(to []machine.Change) (taken []machine.Change, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := w.waiting[w.first:min(len(w.waiting), w.first+watchedAtOnce)]
	to = append(to, next...)
	clear(next)
	if w.first += len(next); w.first == len(w.waiting) {
		if w.waiting, w.first = w.waiting[:0], 0; cap(w.waiting) > watchedAtOnce {
			w.waiting = nil // what a storm needed need not stay
		}
	}
	return to, w.closed
}

func (w *watcher) kick() {
	select {
	case w.jobs <- struct{}{}:
	default:
	}
}

func (w *watcher) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.kick()
}

// run publishes until close, and then what is left.
func (w *watcher) run() {
	told := uint64(0)
	var changes []machine.Change
	for range w.jobs {
		for {
			var closed bool
			if changes, closed = w.take(changes[:0]); len(changes) == 0 {
				if closed {
					return
				}
				break
			}
			for i := range changes {
				w.publish(&changes[i])
			}
			clear(changes)
		}
		if n := w.dropped.Load(); n != told {
			w.s.cfg.Logger.Warn("transitions of locks came faster than they could be published", "dropped", n-told)
			told = n
		}
	}
}

// publish sends one transition if somebody listens.
func (w *watcher) publish(c *machine.Change) {
	subject := watchSubject(c.Namespace, c.Name)
	if !w.s.heard(subject) {
		return
	}
	m := transition(&c.Transition)
	m.Name, m.Value = c.Name, c.Value
	body, err := encodeBody(m, true)
	if err != nil {
		w.s.cfg.Logger.Error("a transition can't be encoded", "subject", subject, "error", err)
		return
	}
	if err := w.s.nc.PublishMsg(&nats.Msg{Subject: subject, Data: body}); err != nil {
		w.s.cfg.Logger.Debug("a transition could not be sent", "subject", subject, "error", err)
	}
}

func transition(t *machine.Transition) *coorddv1.Transition {
	return &coorddv1.Transition{Number: t.Number, Kind: coorddv1.Transition_Kind(t.Kind), At: t.At, Index: t.Index, Session: t.Session,
		Owner: t.Owner, Ticket: t.Ticket, Fence: t.Fence, Mode: coorddv1.Mode(t.Mode), Count: t.Count, Until: t.Until, Reason: t.Reason}
}

// heard says whether anybody listens on a subject; true if that is not known.
func (s *Service) heard(subject string) bool { return s.cfg.Interest == nil || s.cfg.Interest(subject) }
