package machine

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Bounds of one input of FuzzDifferential. An execution is worth little more with many entries than with some, and the
// fuzzer learns from the number of executions.
const (
	differentialEntries   = 80
	differentialSnapshots = 5
)

// twins are machines that are fed the same entries, with what is to hold from one entry to the next.
type twins struct {
	t     *testing.T
	w     *workload
	ms    []*Machine
	fence uint64            // highest ever given
	told  map[uint64]uint64 // the last event of each session
}

// apply gives an entry to all machines, and compares what they do.
func (x *twins) apply(e Entry) Result {
	x.t.Helper()
	first := x.ms[0].Apply(e)
	if first.Err != nil {
		x.t.Fatal(first.Err)
	}
	for _, m := range x.ms[1:] {
		if res := m.Apply(e); !reflect.DeepEqual(first, res) {
			x.t.Fatalf("entry %d: %s", e.Index, cmp.Diff(first, res))
		}
	}
	if err := x.ms[0].check(); err != nil {
		x.t.Fatalf("entry %d: %v", e.Index, err)
	}
	x.progress(&first)
	return first
}

// progress: fences are given out once and grow by what is given, events have no gaps, and what has ended is gone.
func (x *twins) progress(r *Result) {
	x.t.Helper()
	fence := x.ms[0].Live().Fence()
	for _, reply := range r.Replies {
		if l := reply.Lock; l != nil && l.Fence > fence {
			x.t.Fatalf("fence %d was given, the highest is %d", l.Fence, fence)
		}
	}
	granted := uint64(0)
	for _, e := range r.Events {
		if e.Seq != x.told[e.Session]+1 {
			x.t.Fatalf("event %d of session %d comes after %d", e.Seq, e.Session, x.told[e.Session])
		}
		x.told[e.Session] = e.Seq
		if e.Kind == EventGranted {
			granted++
		}
	}
	// Each grant takes one fence, whether a reply or an event tells it; a resume renews those of all of its holds.
	most := granted + uint64(len(r.Replies)) + uint64(x.ms[0].tickets.Len())
	if fence < x.fence || fence-x.fence > most {
		x.t.Fatalf("the highest fence went from %d to %d with %d grants and %d replies", x.fence, fence, granted, len(r.Replies))
	}
	x.fence = fence
}

// next applies the workload's next entry. It repeats the entry's last command at once, as a client does whose answer
// was lost, and sends another command under its seq: the first gets the same answer, and the second none.
func (x *twins) next() {
	x.t.Helper()
	e := x.w.entry()
	res := x.apply(e)
	if !e.Command {
		return
	}
	cs, err := DecodeCommands(e.Data)
	if err != nil {
		x.t.Fatal(err)
	}
	c, reply := cs[len(cs)-1], res.Replies[len(cs)-1]
	if c.Session == 0 || c.Seq == 0 || c.Kind == KindSessionClose || reply.Code != OK || x.w.pick(2) == 0 {
		return
	}
	other := allocCommand("nobody", 77, 0)
	other.Namespace, other.Session, other.Secret, other.Generation, other.Seq, other.Ack = c.Namespace, c.Session, c.Secret, c.Generation, c.Seq, c.Seq
	data, err := EncodeCommandsAs(x.w.version, []Command{c, other})
	if err != nil {
		x.t.Fatal(err)
	}
	x.w.index++
	again := x.apply(Entry{Index: x.w.index, Term: x.w.term, Time: x.w.now, Wall: x.w.now + 5, Command: true, Data: data})
	switch got := again.Replies[0]; {
	case c.Kind == KindLockAcquire, c.Kind == KindLockAcquireAll, c.Kind == KindBarrierWait, c.Kind == KindLatchWait: // answered by its ticket, as it is now
		if was, is := reply.Lock, got.Lock; got.Code != OK || was.State == StateGranted && (is.State != was.State || is.Fence != was.Fence) {
			x.t.Fatalf("%+v was answered with %s %+v, and again with %s %+v", c, reply.Code, was, got.Code, is)
		}
	case !reflect.DeepEqual(got, reply):
		x.t.Fatalf("%+v was answered twice: %s", c, cmp.Diff(reply, got))
	}
	if got := again.Replies[1]; got.Code != CodeRequestReused {
		x.t.Fatalf("a second command under the seq of %+v was answered with %s", c, got.Code)
	}
}

// FuzzDifferential feeds three machines the same entries. One lives through all of them; one becomes, again and again, what
// the first one's snapshot holds; one what its own does. All answers and all states must be the same. The workload ends
// with the fuzzer's bytes.
func FuzzDifferential(f *testing.F) {
	f.Add([]byte("a few bytes to begin with, each of them picks something"), []byte{10})
	f.Add([]byte("snapshots of snapshots, one behind the other, of no entry and of many"), []byte{3, 0, 1, 31, 2, 2, 7})
	for seed := range uint64(12) {
		pick := randomPick(seed)
		picks := make([]byte, 100+60*seed)
		for i := range picks {
			picks[i] = byte(pick(256))
		}
		f.Add(picks, []byte{byte(pick(32)), byte(pick(32)), byte(pick(32))})
	}
	f.Fuzz(func(t *testing.T, picks, lengths []byte) {
		m := New()
		other, own := m, New()
		left := len(picks)
		next := bytesPick(picks)
		x := &twins{t: t, told: map[uint64]uint64{}, w: newWorkload(m, func(n int) int { left--; return next(n) })}
		entries := 0
		for round := 0; ; round++ {
			x.ms = []*Machine{m, own}
			if other != m {
				x.ms = append(x.ms, other)
			}
			n := differentialEntries // the last round takes what is left
			if round < min(len(lengths), differentialSnapshots) {
				n = int(lengths[round] % 32)
			}
			for ; n > 0 && left > 0 && entries < differentialEntries; n-- {
				x.next()
				entries++
			}
			if h := m.Live().Hash(); h != other.Live().Hash() || h != own.Live().Hash() {
				t.Fatal("hashes differ")
			}
			if left <= 0 || entries == differentialEntries {
				return
			}
			other, own = restore(t, save(t, m.View())), restore(t, save(t, own.View()))
		}
	})
}
