package machine

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/coordd/coordd/pkg/locks"
)

// workload makes entries that a log could hold: sensible requests mostly, and repeats, late ones,
// strangers, wrong fences, elections and jumps of time among them. It looks into the machine to find what
// is worth asking for, so that few of its requests are refused.
type workload struct {
	pick  func(n int) int // 0 ≤ result < n
	m     *Machine
	index uint64
	term  uint64
	// version of the entries: at first 1 or 2, and at some time 2
	version uint32
	now     int64
	seq     map[uint64]uint64 // last seq used by session
	old     []Command         // to be repeated
}

func newWorkload(m *Machine, pick func(int) int) *workload {
	return &workload{pick: pick, m: m, term: 1, version: uint32(1 + pick(2)), now: 1, seq: map[uint64]uint64{}}
}

// randomPick draws from a seed; bytesPick from a fuzzer's bytes, then always 0.
func randomPick(seed uint64) func(int) int {
	rnd := rand.New(rand.NewPCG(seed, 1))
	return rnd.IntN
}

func bytesPick(data []byte) func(int) int {
	return func(n int) int {
		if len(data) == 0 {
			return 0
		}
		v := int(data[0])
		data = data[1:]
		return v % n
	}
}

func (w *workload) name() string { return []string{"x", "y", "z", "orders/1"}[w.pick(4)] }

// someSession returns a session that is there, mostly.
func (w *workload) someSession() (id uint64, s *session) {
	n := w.m.sessions.Len()
	if n == 0 || w.pick(40) == 0 {
		return uint64(w.pick(int(w.m.lastSession) + 3)), nil
	}
	id, s, _ = w.m.sessions.GetAt(w.pick(n))
	return id, s
}

// entry makes the next entry, of up to three commands.
func (w *workload) entry() Entry {
	w.index++
	if w.pick(20) == 0 {
		w.version = 2
	}
	switch w.pick(30) {
	case 0:
		w.now += int64(w.pick(20)) * int64(time.Second)
	case 1:
		w.term++
		return Entry{Index: w.index, Term: w.term, Time: w.now, Wall: w.now + 5}
	case 2:
		w.now -= int64(w.pick(100)) // an entry's time never goes back, and the machine doesn't rely on it
	default:
		w.now += int64(w.pick(300)) * int64(time.Millisecond)
	}
	var cs []Command
	for range w.pick(3) + 1 {
		cs = append(cs, w.command())
	}
	if !w.m.serving && w.pick(3) == 0 {
		cs = append(cs, Command{Kind: KindServing, Serving: &Serving{ElectionTimeout: int64(300 * time.Millisecond)}})
	}
	data, err := EncodeCommandsAs(w.version, cs)
	if err != nil {
		panic(err)
	}
	return Entry{Index: w.index, Term: w.term, Time: w.now, Wall: w.now + 5, Command: true, Data: data}
}

func (w *workload) command() Command {
	if len(w.old) > 0 && w.pick(8) == 0 {
		return w.old[w.pick(len(w.old))]
	}
	c := w.fresh()
	if len(w.old) < 64 {
		w.old = append(w.old, c)
	} else {
		w.old[w.pick(64)] = c
	}
	return c
}

func (w *workload) fresh() Command {
	switch w.pick(24) {
	case 0:
		return Command{Kind: KindTick}
	case 1:
		return Command{Kind: KindNotServing}
	case 2, 3:
		c := openCommand("w", time.Duration(1+w.pick(20))*time.Second, []string{"", "n1", "n2"}[w.pick(3)])
		c.Open.Metadata = map[string]string{"b": "2", "a": "1"}
		return c
	case 4:
		return Command{Kind: KindInit, Init: &Init{Domain: uint16(w.pick(4))}}
	case 5:
		name := w.name()
		fence := uint64(w.pick(10))
		if l, ok := w.m.locks.Get(keyOf("ns", name)); ok && w.pick(5) > 0 {
			if len(l.Holds) > 0 {
				fence = l.Holds[w.pick(len(l.Holds))].Fence
			}
		}
		return forceCommand(name, fence, w.pick(3) == 0)
	}
	id, s := w.someSession()
	c := Command{Namespace: "ns", Session: id, Secret: secretOf("w")}
	if s != nil {
		c.Generation = s.generation
		c.EventsSeen = s.eventsSeen + uint64(w.pick(2))*uint64(w.pick(5))
	}
	if w.pick(50) == 0 {
		c.Generation++
	}
	if w.pick(80) == 0 {
		c.Secret = secretOf("stranger")
	}
	switch w.pick(10) {
	case 0, 1:
		c.Kind = KindSessionKeepalive
		return c
	case 2:
		if w.pick(4) == 0 {
			c.Kind, c.Resume = KindSessionResume, &Resume{Nonce: []byte{byte('a' + w.pick(4))}}
			return c
		}
	}
	w.seq[id] += uint64(1 + w.pick(8)/7) // now and then a gap
	c.Seq = w.seq[id]
	switch w.pick(5) {
	case 0:
		c.Seq -= min(c.Seq-1, uint64(w.pick(6)))
		c.Ack = c.Seq - min(c.Seq-1, 3)
	case 1, 2:
		c.Ack = c.Seq - min(c.Seq-1, uint64(w.pick(5)))
	}
	if w.pick(30) == 0 {
		c.NotAfter = max(1, w.now-int64(w.pick(2)))
	}
	w.verb(&c, s)
	return c
}

func (w *workload) verb(c *Command, s *session) {
	c.Name = w.name()
	if w.version >= 2 && w.pick(2) == 0 {
		w.laterVerb(c, s)
		return
	}
	switch w.pick(12) {
	case 0, 1, 2, 3:
		wait := []int64{0, NoWaitLimit, int64(time.Second), int64(5 * time.Second), 1}[w.pick(5)]
		c.Kind, c.Acquire = KindLockAcquire, &Acquire{Mode: Exclusive, Wait: wait}
		if w.pick(4) == 0 {
			c.Acquire.Metadata = map[string]string{"job": "1"}
		}
	case 4:
		c.Kind, c.Cancel = KindLockCancel, &Cancel{Ticket: c.Seq - min(c.Seq-1, uint64(w.pick(4)))}
		if s != nil {
			w.aim(c, s, func(t *ticket) { c.Cancel.Ticket = t.seq })
		}
	case 5:
		if w.pick(6) == 0 {
			c.Kind = KindSessionClose
			return
		}
		fallthrough
	case 6, 7, 8:
		c.Kind, c.Release = KindLockRelease, &Release{Fence: uint64(w.pick(20))}
		if s != nil {
			w.aim(c, s, func(t *ticket) { c.Release.Fence = t.fence })
		}
	default:
		w.sequenceVerb(c)
	}
}

// laterVerb makes a command that version 1 does not know.
func (w *workload) laterVerb(c *Command, s *session) {
	wait := []int64{0, NoWaitLimit, NoWaitLimit, int64(5 * time.Second)}[w.pick(4)]
	delay := []int64{0, 0, int64(2 * time.Second)}[w.pick(3)]
	maxHold := []int64{0, 0, int64(3 * time.Second)}[w.pick(3)]
	switch w.pick(12) {
	case 0, 1, 2, 3:
		c.Kind, c.Acquire = KindLockAcquire, &Acquire{Mode: Mode(1 + w.pick(3)), Wait: wait, Delay: delay, MaxHold: maxHold, Holding: w.holding(c, s)}
		switch c.Acquire.Mode {
		case Semaphore:
			c.Name, c.Acquire.Limit, c.Acquire.Count = []string{"sem", "sem", "x"}[w.pick(3)], 3, uint64(w.pick(4))
		default:
			c.Acquire.Reentrant = w.pick(2) == 0
			c.Acquire.Value = []byte{byte('a' + w.pick(3))}
		}
	case 4, 5:
		names := []string{"x", "y", "z", "orders/1"}
		from := w.pick(4)
		c.Kind, c.AcquireAll, c.Name = KindLockAcquireAll, &AcquireAll{Wait: wait, Delay: delay, MaxHold: maxHold, Holding: w.holding(c, s)}, ""
		for i := range 1 + w.pick(3) {
			c.AcquireAll.Names = append(c.AcquireAll.Names, names[(from+i)%4])
		}
	case 6:
		to, _ := w.someSession()
		c.Kind, c.HandOver = KindLockHandOver, &HandOver{Fence: uint64(w.pick(20)), To: to}
		if l, ok := w.m.locks.Get(keyOf("ns", c.Name)); ok && len(l.Holds) > 0 && w.pick(6) > 0 {
			c.HandOver.Fence = l.Holds[w.pick(len(l.Holds))].Fence
			w.m.locks.Queue(l.Key, func(q *locks.Waiter) bool {
				c.HandOver.To = q.Session
				return w.pick(2) == 0
			})
		}
	case 7:
		c.Kind, c.Proclaim = KindElectionProclaim, &Proclaim{Fence: uint64(w.pick(20)), Value: []byte{byte('p' + w.pick(3))}}
		if s != nil {
			w.aim(c, s, func(t *ticket) { c.Proclaim.Fence = t.fence })
		}
	case 8, 9:
		c.Kind, c.BarrierWait = KindBarrierWait, &BarrierWait{Parties: uint64(1 + w.pick(12)/3), Wait: wait}
	case 10:
		c.Kind, c.LatchWait = KindLatchWait, &LatchWait{Wait: wait}
	case 11:
		if w.pick(3) == 0 {
			c.Kind, c.LatchSet = KindLatchSet, &LatchSet{Count: uint64(w.pick(4))}
		} else {
			c.Kind, c.LatchCountDown = KindLatchCountDown, &LatchCountDown{N: uint64(w.pick(3))}
		}
	}
}

// holding says some of the fences that a session holds, and goes for one of their locks now and then.
func (w *workload) holding(c *Command, s *session) (fences []uint64) {
	if s == nil || w.pick(2) == 0 {
		return nil
	}
	for _, t := range w.m.ticketsOf(s.id, nil) {
		if t.holds() && w.pick(3) > 0 {
			fences = append(fences, t.fence)
			if w.pick(4) == 0 {
				c.Name = t.name()
			}
		}
	}
	return fences
}

// aim makes a command about one of the session's tickets, if it has any.
func (w *workload) aim(c *Command, s *session, set func(*ticket)) {
	if ts := w.m.ticketsOf(s.id, nil); len(ts) > 0 && w.pick(6) > 0 {
		t := ts[w.pick(len(ts))]
		c.Name = t.name()
		set(t)
	}
}

func (w *workload) sequenceVerb(c *Command) {
	switch w.pick(8) {
	case 0, 1:
		c.Kind, c.Create = KindSeqCreate, &SeqCreate{Max: []int64{0, 50, math.MaxInt64}[w.pick(3)], Step: int64(w.pick(4) - 1), Cycle: w.pick(2) == 0}
	case 2:
		c.Kind, c.Advance = KindSeqAdvance, &SeqAdvance{To: int64(w.pick(40))}
	case 3:
		c.Kind = KindSeqDelete
	default:
		c.Kind, c.Alloc = KindSeqAlloc, &SeqAlloc{Count: int64(1 + w.pick(30)), MinCount: int64(w.pick(2))}
		if w.pick(4) == 0 {
			c.Session, c.Seq, c.Ack = 0, 0, 0
		}
	}
}
