package machine

import (
	"github.com/tidwall/btree"

	"github.com/coordd/coordd/pkg/locks"
)

// timeline are the last transitions of one lock. There is one for each lock that is held, and a lock changes with nearly
// every command: so they are kept as bytes, which cost little memory and nothing to the garbage collector. A record
// is changed in place until the next View, and its bytes only ever grow behind what a view sees, or are replaced.
type timeline struct {
	stamp  uint64 // Machine.stamp when this record was made
	marks  []byte // the transitions, oldest first, each behind its length
	number uint64 // of the last one
	slot   *freeSlot
	length uint8 // how many there are
	shared bool  // an older record, which a view may have, may have the same array
}

// firstTimeline is a new timeline with room for its first transition: many locks are granted once and held.
type firstTimeline struct {
	timeline
	room [56]byte
}

// longTimeline is how long a timeline gets before it is cut to Transitions: to cut it means to copy it, which is done
// once in a while only.
const longTimeline = 2 * Transitions

// appendMark appends a transition, without its number and its lock.
func appendMark(b []byte, k *Transition) []byte {
	b = append(b, byte(k.Kind), byte(k.Mode))
	b = appendUint(b, k.Count)
	b = appendInt(b, k.At)
	b = appendUint(b, k.Index)
	b = appendUint(b, k.Session)
	b = appendString(b, k.Owner)
	b = appendUint(b, k.Ticket)
	b = appendUint(b, k.Fence)
	b = appendInt(b, k.Until)
	return appendString(b, k.Reason)
}

func (r *reader) mark() Transition {
	return Transition{Kind: TransitionKind(r.byte()), Mode: Mode(r.byte()), Count: r.uint(), At: r.int(), Index: r.uint(), Session: r.uint(),
		Owner: r.string(), Ticket: r.uint(), Fence: r.uint(), Until: r.int(), Reason: r.string()}
}

// add puts a transition behind the others.
func (t *timeline) add(k *Transition) {
	if t.length == longTimeline {
		last, to := t.last(Transitions-1), t.marks[:0]
		if t.shared {
			to, t.shared = make([]byte, 0, cap(t.marks)), false
		}
		t.marks, t.length = append(to, last...), Transitions-1
	}
	var small [96]byte
	b := appendMark(small[:0], k)
	t.marks = append(appendUint(t.marks, uint64(len(b))), b...)
	t.length++
	t.number++
}

// last returns the bytes of the last n transitions.
func (t *timeline) last(n uint8) []byte {
	r := reader{data: t.marks}
	for range t.length - min(n, t.length) {
		r.take(r.uint())
	}
	return r.data
}

// transitions returns the last ones, at most Transitions, oldest first.
func (t *timeline) transitions() []Transition {
	n := min(t.length, Transitions)
	r := reader{data: t.last(n)}
	ts := make([]Transition, n)
	for i := range ts {
		r.uint() // its length
		ts[i] = r.mark()
		ts[i].Number = t.number - uint64(len(ts)-1-i)
	}
	return ts
}

// freeSlot is the place of a free lock's timeline in the order in which they are forgotten. Only number is read
// through views; the rest belongs to the machine.
type freeSlot struct {
	stamp      uint64 // Machine.stamp when number was given
	number     uint64 // counts how often any lock became free
	key        string
	prev, next *freeSlot
}

// timelines are those of each lock that is held or waited for, and of some that are free.
type timelines struct {
	all   *btree.Map[string, *timeline]
	freed uint64 // the last number of a freeSlot
}

func newTimelines() timelines { return timelines{all: btree.NewMap[string, *timeline](0)} }

func (t *timelines) copied() timelines { return timelines{all: t.all.Copy(), freed: t.freed} }

// freeList are the free locks that have a timeline, first the one that has been free for the longest time. It is made
// from the timelines.
type freeList struct {
	first, last *freeSlot
	n           int
}

func (l *freeList) add(s *freeSlot) {
	s.prev = l.last
	if l.last == nil {
		l.first = s
	} else {
		l.last.next = s
	}
	l.last = s
	l.n++
}

func (l *freeList) remove(s *freeSlot) {
	if s.prev == nil {
		l.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		l.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
	l.n--
}

// note puts a transition into the timeline of its lock, and tells it to those who watch. The caller has filled in what
// happened; when, and the transition's number are set here. Entries of version 1 leave no timelines: members that
// knew only those had none, and all members have to have the same.
func (m *Machine) note(key string, k Transition, value []byte) {
	k.At, k.Index = m.now, m.index
	if m.version >= 2 {
		t := m.timelineOf(key)
		if t.slot != nil {
			m.dropSlot(t)
		}
		t.add(&k)
		k.Number = t.number
	}
	ns := keyNamespace(key)
	m.changes = append(m.changes, Change{Namespace: ns, Name: key[len(ns)+1:], Transition: k, Value: value})
}

// dropSlot takes a lock that is free no more out of the order of those that are. A slot that no view can have seen is used
// again.
func (m *Machine) dropSlot(t *timeline) {
	m.unheld.remove(t.slot)
	if t.slot.stamp == m.stamp {
		m.spareSlot = t.slot
	}
	t.slot = nil
}

// timelineOf returns the record of a lock that may be changed in place until the next View.
func (m *Machine) timelineOf(key string) *timeline {
	if m.noted != nil && m.notedKey == key {
		return m.noted
	}
	t, ok := m.timelines.all.Get(key)
	if !ok || t.stamp != m.stamp {
		var next *timeline
		if ok {
			next = new(timeline)
			*next = *t
			next.shared = true
		} else {
			first := &firstTimeline{}
			next = &first.timeline
			next.marks = first.room[:0]
		}
		next.stamp = m.stamp
		m.timelines.all.Set(key, next)
		t = next
	}
	m.noted, m.notedKey = t, key
	return t
}

// freed is called when a lock has become free, after its last transition was noted. It forgets the timeline of
// the lock that has been free for the longest time, if there are too many.
func (m *Machine) freed(key string) {
	if m.version < 2 {
		return
	}
	t := m.timelineOf(key)
	if t.slot != nil {
		return
	}
	m.timelines.freed++
	if t.slot = m.spareSlot; t.slot == nil {
		t.slot = &freeSlot{}
	}
	m.spareSlot = nil
	*t.slot = freeSlot{stamp: m.stamp, number: m.timelines.freed, key: key}
	m.unheld.add(t.slot)
	if m.unheld.n > MaxFreeTimelines {
		oldest := m.unheld.first
		m.unheld.remove(oldest)
		m.timelines.all.Delete(oldest.key)
	}
}

// ofHold is a transition of a hold.
func ofHold(kind TransitionKind, owner string, h *locks.Hold, reason string) Transition {
	return Transition{Kind: kind, Mode: Mode(h.Mode), Count: h.Permits, Session: h.Session, Owner: owner, Ticket: h.Ticket, Fence: h.Fence,
		Until: h.Until, Reason: reason}
}

// ofTicket is a transition of a ticket that waits.
func ofTicket(kind TransitionKind, s *session, t *ticket, reason string) Transition {
	return Transition{Kind: kind, Mode: t.mode, Count: uint64(t.count), Session: s.id, Owner: s.owner, Ticket: t.seq, Reason: reason}
}
