package machine

import (
	"github.com/tidwall/btree"

	"github.com/coordd/coordd/pkg/locks"
)

// mark is one transition of a lock in its timeline, and the way to the ones before it. The newest one stands for the
// timeline. A mark is never changed once the entry that made it is applied, so that views share it.
type mark struct {
	prev *mark
	slot *freeSlot // of the newest one, while the lock is free

	kind    TransitionKind
	mode    Mode
	length  uint8 // marks from here on back, this one included
	count   uint32
	number  uint64
	at      int64
	index   uint64
	session uint64
	owner   string
	ticket  uint64
	fence   uint64
	until   int64
	reason  string
}

// longTimeline is how long a timeline gets before it is cut to Transitions: to cut it means to copy it, which is done
// once in a while only.
const longTimeline = 2 * Transitions

func (k *mark) transition() Transition {
	return Transition{Number: k.number, Kind: k.kind, At: k.at, Index: k.index, Session: k.session, Owner: k.owner, Ticket: k.ticket,
		Fence: k.fence, Mode: k.mode, Count: uint64(k.count), Until: k.until, Reason: k.reason}
}

// transitions returns the last ones, at most Transitions, oldest first.
func (k *mark) transitions() []Transition {
	ts := make([]Transition, min(k.length, Transitions))
	for i := len(ts) - 1; i >= 0; i-- {
		ts[i] = k.transition()
		k = k.prev
	}
	return ts
}

// cut returns a copy of the last n marks.
func (k *mark) cut(n int) *mark {
	kept := make([]mark, n)
	for i := n - 1; i >= 0; i-- {
		kept[i] = *k
		kept[i].prev, kept[i].slot, kept[i].length = nil, nil, uint8(i+1)
		if i < n-1 {
			kept[i+1].prev = &kept[i]
		}
		k = k.prev
	}
	return &kept[n-1]
}

// freeSlot is the place of a free lock's timeline in the order in which they are forgotten. Only number is read
// through views; the rest belongs to the machine.
type freeSlot struct {
	number     uint64 // counts how often any lock became free
	key        string
	prev, next *freeSlot
}

// timelines are the last transitions of each lock that is held or waited for, and of some that are free.
type timelines struct {
	all   *btree.Map[string, *mark]
	freed uint64 // the last number of a freeSlot
}

func newTimelines() timelines { return timelines{all: btree.NewMap[string, *mark](0)} }

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
func (m *Machine) note(key string, k *mark, value []byte) {
	k.at, k.index, k.length = m.now, m.index, 1
	if m.version >= 2 {
		k.number = 1
		if before, ok := m.timelines.all.Set(key, k); ok {
			if before.slot != nil {
				m.unheld.remove(before.slot)
			}
			if before.length >= longTimeline {
				before = before.cut(Transitions - 1)
			}
			k.prev, k.number, k.length = before, before.number+1, before.length+1
		}
		m.noted, m.notedKey = k, key
	}
	m.changes = append(m.changes, Change{Namespace: keyNamespace(key), Name: keyName(key), Transition: k.transition(), Value: value})
}

// freed is called when a lock has become free, after its last transition was noted. It forgets the timeline of
// the lock that has been free for the longest time, if there are too many.
func (m *Machine) freed(key string) {
	k := m.noted
	if k == nil || m.notedKey != key {
		var ok bool
		if k, ok = m.timelines.all.Get(key); !ok {
			return
		}
	}
	if k.slot != nil || k.index != m.index {
		return
	}
	m.timelines.freed++
	k.slot = &freeSlot{number: m.timelines.freed, key: key}
	m.unheld.add(k.slot)
	if m.unheld.n > MaxFreeTimelines {
		oldest := m.unheld.first
		m.unheld.remove(oldest)
		m.timelines.all.Delete(oldest.key)
	}
}

// markOf is a transition of a hold.
func markOf(kind TransitionKind, owner string, h *locks.Hold, reason string) *mark {
	return &mark{kind: kind, mode: Mode(h.Mode), count: uint32(h.Permits), session: h.Session, owner: owner, ticket: h.Ticket, fence: h.Fence,
		until: h.Until, reason: reason}
}
