package machine

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// backup returns a snapshot of a cluster that has a holder, a waiter and a sequence, and what it gave out so far.
func backup(t *testing.T) (r *rig, holder, waiter *peer, data []byte) {
	r = newRig(t)
	holder, waiter = r.open("holder", 15*time.Second), r.open("waiter", 15*time.Second)
	holder.lock("l")
	waiter.queue("l", noLimit)
	r.want(holder.do(Command{Kind: KindSeqCreate, Name: "s", Create: &SeqCreate{}}), OK)
	r.want(holder.do(Command{Kind: KindSeqAlloc, Name: "s", Alloc: &SeqAlloc{Count: 10}}), OK)
	return r, holder, waiter, save(t, r.m.View())
}

// renewed returns a rig that goes on with a renewed machine in a new term, before its leader serves.
func renewed(t *testing.T, old *rig, data []byte, n Renewal) *rig {
	t.Helper()
	m := restore(t, data)
	if err := m.Renew(n); err != nil {
		t.Fatal(err)
	}
	if m.Live().Serving() {
		t.Fatal("a renewed state serves before anybody leads")
	}
	again := restore(t, save(t, m.View())) // a renewed state is one that can be stored
	r := &rig{t: t, m: again, index: m.Live().Index(), term: m.Live().Term(), now: time.Duration(m.Live().Now()), fence: again.Live().Fence(), told: map[uint64]uint64{}}
	for id, seq := range old.told {
		r.told[id] = seq
	}
	r.elect()
	return r
}

// given lists what a cluster gives out: the fences of n grants, and n numbers of a sequence with their domain.
func given(t *testing.T, r *rig, n int) (out []string) {
	t.Helper()
	p := r.open("another", time.Minute)
	for range n {
		f := p.lock("other")
		p.release("other", f)
		out = append(out, fmt.Sprint("fence ", f))
		got := r.want(p.do(Command{Kind: KindSeqAlloc, Name: "s", Alloc: &SeqAlloc{Count: 1}}), OK).Range
		out = append(out, fmt.Sprint("id ", got.Domain, "/", got.SequenceID, "/", got.Lo))
	}
	return out
}

// The first cluster goes on, its backup is restored twice, and one of those is restored once more: nothing that any of
// them gives out is given by another one.
func TestRestoringOneBackupTwiceRepeatsNothing(t *testing.T) {
	t.Parallel()
	old, _, _, data := backup(t)
	seen := map[string]string{}
	note := func(who string, r *rig) {
		t.Helper()
		r.serve()
		for _, x := range given(t, r, 50) {
			if first := seen[x]; first != "" {
				t.Errorf("%s gave %s, which %s gave", who, x, first)
			}
			seen[x] = who
		}
	}
	const second = 60 * 365 * 86400 / 2 // thirty years after 2025
	once := renewed(t, old, data, Renewal{Domain: 8, Second: second})
	note("the first cluster", old)
	note("the first restore", once)
	note("the second restore", renewed(t, old, data, Renewal{Domain: 9, Second: second + 1}))
	note("a restore of the restore", renewed(t, once, save(t, once.m.View()), Renewal{Domain: 10, Second: second + 2}))
	note("a restore with a clock of 1970", renewed(t, old, data, Renewal{Domain: 11, Second: -55 * 365 * 86400}))
	if f := once.m.Live().Fence(); f < second<<20 {
		t.Errorf("fence %d is below the second's", f)
	}
	if len(seen) != 5*2*50 {
		t.Errorf("%d different things", len(seen))
	}
}

// A restored cluster keeps sessions, holds and queues, and ends none of them before its leader serves, however late
// that is, nor before each session had its grace.
func TestARestoreEndsNothingBeforeTheGrace(t *testing.T) {
	t.Parallel()
	old, holder, waiter, data := backup(t)
	r := renewed(t, old, data, Renewal{Domain: 8, Second: 1})
	r.pass(20 * time.Second).tick() // in cluster time, longer than the TTL
	r.wantHolder("l", holder)
	r.serve()
	r.wantHolder("l", holder)
	waiter.r, holder.r = r, r
	waiter.keepalive()
	r.pass(30 * time.Second)
	r.tick()
	r.wantHolder("l", nil)

	r = renewed(t, old, data, Renewal{Domain: 8, Second: 1})
	r.serve()
	p := *holder
	p.r = r
	p.release("l", p.keepalive().Holds[0].Fence)
	if got := r.wantHolder("l", waiter); got <= 1<<20 {
		t.Errorf("the waiter was granted fence %d", got)
	}
}

func TestRenewRefuses(t *testing.T) {
	t.Parallel()
	_, _, _, data := backup(t)
	for _, c := range []struct {
		n    Renewal
		want error
	}{
		{Renewal{Domain: 0, Second: 1}, ErrBadDomain},
		{Renewal{Domain: 1 << 15, Second: 1}, ErrBadDomain},
		{Renewal{Domain: 7, Second: 1}, ErrSameDomain},
		{Renewal{Domain: 8, Second: 1 << 33}, ErrFenceLimit},
		{Renewal{Domain: 8, Second: 1 << 62}, ErrFenceLimit},
	} {
		m := restore(t, data)
		before := m.Live().Hash()
		if err := m.Renew(c.n); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.n, err, c.want)
		}
		if m.Live().Hash() != before {
			t.Errorf("%+v: a refused renewal changed the state", c.n)
		}
	}
}
