package machine

import (
	"crypto/sha256"
	"io"

	"github.com/coordd/coordd/pkg/idgen"
	"github.com/coordd/coordd/pkg/locks"
)

// The kinds of records. They come in this order: one header; sequences by key; sessions by ID, each followed by its
// replies and its tickets by seq; locks by key, each followed by its queue; barriers by key, and then latches by key, each
// followed by the tickets that wait there; timelines by key; one end.
const (
	recHeader   byte = 1
	recSequence byte = 2
	recSession  byte = 3
	recReply    byte = 4
	recTicket   byte = 5
	recLock     byte = 6
	recWaiter   byte = 7
	recEnd      byte = 8
	recBarrier  byte = 9
	recAtGate   byte = 10 // a ticket at the barrier or latch before it
	recLatch    byte = 11
	recTimeline byte = 12
)

// Save writes a snapshot of the view. It streams: what is in memory is one block. The view must not be that
// of Live unless nothing is applied meanwhile.
func (v *View) Save(w io.Writer) error {
	b := newBlockWriter(w)
	v.s.records(func(rec []byte) bool {
		b.record(rec)
		return b.err == nil
	})
	return b.end()
}

// Hash returns a digest of the whole state: equal on equal states. It reads everything.
func (v *View) Hash() (sum [32]byte) {
	h := sha256.New()
	v.s.records(func(rec []byte) bool {
		h.Write(rec)
		return true
	})
	h.Sum(sum[:0])
	return sum
}

// records gives the state to f, record by record; a record is good until f returns. It stops when f
// returns false. The bytes are canonical: equal states give equal records.
func (s *state) records(f func(rec []byte) bool) {
	n := uint64(0)
	var buf []byte
	put := func(rec []byte) bool {
		buf = rec
		n++
		return f(rec)
	}
	if !put(s.appendHeader(buf[:0])) {
		return
	}
	goOn := true
	s.seqs.Ascend("", func(key string, q idgen.Sequence) bool {
		goOn = put(appendSequence(buf[:0], key, &q))
		return goOn
	})
	if !goOn {
		return
	}
	s.sessions.Scan(func(_ uint64, ss *session) bool {
		goOn = put(appendSession(buf[:0], ss))
		for i := 0; goOn && i < len(ss.replies); i++ {
			goOn = put(appendStored(buf[:0], ss.replies[i]))
		}
		ended := ss.ended
		s.tickets.Ascend(&ticket{session: ss.id}, func(t *ticket) bool {
			if !goOn || t.session != ss.id {
				return false
			}
			var e endedTicket
			if t.ended() {
				e, ended = ended[0], ended[1:]
			}
			goOn = put(appendTicket(buf[:0], t, e))
			return goOn
		})
		return goOn
	})
	if !goOn {
		return
	}
	s.locks.Locks("", func(l *locks.Lock) bool {
		goOn = put(appendLock(buf[:0], l))
		if goOn && l.Waiters > 0 {
			s.locks.Queue(l.Key, func(w *locks.Waiter) bool {
				goOn = put(appendWaiter(buf[:0], w))
				return goOn
			})
		}
		return goOn
	})
	if goOn && s.gateRecords(put, &buf) && s.timelineRecords(put, &buf) {
		f(appendUint(append(buf[:0], recEnd), n))
	}
}

func (s *state) gateRecords(put func([]byte) bool, buf *[]byte) bool {
	goOn := true
	party := func(p *locks.Party) bool {
		goOn = put(appendParty((*buf)[:0], p))
		return goOn
	}
	s.barriers.All("", func(b *locks.Barrier) bool {
		if goOn = put(appendUint(appendString(append((*buf)[:0], recBarrier), b.Key), b.Parties)); goOn {
			s.barriers.Parties(b.Key, party)
		}
		return goOn
	})
	if !goOn {
		return false
	}
	s.latches.All("", func(l *locks.Latch) bool {
		if goOn = put(appendBool(appendUint(appendString(append((*buf)[:0], recLatch), l.Key), l.Count), l.IsSet)); goOn {
			s.latches.Parties(l.Key, party)
		}
		return goOn
	})
	return goOn
}

func (s *state) timelineRecords(put func([]byte) bool, buf *[]byte) bool {
	goOn := true
	s.timelines.all.Scan(func(key string, t *timeline) bool {
		goOn = put(appendTimeline((*buf)[:0], key, t))
		return goOn
	})
	return goOn
}

func (s *state) appendHeader(b []byte) []byte {
	b = append(b, recHeader)
	b = appendUint(b, s.index)
	b = appendUint(b, s.term)
	b = appendInt(b, s.now)
	b = appendInt(b, s.endedUpTo)
	b = appendInt(b, s.wall)
	b = appendBool(b, s.serving)
	b = appendUint(b, uint64(s.domain))
	b = appendUint(b, s.lastSession)
	b = appendUint(b, s.locks.Fence())
	b = appendUint(b, s.locks.Arrivals())
	b = append(b, s.version)
	b = appendUint(b, s.barriers.Arrivals())
	b = appendUint(b, s.latches.Arrivals())
	b = appendUint(b, s.timelines.freed)
	b = appendUint(b, uint64(s.seqs.LastID()))
	for _, n := range s.totals.all() {
		b = appendUint(b, *n)
	}
	return b
}

// all lists the figures in the order in which snapshots hold them.
func (t *totals) all() []*uint64 {
	return []*uint64{&t.grants, &t.releases, &t.expiredHolds, &t.expiredSessions, &t.timeouts, &t.forced, &t.idsAllocated,
		&t.idRanges, &t.duplicates, &t.quotaRefusals, &t.sessionsOpened}
}

func appendSequence(b []byte, key string, q *idgen.Sequence) []byte {
	b = appendString(append(b, recSequence), key)
	b = appendUint(b, uint64(q.ID))
	b = appendUint(b, q.Generation)
	b = appendInt(b, q.Next)
	b = appendBool(b, q.Exhausted)
	b = appendInt(b, q.Min)
	b = appendInt(b, q.Max)
	b = appendInt(b, q.Step)
	b = appendInt(b, q.Start)
	b = appendBool(b, q.Cycle)
	b = appendBool(b, q.Strict)
	return appendInt(b, q.MaxRange)
}

func appendSession(b []byte, s *session) []byte {
	b = appendUint(append(b, recSession), s.id)
	b = appendString(b, s.namespace)
	b = append(b, s.secret[:]...)
	b = append(b, s.nonce[:]...)
	b = appendUint(b, s.openHash)
	b = appendString(b, s.owner)
	b = appendMap(b, s.metadata)
	b = appendInt(b, s.ttl)
	b = appendInt(b, s.deadline)
	b = appendInt(b, s.renewed)
	b = appendUint(b, s.generation)
	b = appendUint(b, uint64(len(s.resumes)))
	for _, r := range s.resumes {
		b = appendUint(append(b, r.nonce[:]...), r.generation)
	}
	b = appendUint(b, s.floor)
	b = appendUint(b, s.highest)
	b = appendUint(b, s.eventSeq)
	return appendUint(b, s.eventsSeen)
}

const (
	partLock   = 1 << 0
	partRange  = 1 << 1
	partSeq    = 1 << 2
	partDetail = 1 << 3
	partLatch  = 1 << 4
)

// appendStored writes a stored reply. Answers of sessions and tickets are never stored, and so neither are
// the parts that only they have.
func appendStored(b []byte, st *stored) []byte {
	b = appendUint(append(b, recReply), st.seq)
	b = appendUint(b, st.hash)
	b = append(b, byte(st.kind))
	b = appendBool(b, st.tombstone)
	r := &st.reply
	b = append(b, byte(r.Code))
	b = appendUint(b, r.Index)
	parts := byte(0)
	for i, set := range []bool{r.Lock != nil, r.Range != nil, r.Seq != nil, r.Detail != nil, r.Latch != 0} {
		if set {
			parts |= 1 << i
		}
	}
	b = append(b, parts)
	if l := r.Lock; l != nil {
		b = append(b, byte(l.State))
		b = appendUint(b, l.Fence)
		b = appendInt(b, l.Until)
		b = appendUint(b, l.Position)
		b = appendUint(b, l.Entries)
	}
	if g := r.Range; g != nil {
		b = appendInt(b, g.Lo)
		b = appendInt(b, g.Count)
		b = appendInt(b, g.Step)
		b = appendUint(b, g.SequenceID)
		b = appendUint(b, g.Generation)
		b = appendUint(b, uint64(g.Domain))
	}
	if q := r.Seq; q != nil {
		b = appendString(b, q.Name)
		b = appendUint(b, q.SequenceID)
		b = appendUint(b, q.Generation)
		b = appendInt(b, q.Next)
		b = appendUint(b, q.Remaining)
		b = appendInt(b, q.Min)
		b = appendInt(b, q.Max)
		b = appendInt(b, q.Step)
		b = appendInt(b, q.Start)
		b = appendBool(b, q.Cycle)
		b = appendBool(b, q.Strict)
		b = appendBool(b, q.IsExhausted)
		b = appendInt(b, q.MaxRange)
	}
	if d := r.Detail; d != nil {
		b = appendString(b, d.Text)
		b = appendString(b, d.Holder)
		b = appendUint(b, d.HolderID)
		b = appendUint(b, d.Fence)
		b = appendUint(b, d.Queue)
		b = appendInt(b, d.ExpiresIn)
		b = appendStrings(b, d.Cycle)
	}
	if r.Latch != 0 {
		b = appendUint(b, r.Latch)
	}
	return b
}

func appendTicket(b []byte, t *ticket, e endedTicket) []byte {
	b = appendUint(append(b, recTicket), t.seq)
	b = appendUint(b, t.hash)
	b = append(b, byte(t.state))
	b = appendString(b, t.name())
	b = appendUint(b, t.fence)
	b = appendUint(b, t.arrival)
	b = appendInt(b, t.until)
	b = appendString(b, t.reason)
	b = appendUint(b, e.bySeq)
	b = appendUint(b, e.byEvent)
	b = append(b, byte(t.errand), byte(t.mode))
	b = appendUint(b, uint64(t.count))
	if t.several == nil {
		return appendUint(b, 0)
	}
	b = appendUint(b, uint64(len(t.several.keys)))
	for i := range t.several.keys {
		key, fence := t.place(i)
		b = appendUint(appendString(b, keyName(key)), fence)
	}
	return b
}

func appendLock(b []byte, l *locks.Lock) []byte {
	b = appendString(append(b, recLock), l.Key)
	b = appendUint(b, l.Limit)
	b = appendUint(b, uint64(len(l.Holds)))
	for _, h := range l.Holds {
		b = appendUint(b, h.Session)
		b = appendUint(b, h.Ticket)
		b = appendUint(b, h.Fence)
		b = appendInt(b, h.Since)
		b = appendInt(b, h.DelayedUntil)
		b = appendMap(b, h.Metadata)
		b = append(b, byte(h.Mode))
		b = appendUint(b, h.Permits)
		b = appendUint(b, h.Entries)
		b = appendInt(b, h.Until)
		b = appendInt(b, h.Delay)
		b = appendBytes(b, h.Value)
	}
	return b
}

func appendWaiter(b []byte, w *locks.Waiter) []byte {
	b = appendUint(append(b, recWaiter), w.Arrival)
	b = appendUint(b, w.Session)
	b = appendUint(b, w.Ticket)
	b = appendInt(b, w.Since)
	b = appendInt(b, w.Until)
	b = appendMap(b, w.Metadata)
	b = append(b, byte(w.Mode))
	b = appendUint(b, w.Permits)
	b = appendInt(b, w.Delay)
	b = appendInt(b, w.MaxHold)
	b = appendBytes(b, w.Value)
	b = appendUints(b, w.Holding)
	return appendBool(b, w.Keys != nil) // which ones they are its ticket says
}

func appendParty(b []byte, p *locks.Party) []byte {
	b = appendUint(append(b, recAtGate), p.Arrival)
	b = appendUint(b, p.Session)
	b = appendUint(b, p.Ticket)
	b = appendInt(b, p.Since)
	return appendInt(b, p.Until)
}

func appendTimeline(b []byte, key string, t *timeline) []byte {
	b = appendString(append(b, recTimeline), key)
	freed := uint64(0)
	if t.slot != nil {
		freed = t.slot.number
	}
	b = appendUint(b, freed)
	b = appendUint(b, t.number)
	n := min(t.length, Transitions)
	b = appendUint(b, uint64(n))
	return append(b, t.last(n)...)
}
