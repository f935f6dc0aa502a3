package machine

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/internal/allocs"
)

func save(t testing.TB, v *View) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := v.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restore(t testing.TB, data []byte) *Machine {
	t.Helper()
	m, err := Restore(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// run applies n random entries to all machines and compares what they do.
func run(t testing.TB, w *workload, n int, ms ...*Machine) {
	t.Helper()
	for range n {
		e := w.entry()
		var first Result
		for i, m := range ms {
			res := m.Apply(e)
			if res.Err != nil {
				t.Fatal(res.Err)
			}
			if i == 0 {
				first = res
			} else if !reflect.DeepEqual(first, res) {
				t.Fatalf("entry %d: %s", e.Index, cmp.Diff(first, res))
			}
		}
		if err := ms[0].check(); err != nil {
			t.Fatalf("entry %d: %v", e.Index, err)
		}
	}
}

// Two machines are fed the same entries, one of them goes through a snapshot half way.
func TestRestoredMachineGoesOnAsTheFirst(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		m := New()
		w := newWorkload(m, randomPick(seed))
		run(t, w, 200, m)
		data := save(t, m.Live())
		second := restore(t, data)
		if m.Live().Hash() != second.Live().Hash() {
			t.Fatalf("seed %d: hashes differ after the restore", seed)
		}
		if again := save(t, second.View()); !bytes.Equal(again, data) {
			t.Fatalf("seed %d: a snapshot of the restored machine differs", seed)
		}
		due1, ok1 := m.NextDue()
		due2, ok2 := second.NextDue()
		if due1 != due2 || ok1 != ok2 {
			t.Fatalf("seed %d: due at %d and at %d", seed, due1, due2)
		}
		run(t, w, 200, m, second)
		if m.Live().Hash() != second.Live().Hash() {
			t.Fatalf("seed %d: hashes differ at the end", seed)
		}
		if c := m.Live().Counts(); c != second.Live().Counts() {
			t.Fatalf("seed %d: %+v, %+v", seed, c, second.Live().Counts())
		}
	}
}

// What the workload of these tests reaches, so that a change of it that loses a part is noticed.
func TestWorkloadReachesEverything(t *testing.T) {
	t.Parallel()
	codes, kinds, states := map[Code]int{}, map[EventKind]int{}, map[LockState]int{}
	var c Counts
	for seed := range uint64(30) {
		m := New()
		w := newWorkload(m, randomPick(seed))
		for range 300 {
			res := m.Apply(w.entry())
			for _, r := range res.Replies {
				codes[r.Code]++
				if r.Lock != nil {
					states[r.Lock.State]++
				}
			}
			for _, e := range res.Events {
				kinds[e.Kind]++
			}
		}
		n := m.Live().Counts()
		c.Expirations += n.Expirations
		c.Timeouts += n.Timeouts
		c.Forced += n.Forced
	}
	for code := OK; code <= CodeTooLarge; code++ {
		switch code {
		case CodeBadName, CodeQuota, CodeCountTooLarge, CodeWindowFull, CodeTooLarge: // not for a random walk
		default:
			if codes[code] == 0 {
				t.Errorf("no reply was %s", code)
			}
		}
	}
	for _, k := range []EventKind{EventGranted, EventLost, EventTimedOut, EventHandOverAsked, EventSessionExpired} {
		if kinds[k] == 0 {
			t.Errorf("no event of kind %d", k)
		}
	}
	for s := StateGranted; s <= StateAsked; s++ {
		if states[s] == 0 {
			t.Errorf("no lock reply in state %d", s)
		}
	}
	if c.Expirations == 0 || c.Timeouts == 0 || c.Forced == 0 {
		t.Errorf("%+v", c)
	}
	t.Logf("codes %v, events %v, states %v", codes, kinds, states)
}

func TestSnapshotIsReadNoFurtherThanItsEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.open("a", 1e9).lock("x")
	src := bytes.NewReader(append(save(t, r.m.Live()), "what follows"...))
	if _, err := Restore(src); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(src); string(rest) != "what follows" {
		t.Fatalf("%q is left", rest)
	}
}

func TestEveryFlippedBitOfASnapshotIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.open("a", 1e9), r.open("b", 1e9)
	a.lock("x")
	b.queue("x", noLimit)
	data := save(t, r.m.Live())
	for i := range data {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			if _, err := Restore(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
		}
		if _, err := Restore(bytes.NewReader(data[:i])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func TestMissingRepeatedAndMovedBlocksAreFound(t *testing.T) {
	t.Parallel()
	m := bigMachine(t, 4000)
	data := save(t, m.Live())
	head := len(snapshotMagic) + 2
	var blocks [][]byte
	for at := head; at < len(data); {
		n := blockHeader + int(uint32(data[at])<<24|uint32(data[at+1])<<16|uint32(data[at+2])<<8|uint32(data[at+3]))
		blocks = append(blocks, data[at:at+n])
		at += n
	}
	if len(blocks) < 5 {
		t.Fatalf("%d blocks", len(blocks))
	}
	join := func(bs ...[]byte) []byte { return append(bytes.Clone(data[:head]), bytes.Join(bs, nil)...) }
	last := len(blocks) - 1
	for name, bad := range map[string][]byte{
		"missing":  join(append([][]byte{blocks[0]}, blocks[2:]...)...),
		"repeated": join(append([][]byte{blocks[0], blocks[1], blocks[1]}, blocks[2:]...)...),
		"moved":    join(append([][]byte{blocks[0], blocks[2], blocks[1]}, blocks[3:]...)...),
		"no end":   join(blocks[:last]...),
		"end only": join(blocks[last]),
	} {
		if _, err := Restore(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := restore(t, join(blocks...)); got.Live().Hash() != m.Live().Hash() {
		t.Error("the whole one is not what it was")
	}
}

func TestSnapshotOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	data := save(t, New().Live())
	data[len(snapshotMagic)+1]++
	if _, err := Restore(bytes.NewReader(data)); !errors.Is(err, ErrSnapshot) {
		t.Fatal(err)
	}
}

func TestErrorsOfReaderAndWriterAreReported(t *testing.T) {
	t.Parallel()
	m := bigMachine(t, 3000)
	data := save(t, m.Live())
	broken := errors.New("broken")
	if _, err := Restore(io.MultiReader(bytes.NewReader(data[:1000]), iotest.ErrReader(broken))); !errors.Is(err, broken) || errors.Is(err, ErrSnapshot) {
		t.Error(err)
	}
	if _, err := Restore(iotest.OneByteReader(bytes.NewReader(data))); err != nil {
		t.Error(err)
	}
	for _, n := range []int{0, 5, 20, 70_000, len(data) - 1} {
		if err := m.Live().Save(&shortWriter{n, broken}); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

type shortWriter struct {
	left int
	err  error
}

func (w *shortWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return w.left, w.err
	}
	w.left -= len(p)
	return len(p), nil
}

// Snapshots that have a right checksum and tell an impossible story.
func TestInconsistentSnapshotsAreRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(m *Machine){
		"a hold without a ticket":    func(m *Machine) { m.tickets.Delete(&ticket{session: 1, seq: 1}) },
		"a ticket without a hold":    func(m *Machine) { m.locks.Release("ns\x00x", 1, 0, nil) },
		"a ticket without a session": func(m *Machine) { m.sessions.Delete(2) },
		"a session from the future":  func(m *Machine) { m.lastSession = 1 },
		"a fence from the future":    func(m *Machine) { m.locks.SetCounters(0, 9) },
		"a place from the future":    func(m *Machine) { m.locks.SetCounters(9, 0) },
		"a session that has ended":   func(m *Machine) { m.now, m.endedUpTo = 1<<60, 1<<60 },
		"a sequence ID never given":  func(m *Machine) { m.seqs.SetLastID(0) },
		"a reply below the floor":    func(m *Machine) { s, _ := m.sessions.Get(1); s.floor = 100 },
		"time before its own past":   func(m *Machine) { m.endedUpTo = m.now + 1 },
		"a ticket above highest":     func(m *Machine) { s, _ := m.sessions.Get(2); s.highest = 0 },
		"a ttl out of bounds":        func(m *Machine) { s, _ := m.sessions.Get(2); s.ttl = 5 },
		"one nonce for two sessions": func(m *Machine) {
			a, _ := m.sessions.Get(1)
			b, _ := m.sessions.Get(2)
			a.nonce, b.nonce = digest{1}, digest{1}
		},
		"events seen before they are": func(m *Machine) { s, _ := m.sessions.Get(2); s.eventsSeen = 7 },
		"an impossible reply":         func(m *Machine) { s, _ := m.sessions.Get(1); s.replies[0].reply.Code = 200 },
		"an impossible domain":        func(m *Machine) { m.domain = 1 << 15 },
	} {
		r := newRig(t)
		a, b := r.open("a", 1e9), r.open("b", 1e9)
		a.lock("x")
		b.queue("x", noLimit)
		r.want(a.do(createCommand("s", SeqCreate{})), OK)
		restore(t, save(t, r.m.Live()))
		spoil(r.m)
		if _, err := Restore(bytes.NewReader(save(t, r.m.Live()))); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// seal makes a snapshot of records that a fuzzer made, so that it gets behind the checksums.
func seal(records []byte) []byte {
	var b bytes.Buffer
	w := newBlockWriter(&b)
	w.record(records)
	if err := w.end(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func FuzzRestore(f *testing.F) {
	for seed := range uint64(20) { // small ones: the fuzzer shortens what it finds, byte by byte
		m := New()
		w := newWorkload(m, randomPick(seed))
		for range 8 + seed {
			m.Apply(w.entry())
		}
		var recs []byte
		m.records(func(rec []byte) bool {
			recs = append(recs, rec...)
			return true
		})
		f.Add(recs, true)
		f.Add(save(f, m.Live()), false)
	}
	for _, m := range []*Machine{New(), bigMachine(f, 3)} {
		data := save(f, m.Live())
		f.Add(data, false)
		f.Add(data[:len(data)-1], false)
		f.Add(append(data, 0), false)
	}
	head := save(f, New().Live())[:len(snapshotMagic)+2]
	f.Add(append(bytes.Clone(head), 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), false)          // a block as large as they get, which is not there
	f.Add(append(bytes.Clone(head), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0), false) // one of 4 GiB
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed {
			data = seal(data)
		}
		// A block's memory is taken before its bytes are there. A record of some ten bytes is a session, or a lock in three indexes.
		allocs.Within(t, len(data), blockLimit+1<<20, 400, func() {
			if _, err := Restore(bytes.NewReader(data)); err != nil && (!errors.Is(err, ErrSnapshot) || len(err.Error()) < len(ErrSnapshot.Error())+4) {
				t.Fatalf("an error that says too little: %q", err)
			}
		})
		m, err := Restore(bytes.NewReader(data))
		if err != nil {
			return
		}
		// Whatever is accepted is a machine like any other.
		second := restore(t, save(t, m.Live()))
		if m.Live().Hash() != second.Live().Hash() {
			t.Fatal("a restored machine saves something else")
		}
		if m.index == 1<<64-1 || m.term == 1<<64-1 {
			return
		}
		w := newWorkload(m, randomPick(1))
		w.index, w.term, w.now = m.index, m.term, m.now
		run(t, w, 30, m, second)
	})
}
