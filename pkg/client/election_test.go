package client

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// observed follows an election in the background; next waits for the leader with a value ("": nobody).
type observed struct {
	t  *testing.T
	ch chan Leader
}

func observe(t *testing.T, e *Election) *observed {
	o := &observed{t, make(chan Leader, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		newest := uint64(0)
		for l, err := range e.Observe(ctx) {
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("observe: %v", err)
				}
				return
			}
			if l.Fence != 0 && l.Fence < newest {
				t.Errorf("the leader with fence %d was told after %d", l.Fence, newest)
			}
			newest = max(newest, l.Fence)
			o.ch <- l
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return o
}

func (o *observed) next(value string) Leader {
	o.t.Helper()
	deadline := time.After(waitLimit)
	for {
		select {
		case l := <-o.ch:
			if string(l.Value) == value {
				return l
			}
		case <-deadline:
			o.t.Fatalf("%q was not told", value)
			return Leader{}
		}
	}
}

func TestElection(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	a, b, c := r.connect(t, WithOwner("a")), r.connect(t, WithOwner("b")), r.connect(t)
	o := observe(t, c.Election("e"))
	if l := o.next(""); l.Fence != 0 || l.Session != "" {
		t.Errorf("nobody leads, and %+v is told", l)
	}
	first, err := a.Election("e").Campaign(t.Context(), []byte("at a"))
	if err != nil {
		t.Fatal(err)
	}
	if l := o.next("at a"); l.Fence != first.Fence() || l.Owner != "a" || l.Session != idText(a.default_(t).ID()) {
		t.Errorf("told %+v", l)
	}
	if err := first.Proclaim(t.Context(), []byte("at a, now")); err != nil {
		t.Fatal(err)
	}
	o.next("at a, now")
	if l, err := c.Election("e").Leader(t.Context()); err != nil || string(l.Value) != "at a, now" || l.Fence != first.Fence() {
		t.Errorf("the leader is %+v, %v", l, err)
	}
	second := make(chan *Leadership, 1)
	go func() {
		l, err := b.Election("e").Campaign(context.Background(), []byte("at b"))
		if err != nil {
			t.Error(err)
		}
		second <- l
	}()
	r.until(t, "b campaigns", func() bool { return queueLength(t, a, "e") == 1 })
	if err := first.Resign(t.Context()); err != nil {
		t.Error(err)
	}
	l := <-second
	if got := o.next("at b"); got.Fence != l.Fence() || l.Fence() <= first.Fence() {
		t.Errorf("told %+v", got)
	}
	if err := first.Proclaim(t.Context(), nil); !errors.Is(err, ErrReleased) {
		t.Errorf("proclaim after resigning: %v", err)
	}
	if err := l.Resign(t.Context()); err != nil {
		t.Error(err)
	}
	o.next("")
	if _, err := a.Election("large").Campaign(t.Context(), make([]byte, 64<<10)); codeOf(err) != coorddv1.CodeTooLarge {
		t.Errorf("a value of 64 KiB: %v", err)
	}
}

func TestHandOverGoesToWhomItNames(t *testing.T) {
	t.Parallel()
	r := newWatchRig(t)
	a := r.connect(t)
	lead, err := a.Election("e").Campaign(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	type won struct {
		i int
		l *Leadership
	}
	got := make(chan won, 2)
	var sessions []*Session
	for i := range 2 {
		s, err := r.connect(t).NewSession(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
		go func() {
			l, err := s.Election("e").Campaign(context.Background(), []byte{byte(i)})
			if err != nil {
				t.Error(err)
			}
			got <- won{i, l}
		}()
		r.until(t, "one more campaigns", func() bool { return queueLength(t, a, "e") == i+1 })
	}
	if err := lead.HandOver(t.Context(), "999999"); codeOf(err) != coorddv1.CodeNotFound || lead.Valid() != nil {
		t.Errorf("to nobody: %v, leadership %v", err, lead.Valid())
	}
	if err := lead.HandOver(t.Context(), "x"); !errors.Is(err, ErrBadRequest) {
		t.Errorf("to x: %v", err)
	}
	// The second in the queue asks, and the leader hands over to it.
	if err := sessions[1].Election("e").AskHandOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := false
	for e := range a.default_(t).Events() {
		if asked = e.Kind == EventHandOverAsked; asked {
			if e.Lock != "e" || e.Fence != lead.Fence() {
				t.Errorf("asked by %+v", e)
			}
			break
		}
	}
	if !asked {
		t.Error("the leader was not asked")
	}
	if err := lead.HandOver(t.Context(), idText(sessions[1].ID())); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(lead.Valid(), ErrReleased) || lead.Resign(t.Context()) != nil {
		t.Errorf("after it: %v, resign %v", lead.Valid(), lead.Resign(t.Context()))
	}
	w := <-got
	if w.i != 1 || w.l.Fence() <= lead.Fence() || w.l.Verify(t.Context()) != nil {
		t.Errorf("%d leads with fence %d after %d", w.i, w.l.Fence(), lead.Fence())
	}
	if err := w.l.Resign(t.Context()); err != nil {
		t.Error(err)
	}
	if w = <-got; w.i != 0 {
		t.Error("the first in the queue lost its place")
	}
}

// What the messages do that tell of changes, the present leader comes to be known.
func TestObserveSurvivesLostNews(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(Message) Fate{
		"all lost":    func(m Message) Fate { return Fate{DropRequest: m.Verb == "watch"} },
		"every other": everyOther(),
		"twice":       func(m Message) Fate { return Fate{Twice: m.Verb == "watch"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newWatchRig(t)
			a, c := r.connect(t), r.connect(t)
			o := observe(t, c.Election("e"))
			o.next("")
			r.Script(script)
			var last *Leadership
			for _, value := range []string{"1", "2", "3", "4"} {
				l, err := a.Election("e").Campaign(t.Context(), []byte(value))
				if err != nil {
					t.Fatal(err)
				}
				if last = l; value != "4" {
					if err := l.Resign(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
			if got := o.next("4"); got.Fence != last.Fence() {
				t.Errorf("told %+v", got)
			}
		})
	}
}

func everyOther() func(Message) Fate {
	n := 0
	return func(m Message) Fate {
		if m.Verb == "watch" {
			n++
		}
		return Fate{DropRequest: m.Verb == "watch" && n%2 == 0}
	}
}

// A watch tells each transition once and in order; what is lost on the way is read from the history.
func TestWatchTellsEachTransitionOnce(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(Message) Fate{"all": nil, "every other lost": everyOther(), "twice": func(m Message) Fate { return Fate{Twice: m.Verb == "watch"} }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newWatchRig(t)
			a, b, c := r.connect(t), r.connect(t), r.connect(t)
			if l, err := a.Lock(t.Context(), "x"); err != nil { // before anybody watches
				t.Fatal(err)
			} else {
				unlock(t, l)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			got, started := make(chan Transition, 100), len(r.Seen("lock.why"))
			go func() {
				for tr, err := range c.Watch(ctx, "x") {
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						return
					}
					got <- tr
				}
			}()
			r.until(t, "the watch begins", func() bool { return len(r.Seen("lock.why")) > started+1 }) // its first read was answered
			r.Script(script)
			l, err := a.Lock(t.Context(), "x")
			if err != nil {
				t.Fatal(err)
			}
			next := later(t, func() (*Lock, error) { return b.Lock(context.Background(), "x") })
			r.until(t, "b waits", func() bool { return queueLength(t, a, "x") == 1 })
			unlock(t, l)
			m := taken(t, next)
			unlock(t, m)
			want := []TransitionKind{TransitionGranted, TransitionQueued, TransitionReleased, TransitionGranted, TransitionReleased}
			var kinds []TransitionKind
			for number := uint64(0); len(kinds) < len(want); {
				select {
				case tr := <-got:
					if number != 0 && tr.Number != number+1 || tr.Lock != "x" {
						t.Errorf("%+v after number %d", tr, number)
					}
					number = tr.Number
					kinds = append(kinds, tr.Kind)
				case <-time.After(waitLimit):
					t.Fatalf("only %v were told", kinds)
				}
			}
			if !slices.Equal(kinds, want) {
				t.Errorf("told %v", kinds)
			}
			h, err := c.Why(t.Context(), "x")
			if err != nil || h.Lock.State != "FREE" || len(h.Timeline) < len(want) || h.Timeline[len(h.Timeline)-1].Kind != TransitionReleased || len(h.Explanation) == 0 {
				t.Errorf("%+v, %v", h, err)
			}
		})
	}
}
