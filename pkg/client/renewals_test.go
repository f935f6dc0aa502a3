package client

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// openMany opens sessions with locks, one each.
func openMany(t *testing.T, c *Client, n int, opts ...Option) (sessions []*Session, locks []*Lock) {
	t.Helper()
	sessions, locks = make([]*Session, n), make([]*Lock, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s, err := c.NewSession(t.Context(), opts...)
			if err != nil {
				t.Error(err)
				return
			}
			if locks[i], err = s.Lock(t.Context(), fmt.Sprint("lock/", i)); err != nil {
				t.Error(err)
			}
			sessions[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return sessions, locks
}

func renewedIn(t *testing.T, m Message) (n int) {
	t.Helper()
	var req coorddv1.BatchRequest
	if err := proto.Unmarshal(m.Body, &req); err != nil {
		t.Fatal(err)
	}
	for _, c := range req.GetCommands() {
		if c.GetVerb() == "session.keepalive" {
			n++
		}
	}
	return n
}

// Many sessions of one client are renewed by few messages, each in time; and all of them live on.
func TestRenewalsOfOneClientGoTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	const n = 300
	sessions, locks := openMany(t, c, n, WithTTL(6*time.Second))
	ended := time.Now().Add(14 * time.Second)
	r.until(t, "several rounds of renewals", func() bool { return time.Now().After(ended) })
	single := len(r.Seen("session.keepalive"))
	messages, renewed, largest := 0, 0, 0
	for _, m := range r.Seen("batch") {
		k := renewedIn(t, m)
		if k > 0 {
			messages, renewed, largest = messages+1, renewed+k, max(largest, k)
		}
	}
	if renewed < 2*n || single > renewed/10 || messages > renewed/10 || largest > joinedRenewals {
		t.Errorf("%d renewals in %d messages of at most %d, and %d alone", renewed, messages, largest, single)
	}
	for i, s := range sessions {
		if err := s.Err(); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
		if err := locks[i].Valid(); err != nil {
			t.Fatalf("lock %d: %v", i, err)
		}
	}
}

// A client that may send no batches, or meets a service that does not know such ones, renews each session alone.
func TestSessionsAreRenewedAloneWhereBatchesAreRefused(t *testing.T) {
	t.Parallel()
	for _, code := range []string{coorddv1.CodeDenied, coorddv1.CodeBadRequest, coorddv1.CodeSessionUnknown, coorddv1.CodeTooLarge} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := r.connect(t)
			sessions, _ := openMany(t, c, 8, WithTTL(3*time.Second))
			r.Script(func(m Message) Fate {
				if m.Verb == "batch" {
					return Fate{Refuse: code}
				}
				return Fate{}
			})
			before := len(r.Seen("session.keepalive"))
			r.until(t, "each is renewed alone", func() bool { return len(r.Seen("session.keepalive")) >= before+3*len(sessions) })
			for _, s := range sessions {
				if err := s.Err(); err != nil {
					t.Error(err)
				}
			}
			batches := len(r.Seen("batch"))
			if code == coorddv1.CodeDenied {
				before = len(r.Seen("session.keepalive"))
				r.until(t, "another round", func() bool { return len(r.Seen("session.keepalive")) >= before+2*len(sessions) })
				if now := len(r.Seen("batch")); now > batches {
					t.Errorf("%d more batches after they were denied", now-batches)
				}
			}
		})
	}
}

// One session's end does not touch the others that are renewed by the same message, whatever becomes of it on its way.
func TestOneSessionEndsAmongMany(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	sessions, locks := openMany(t, c, 10, WithTTL(6*time.Second))
	other, err := r.connect(t).ResumeSession(t.Context(), sessions[3].Token())
	if err != nil {
		t.Fatal(err)
	}
	if err := sessions[5].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Script(only("batch", Fate{DropReply: true}, Fate{NoResponders: true}, Fate{Refuse: coorddv1.CodeBusy}, Fate{Delay: 700 * time.Millisecond}))
	r.until(t, "the session that another client has now is over here", func() bool { return sessions[3].Err() != nil })
	before := len(r.Seen("batch"))
	r.until(t, "more renewals", func() bool { return len(r.Seen("batch")) >= before+3 })
	for i, s := range sessions {
		if gone := i == 3 || i == 5; (s.Err() != nil) != gone || (locks[i].Valid() != nil) != gone {
			t.Errorf("session %d: %v, its lock: %v", i, s.Err(), locks[i].Valid())
		}
	}
	if err := other.Err(); err != nil {
		t.Errorf("the session that was resumed: %v", err)
	}
}
