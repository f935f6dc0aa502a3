package sim

import (
	"fmt"
	"time"
)

// OpKind is what an operation of a lock's history does.
type OpKind uint8

// The kinds of operations.
const (
	OpBegin   OpKind = iota // the state in which the window begins; the first one
	OpAcquire               // Fence is granted
	OpRelease               // the hold of Fence is over, for whatever reason
	OpRenew                 // the hold of Old goes on under Fence: another process took the session over
	OpGet                   // a linearizable read that saw the hold of Fence; 0: the lock was free
	OpEnd                   // the state in which the window ends; the last one
)

// Op is one operation, in virtual time. What the service did is bounded by the moment at which its entry was first
// appended anywhere and the one at which its client knew (or, where that is later than the window, at which it was
// applied); a read is bounded by the sending of the request and the arrival of the answer.
type Op struct {
	Client       int // who read; 0: the service
	Kind         OpKind
	Fence, Old   uint64
	Call, Return time.Duration
}

// String shows the operation.
func (o Op) String() string {
	names := [...]string{"begin", "acquire", "release", "renew", "get", "end"}
	return fmt.Sprintf("%s %d %d [%v, %v] by %d", names[o.Kind], o.Fence, o.Old, o.Call, o.Return, o.Client)
}

// Window is a part of the history of one lock, short enough to be decided. It begins and ends at instants at which the
// observer knows the state; nothing reaches over them. A read that would is not in any window: it was compared with the
// state at its index.
type Window struct {
	Lock string
	Ops  []Op
}

// windowOps is about how many operations a window has.
const windowOps = 48

// recorder makes the windows of one lock.
type recorder struct {
	w     *world
	name  string
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
func (r *recorder) read(c *client, fence uint64, begun time.Duration) {
	if begun > r.since {
		r.add(Op{Client: c.number, Kind: OpGet, Fence: fence, Call: begun, Return: r.w.now})
	}
}

// cut ends the window now, in a state that is known, and begins the next one.
func (r *recorder) cut(fence, last uint64) {
	now := r.w.now
	for _, i := range r.open { // each for itself: the order does not matter
		r.ops[i].Return = now
	}
	r.ops = append(r.ops, Op{Kind: OpEnd, Fence: fence, Old: last, Call: now + 1, Return: now + 2})
	r.w.report.Windows++
	r.w.report.WindowOps += len(r.ops)
	if err := r.w.opt.History(Window{r.name, r.ops}); err != nil {
		r.w.fail("%v", err)
	}
	r.ops = append([]Op(nil), Op{Kind: OpBegin, Fence: fence, Old: last})
	r.since, r.open = now, map[uint64]int{}
}

// record adds what an entry did to a lock, whose hold was another one before.
func (l *seenLock) record(o *observer, was uint64) {
	r := &l.history
	if r.w.opt.History == nil {
		return
	}
	now := r.w.now
	over := func(fence uint64) {
		r.add(Op{Kind: OpRelease, Fence: fence, Call: o.appended, Return: now})
		delete(r.open, fence)
	}
	renewed := l.renewed
	for _, f := range o.granted {
		if o.fences[f].lock != l.name {
			continue
		}
		l.highest = max(l.highest, f)
		if old := renewed[f]; old != 0 {
			r.add(Op{Kind: OpRenew, Fence: f, Old: old, Call: o.appended, Return: now})
		} else {
			r.add(Op{Kind: OpAcquire, Fence: f, Call: o.appended, Return: never})
		}
		if f != l.fence && !replaces(renewed, f) {
			over(f) // granted and given back in one entry
		}
	}
	if was != 0 && was != l.fence && !replaces(renewed, was) {
		over(was)
	}
	l.renewed = nil
	if len(r.ops) >= windowOps {
		r.cut(l.fence, l.highest)
	}
}

// replaces reports whether a fence was followed by another one of the same hold.
func replaces(renewed map[uint64]uint64, old uint64) bool {
	for _, o := range renewed {
		if o == old {
			return true
		}
	}
	return false
}

// refenced notes that a hold goes on under another fence.
func (l *seenLock) refenced(old, fence uint64) {
	if l.renewed == nil {
		l.renewed = map[uint64]uint64{}
	}
	l.renewed[fence] = old
}

// end closes the last window.
func (l *seenLock) end() {
	if r := &l.history; r.w.opt.History != nil && len(r.ops) > 1 {
		r.cut(l.fence, l.highest)
	}
}
