package machine

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// bigMachine returns a machine in which each of n locks is held, by sessions of 1,000 locks each.
func bigMachine(t testing.TB, n int) *Machine {
	t.Helper()
	m := New()
	index := uint64(0)
	apply := func(cs ...Command) []Reply {
		index++
		e := Entry{Index: index, Term: 1, Time: 1}
		if len(cs) > 0 {
			data, err := EncodeCommandsAs(CommandVersion, cs)
			if err != nil {
				t.Fatal(err)
			}
			e.Command, e.Data = true, data
		}
		res := m.Apply(e)
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		return res.Replies
	}
	apply()
	apply(Command{Kind: KindInit, Init: &Init{Domain: 1}})
	const each = 1000
	for done := 0; done < n; done += each {
		owner := fmt.Sprint("owner-", done)
		id := apply(openCommand(owner, 24*time.Hour, ""))[0].Session.ID
		p := &peer{owner: owner, id: id}
		var cs []Command
		for i := done; i < min(n, done+each); i++ {
			cs = append(cs, p.fill(acquireCommand(fmt.Sprintf("locks/%07d", i), 0)))
		}
		for _, r := range apply(cs...) {
			if r.Code != OK {
				t.Fatal(r.Code)
			}
		}
	}
	return m
}

// A view is read on other goroutines while applies go on, and stays what it was. The race detector looks
// for reads of what applies write.
func TestViewsNeverChange(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for seed := range uint64(6) {
		m := New()
		w := newWorkload(m, randomPick(seed+1000))
		var views []*View
		var hashes [][32]byte
		for i := range 40 {
			run(t, w, 10, m)
			v := m.View()
			want := v.Hash()
			now := v.Now()
			views, hashes = append(views, v), append(hashes, want)
			wg.Go(func() {
				for range 3 {
					if v.Hash() != want || v.Now() != now {
						t.Errorf("seed %d: view %d has changed", seed, i)
						return
					}
					for _, l := range v.Locks("ns", "", "", 0) {
						v.Timeline("ns", l.Name)
						if one, ok := v.Lock("ns", l.Name); !ok || len(one.Holders)+len(one.Queue) == 0 {
							t.Errorf("seed %d: %+v", seed, one)
						}
					}
					v.Sequences("ns", "", "", 0)
					v.Counts()
					v.LowestRemainingRatio()
				}
			})
		}
		for i, v := range views {
			if v.Hash() != hashes[i] {
				t.Errorf("seed %d: view %d has changed by the end", seed, i)
			}
		}
	}
}

// The same with many records in a tree of several levels, which a small workload never builds.
func TestViewsOfManyLocksNeverChange(t *testing.T) {
	t.Parallel()
	m := bigMachine(t, 5000)
	p := &peer{owner: "owner-0", id: 1, seq: 1000}
	index := m.index
	want := m.View().Hash()
	v := m.View()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for range 5 {
			if v.Hash() != want {
				t.Error("the view has changed")
			}
		}
	})
	views := []*View{}
	hashes := [][32]byte{}
	for i := range 1000 {
		l, ok := m.Live().Lock("ns", fmt.Sprintf("locks/%07d", i))
		if !ok {
			t.Fatal("not held")
		}
		index++
		data, _ := EncodeCommands([]Command{p.fill(releaseCommand(l.Name, l.Holders[0].Fence))})
		if res := m.Apply(Entry{Index: index, Term: 1, Time: 1, Command: true, Data: data}); res.Replies[0].Code != OK {
			t.Fatal(res.Replies[0].Code)
		}
		if i%100 == 0 {
			views = append(views, m.View())
			hashes = append(hashes, views[len(views)-1].Hash())
		}
	}
	if err := m.check(); err != nil {
		t.Fatal(err)
	}
	for i, v := range views {
		if v.Hash() != hashes[i] {
			t.Errorf("view %d has changed", i)
		}
	}
}

func TestLiveShowsTheLatestState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	live, v := r.m.Live(), r.m.View()
	f := r.open("a", time.Minute).lock("x")
	if live.Index() != r.index || live.Fence() != f || v.Index() == r.index || v.Fence() != 0 {
		t.Fatalf("live %d %d, view %d %d", live.Index(), live.Fence(), v.Index(), v.Fence())
	}
	if live.Term() != 1 || live.EndedUpTo() != int64(r.now) || live.Wall() != 0 {
		t.Fatalf("term %d, ended up to %d", live.Term(), live.EndedUpTo())
	}
}

func TestShownQueueIsBounded(t *testing.T) {
	t.Parallel()
	m := bigMachine(t, 1)
	var cs []Command
	p := &peer{owner: "owner-0", id: 1, seq: 1, ack: 1}
	for range Window - 1 {
		cs = append(cs, p.fill(acquireCommand("locks/0000000", noLimit)))
	}
	data, _ := EncodeCommands(cs)
	res := m.Apply(Entry{Index: m.index + 1, Term: 1, Time: 1, Command: true, Data: data})
	for i, r := range res.Replies {
		if r.Code != OK || r.Lock.Position != uint64(i+1) {
			t.Fatalf("%d: %+v", i, r.Lock)
		}
	}
	l, _ := m.Live().Lock("ns", "locks/0000000")
	if len(l.Queue) != MaxShownWaiters || l.Waiting != Window-1 {
		t.Fatalf("%d shown, %d wait", len(l.Queue), l.Waiting)
	}
}
