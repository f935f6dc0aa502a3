package coorddtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/client"
	"github.com/coordd/coordd/pkg/client/coorddtest"
	"github.com/coordd/coordd/pkg/client/fence"
)

// TestGateJudgesLocks lets all kinds of a client's holds come to a gate, those of a session that was resumed as well.
func TestGateJudgesLocks(t *testing.T) {
	t.Parallel()
	s := coorddtest.New(t)
	var gate fence.Gate
	c := s.Client()
	first := lock(t, c, "table")
	if err := gate.Check(first); err != nil || first.Mode() != client.Exclusive {
		t.Errorf("%s: %v", first.Mode(), err)
	}
	if err := first.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	session, err := s.Client().NewSession(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var readers []*client.Lock
	for _, take := range []func(context.Context, string, ...client.LockOption) (*client.Lock, error){session.RLock, c.RLock} {
		l, err := take(t.Context(), "table")
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, l)
	}
	for _, l := range []*client.Lock{readers[1], readers[0]} {
		if err := gate.Check(l); err != nil || l.Mode() != client.Shared {
			t.Errorf("%s: %v", l.Mode(), err)
		}
	}
	if err := gate.Check(first); err == nil {
		t.Error("the writer before them was let in")
	}
	resumed, err := c.ResumeSession(t.Context(), session.Token())
	if err != nil {
		t.Fatal(err)
	}
	if all := resumed.Locks(); len(all) != 1 || all[0].Mode() != client.Shared || gate.Check(all[0]) != nil {
		t.Errorf("after the resume: %v", all)
	}
	permit, err := c.Semaphore("pool", 2).Acquire(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.Check(permit); !errors.Is(err, fence.ErrNoGate) {
		t.Errorf("a semaphore's permit: %v", err)
	}
	s.Advance(time.Minute)
	if err := permit.Valid(); err != nil {
		t.Error(err)
	}
}
