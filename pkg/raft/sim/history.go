package sim

import (
	"encoding/binary"
	"fmt"
	"time"
)

// OpKind is what an operation of a lock's history does.
type OpKind uint8

// The kinds of operations.
const (
	OpBegin    OpKind = iota // the state in which the window begins; the first one
	OpAcquire                // Fence is granted, in Mode, with Count of Limit permits and a Value
	OpRelease                // the hold of Fence is over, for whatever reason
	OpRenew                  // the hold of Old goes on under Fence: another process took the session over
	OpProclaim               // the hold of Fence has another Value
	OpGet                    // a linearizable read that saw the holds of Held
	OpArrive                 // Fence came to a barrier of Count parties, or to a latch
	OpPass                   // Fence was let through
	OpLeave                  // Fence waits no more, and was not let through
	OpSet                    // a latch is set to Count
	OpDown                   // Count is taken from a latch; Old is left
	OpEnd                    // the state in which the window ends; the last one
)

// Op is one operation, in virtual time. What the service did is bounded by the moment at which its entry was first
// appended anywhere and the one at which its client knew (or, where that is later than the window, at which it was
// applied); a read is bounded by the sending of the request and the arrival of the answer.
type Op struct {
	Client       int // who read; 0: the service
	Kind         OpKind
	Fence, Old   uint64 // of the first and the last one: Old is the highest fence, or whether a latch was set
	Mode         byte
	Count, Limit uint64
	Value        uint64 // a digest
	Held         string // a list of Held: the holds of a lock, or those who wait
	Call, Return time.Duration
}

// Held is one hold of a lock in a history, or one who waits (Fence alone).
type Held struct {
	Fence uint64
	Mode  byte
	Count byte
	Value uint64 // a digest
}

// heldBytes is the length of one in a list.
const heldBytes = 18

// add appends it to a list.
func (h Held) add(list []byte) []byte {
	list = binary.BigEndian.AppendUint64(list, h.Fence)
	return binary.BigEndian.AppendUint64(append(list, h.Mode, h.Count), h.Value)
}

// HeldIn reads a list.
func HeldIn(list string) (hs []Held) {
	for b := []byte(list); len(b) >= heldBytes; b = b[heldBytes:] {
		hs = append(hs, Held{binary.BigEndian.Uint64(b), b[8], b[9], binary.BigEndian.Uint64(b[10:])})
	}
	return hs
}

// digestOf is what a value is compared by.
func digestOf[S string | []byte](value S) uint64 { return uint64(fnvBegin.bytes([]byte(value))) }

// String shows the operation.
func (o Op) String() string {
	names := [...]string{"begin", "acquire", "release", "renew", "proclaim", "get", "arrive", "pass", "leave", "set", "down", "end"}
	return fmt.Sprintf("%s %d %d mode %d count %d/%d held %v [%v, %v] by %d", names[o.Kind], o.Fence, o.Old, o.Mode, o.Count, o.Limit,
		HeldIn(o.Held), o.Call, o.Return, o.Client)
}

// Window is a part of the history of one lock, barrier or latch, short enough to be decided. It begins and ends at instants at which the
// observer knows the state; nothing reaches over them. A read that would is not in any window: it was compared with the
// state at its index.
type Window struct {
	Lock    string
	Meeting bool // a barrier or a latch
	Ops     []Op
}

// windowOps is about how many operations a window has.
const windowOps = 48

// recorder makes the windows of one lock, barrier or latch.
type recorder struct {
	w     *world
	name  string
	meets bool // not a lock
	ops   []Op
	since time.Duration
	open  map[uint64]int // acquires that their clients do not know of yet, by fence
}

// never is the return of an operation that goes on.
const never = time.Duration(1<<63 - 1)

func (r *recorder) add(op Op) {
	if r.w.opt.History == nil {
		return
	}
	if len(r.ops) == 0 {
		r.ops = append(r.ops, Op{Kind: OpBegin})
		r.open = map[uint64]int{}
	}
	if op.Return == never {
		r.open[op.Fence] = len(r.ops)
	}
	r.ops = append(r.ops, op)
}

// learned notes that a client knows of its grant.
func (r *recorder) learned(fence uint64) {
	if i, open := r.open[fence]; open {
		r.ops[i].Return = r.w.now
		delete(r.open, fence)
	}
}

// read notes what a linearizable read saw.
func (r *recorder) read(c *client, held string, begun time.Duration) {
	if begun > r.since {
		r.add(Op{Client: c.number, Kind: OpGet, Held: held, Call: begun, Return: r.w.now})
	}
}

// cut ends the window now, in a state that is known, and begins the next one.
func (r *recorder) cut(state Op) {
	now := r.w.now
	for _, i := range r.open { // each for itself: the order does not matter
		r.ops[i].Return = now
	}
	state.Kind, state.Call, state.Return = OpEnd, now+1, now+2
	r.ops = append(r.ops, state)
	r.w.report.Windows++
	r.w.report.WindowOps += len(r.ops)
	if err := r.w.opt.History(Window{r.name, r.meets, r.ops}); err != nil {
		r.w.fail("%v", err)
	}
	state.Kind, state.Call, state.Return = OpBegin, 0, 0
	r.ops = append([]Op(nil), state)
	r.since, r.open = now, map[uint64]int{}
}

// record adds what an entry did to a lock, whose holds were others before.
func (l *seenLock) record(o *observer, before []seenHold) {
	r := &l.history
	if r.w.opt.History == nil {
		return
	}
	now := r.w.now
	over := func(fence uint64) {
		if o.renewals[fence] != 0 {
			return
		}
		r.add(Op{Kind: OpRelease, Fence: fence, Call: o.appended, Return: now})
		delete(r.open, fence)
	}
	for _, f := range o.granted {
		g := o.fences[f]
		if g.lock != l.name {
			continue
		}
		l.highest = max(l.highest, f)
		if g.old != 0 {
			r.add(Op{Kind: OpRenew, Fence: f, Old: g.old, Call: o.appended, Return: now})
		} else {
			r.add(Op{Kind: OpAcquire, Fence: f, Mode: byte(g.mode), Count: g.count, Limit: g.limit, Value: g.first, Call: o.appended, Return: never})
		}
		if l.find(f) == nil {
			over(f) // granted and given back in one entry
		}
	}
	for i := range before {
		if f := before[i].fence; l.find(f) == nil {
			over(f)
		}
	}
	if len(r.ops) >= windowOps {
		r.cut(l.state())
	}
}

// state is what the model of the history needs to go on.
func (l *seenLock) state() Op { return Op{Old: l.highest, Held: l.heldBy()} }

// endHistories closes the last windows.
func (o *observer) endHistories() {
	for _, l := range o.locks {
		if r := &l.history; r.w.opt.History != nil && len(r.ops) > 1 {
			r.cut(l.state())
		}
	}
	for _, m := range o.meetings {
		if r := &m.history; r.w.opt.History != nil && len(r.ops) > 1 {
			r.cut(m.state())
		}
	}
}
