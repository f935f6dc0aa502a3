package client

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// holdMuch has a client hold so much, under names that take much room in an answer, that no answer lists what comes later.
func holdMuch(t *testing.T, c *Client) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			if _, err := c.Lock(t.Context(), strings.Repeat(`"`, 500)+fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A session may hold more than an answer to a renewal can list. When the events are lost that tell of a loss and of a grant,
// it is found out nevertheless.
func TestWhatNoRenewalListsIsAskedForWhenEventsAreLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.connect(t, WithTTL(6*time.Second)), r.connect(t)
	holdMuch(t, a)
	l, err := a.Lock(t.Context(), "lost")
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Lock(t.Context(), "waited")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := a.Lock(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := a.Lock(context.Background(), "waited")
		got <- err
	}()
	r.until(t, "a waits", func() bool { return queueLength(t, b, "waited") == 1 })
	r.Script(func(m Message) Fate { return Fate{DropReply: m.Verb == "evt"} })
	body := fmt.Sprintf(`{"fence":"%d","reason":"stuck","now":true}`, l.Fence())
	if _, err := r.in.Request("coord.admin.v1.lock.force-release.default.lost", []byte(body), waitLimit); err != nil {
		t.Fatal(err)
	}
	if err := other.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	next, err := b.Lock(t.Context(), "lost")
	if err != nil {
		t.Fatal(err)
	}
	r.until(t, "the loss is known", func() bool { return l.Valid() != nil })
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(waitLimit):
		t.Error("the grant is never known")
	}
	if kept.Valid() != nil || next.Valid() != nil {
		t.Errorf("others: %v, %v", kept.Valid(), next.Valid())
	}
}

// A session that is renewed beside others, and for whose lists their common answer has no room, is renewed alone.
func TestASessionWithLongListsIsRenewedAlone(t *testing.T) {
	t.Parallel()
	s, _ := silent(t)
	r := s.c.renewals
	r.add(s)
	other, _ := silent(t)
	other.c = s.c
	r.add(other)
	answer, err := proto.Marshal(&coorddv1.SessionReply{Index: 3, Now: 1, Deadline: int64(20 * time.Second), Incomplete: true})
	if err != nil {
		t.Fatal(err)
	}
	s.takeRenewal(s.c.clock.Now(), answer)
	if !s.cut.Load() {
		t.Fatal("nobody noticed that the answer lacks a part")
	}
	r.apart(s)
	r.mu.Lock()
	for _, x := range []*Session{s, other} {
		x.renewal.due, x.renewal.early = -1, 0
	}
	r.mu.Unlock()
	groups, _ := r.pick()
	if len(groups) != 2 || len(groups[0]) != 1 || len(groups[1]) != 1 {
		t.Errorf("renewed in groups %v", groups)
	}
}

// An event that is missing is not waited for: a renewal is sent at once, and its answer tells what the event did.
func TestAMissingEventIsAskedForAtOnce(t *testing.T) {
	t.Parallel()
	s, h := silent(t)
	s.c.renewals.add(s)
	h.pass(time.Millisecond)
	tell := func(seq uint64) {
		data, err := proto.Marshal(&coorddv1.Event{EventSeq: seq, Kind: coorddv1.Event_GRANTED, Ticket: 99, Name: "x", Fence: 1})
		if err != nil {
			t.Fatal(err)
		}
		s.receive(&nats.Msg{Data: data})
	}
	due := func() time.Duration {
		s.c.renewals.mu.Lock()
		defer s.c.renewals.mu.Unlock()
		return s.renewal.due - s.c.clock.Now().Mono
	}
	tell(1)
	if due() <= 0 {
		t.Error("nothing is missing, and a renewal is due")
	}
	tell(3)
	if due() > 0 {
		t.Errorf("event 2 is missing, and the next renewal is due in %v", due())
	}
}
