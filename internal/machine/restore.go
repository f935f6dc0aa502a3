package machine

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/coordd/coordd/pkg/idgen"
	"github.com/coordd/coordd/pkg/locks"
)

// Restore reads a snapshot and returns the machine that it was taken from. It reads no further than the
// snapshot's end, and refuses with ErrSnapshot whatever Save can't have written of a consistent machine.
func Restore(r io.Reader) (*Machine, error) {
	blocks, err := newBlockReader(r)
	if err != nil {
		return nil, err
	}
	l := &loader{m: New(), version: blocks.version}
	for {
		data, err := blocks.next()
		if err != nil {
			return nil, err
		}
		if len(data) == 0 {
			break
		}
		if err := l.block(data); err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrSnapshot, l.records, err)
		}
	}
	if l.last != recEnd {
		return nil, fmt.Errorf("%w: it has no end record", ErrSnapshot)
	}
	if err := l.free(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if err := l.m.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return l.m, nil
}

// loader puts records into a new machine.
type loader struct {
	m       *Machine
	version byte // of the snapshot
	records uint64
	last    byte     // kind of the last record
	session *session // the one whose replies and tickets are coming
	lock    string   // the one whose queue is coming; or the barrier or latch whose tickets are
	isLatch bool
	slots   []*freeSlot // of free locks, in the order of their keys
}

func (l *loader) block(data []byte) error {
	r := &reader{data: data, version: l.version}
	for len(r.data) > 0 && r.err == nil {
		kind := r.byte()
		if l.version == 1 && kind > recEnd || !mayFollow(l.last, kind) {
			return fmt.Errorf("%w: a record of kind %d after kind %d", errWire, kind, l.last)
		}
		l.last = kind
		if err := l.record(kind, r); err != nil {
			return err
		}
		l.records++
	}
	return r.err
}

// mayFollow tells which kinds of records may come after which; 0 stands for the beginning.
func mayFollow(last, kind byte) bool {
	switch {
	case last == 0 || kind == recHeader:
		return last == 0 && kind == recHeader
	case last == recEnd:
		return false
	case kind == recEnd:
		return true
	case kind == recAtGate:
		return last == recBarrier || last == recLatch || last == recAtGate
	case last == recReply || last == recTicket:
		return kind == recSession || kind >= last
	case last == recWaiter:
		return kind >= recLock
	case last == recAtGate:
		return kind == recBarrier || kind > recAtGate
	}
	return kind >= last
}

func (l *loader) record(kind byte, r *reader) error {
	m := l.m
	switch kind {
	case recHeader:
		m.state.readHeader(r)
	case recSequence:
		key := r.string()
		q := idgen.Sequence{ID: r.uint32(), Generation: r.uint(), Next: r.int(), Exhausted: r.bool(),
			Params: idgen.Params{Min: r.int(), Max: r.int(), Step: r.int(), Start: r.int(), Cycle: r.bool(), Strict: r.bool(), MaxRange: r.int()}}
		r.key(key)
		if r.err == nil {
			m.space(keyNamespace(key)).seqs++
			return m.seqs.Put(key, q)
		}
	case recSession:
		s := r.session()
		if last, _, ok := m.sessions.Max(); r.err == nil && ok && last >= s.id {
			r.fail("sessions are out of order")
		}
		if r.err == nil {
			l.session = s
			m.addSession(s)
		}
	case recReply:
		st := r.stored()
		if r.err == nil && (l.session == nil || l.session.replies.place(st.seq) != len(l.session.replies)) {
			r.fail("a reply is out of order")
		}
		if r.err == nil {
			l.session.replies = l.session.replies.with(st)
		}
	case recTicket:
		l.ticket(r)
	case recLock:
		return l.putLock(r)
	case recWaiter:
		return l.putWaiter(r)
	case recBarrier:
		key, parties := r.string(), r.uint()
		if r.key(key); r.err == nil {
			l.lock, l.isLatch = key, false
			m.space(keyNamespace(key)).gates++
			return m.barriers.PutBarrier(key, parties)
		}
	case recLatch:
		key, count, isSet := r.string(), r.uint(), r.bool()
		if r.key(key); r.err == nil {
			l.lock, l.isLatch = key, true
			m.space(keyNamespace(key)).gates++
			return m.latches.PutLatch(key, count, isSet)
		}
	case recAtGate:
		p := &locks.Party{Key: l.lock, Arrival: r.uint(), Session: r.uint(), Ticket: r.uint(), Since: r.int(), Until: r.int()}
		switch {
		case r.err != nil:
		case l.isLatch:
			return m.latches.PutParty(p)
		default:
			return m.barriers.PutParty(p)
		}
	case recTimeline:
		l.timeline(r)
	case recEnd:
		if n := r.uint(); r.err == nil && n != l.records {
			r.fail(fmt.Sprintf("%d records were written, %d are there", n, l.records))
		}
	default:
		r.fail(fmt.Sprintf("record kind %d is not known to this version", kind))
	}
	return r.err
}

func (l *loader) ticket(r *reader) {
	t := &ticket{seq: r.uint(), hash: r.uint(), state: TicketState(r.byte())}
	name := r.string()
	t.fence, t.arrival, t.until, t.reason = r.uint(), r.uint(), r.int(), r.string()
	e := endedTicket{t.seq, r.uint(), r.uint()}
	t.mode, t.count = Exclusive, 1
	n := uint64(0)
	if r.version >= 2 {
		t.errand, t.mode, t.count = errand(r.byte()), Mode(r.byte()), r.uint32()
		n = r.count()
	}
	s := l.session
	switch {
	case r.err != nil:
		return
	case s == nil:
		r.fail("a ticket without a session")
		return
	case t.state < TicketQueued || t.state > TicketTimedOut:
		r.fail(fmt.Sprintf("ticket state %d", t.state))
		return
	}
	if n > 0 {
		t.several = &several{}
		for range n {
			t.several.keys = append(t.several.keys, keyOf(s.namespace, r.string()))
			t.several.fences = append(t.several.fences, r.uint())
		}
		if t.state == TicketQueued {
			t.several.fences = nil
		}
	}
	t.session, t.key = s.id, keyOf(s.namespace, name)
	if last, ok := l.m.tickets.Max(); ok && !ticketOrder(last, t) {
		r.fail("tickets are out of order")
		return
	}
	l.m.tickets.Set(t)
	if t.ended() {
		s.ended = append(s.ended, e)
		return
	}
	if e.bySeq != 0 || e.byEvent != 0 {
		r.fail("a live ticket has an end")
	}
	if t.state != TicketQueued {
		s.holds += t.places() // those of the namespace come with the locks
		return
	}
	s.queued(t.places())
	if t.until != locks.Forever {
		l.m.due.Set(due{at: t.until, kind: dueWait, a: t.session, b: t.seq})
	}
}

func (l *loader) putLock(r *reader) error {
	m := l.m
	l.lock = r.string()
	r.key(l.lock)
	limit := uint64(0)
	if r.version >= 2 {
		limit = r.uint()
	}
	holds := r.holds()
	if r.err != nil {
		return r.err
	}
	for i := range holds {
		switch h := &holds[i]; {
		case !h.Live():
			m.due.Set(due{at: h.DelayedUntil, kind: dueDelay, a: h.Fence, key: l.lock})
		case h.Until != 0:
			m.due.Set(due{at: h.Until, kind: dueHold, a: h.Fence, key: l.lock})
		}
	}
	m.space(keyNamespace(l.lock)).holds += len(holds)
	return m.locks.PutLock(l.lock, limit, holds)
}

func (l *loader) putWaiter(r *reader) error {
	w := &locks.Waiter{Key: l.lock, Arrival: r.uint(), Session: r.uint(), Ticket: r.uint(), Since: r.int(), Until: r.int(),
		Metadata: r.stringMap(), Mode: locks.Exclusive, Permits: 1}
	if r.version >= 2 {
		w.Mode, w.Permits, w.Delay, w.MaxHold, w.Value, w.Holding = locks.Mode(r.byte()), r.uint(), r.int(), r.int(), r.bytes(), r.uints()
		if r.bool() {
			t, ok := l.m.ticket(w.Session, w.Ticket)
			if !ok || t.several == nil || t.state != TicketQueued {
				r.fail("a place of several without a ticket that waits for them")
				return r.err
			}
			w.Keys = t.several.keys
		}
	}
	if r.err != nil {
		return r.err
	}
	return l.m.locks.PutWaiter(w)
}

func (l *loader) timeline(r *reader) {
	key, freed, last := r.string(), r.uint(), r.uint()
	r.key(key)
	n := r.count()
	if r.err == nil && (n == 0 || n > Transitions || n > last || n < min(last, Transitions)) {
		r.fail(fmt.Sprintf("%d transitions of %d", n, last))
	}
	if before, _, ok := l.m.timelines.all.Max(); ok && before >= key {
		r.fail("timelines are out of order")
	}
	if r.err != nil {
		return
	}
	t := &timeline{stamp: l.m.stamp, number: last, length: uint8(n)}
	before := r.data
	for range n {
		body := r.take(r.uint())
		one := reader{data: body}
		one.mark()
		if one.done() != nil {
			r.fail("a transition can't be read")
		}
	}
	if r.err != nil {
		return
	}
	t.marks = append([]byte(nil), before[:len(before)-len(r.data)]...)
	if freed > 0 {
		t.slot = &freeSlot{number: freed, key: key}
		l.slots = append(l.slots, t.slot)
	}
	l.m.timelines.all.Set(key, t)
}

// free brings the free locks that have a timeline into their order.
func (l *loader) free() error {
	slices.SortFunc(l.slots, func(a, b *freeSlot) int { return cmp.Compare(a.number, b.number) })
	last := uint64(0)
	for _, s := range l.slots {
		if s.number == last {
			return fmt.Errorf("%w: two locks became free as the %dth", errWire, last)
		}
		last = s.number
		l.m.unheld.add(s)
	}
	return nil
}

func (s *state) readHeader(r *reader) {
	s.index, s.term = r.uint(), r.uint()
	s.now, s.endedUpTo, s.wall = r.int(), r.int(), r.int()
	s.serving = r.bool()
	domain := r.uint()
	if domain > 1<<16-1 {
		r.fail("a domain has 16 bits")
	}
	s.domain = uint16(domain)
	s.lastSession = r.uint()
	s.locks.SetCounters(r.uint(), r.uint())
	if r.version >= 2 {
		s.version = r.byte()
		s.barriers.SetArrivals(r.uint())
		s.latches.SetArrivals(r.uint())
		s.timelines.freed = r.uint()
	}
	s.seqs.SetLastID(r.uint32())
	for _, n := range s.totals.all() {
		*n = r.uint()
	}
}

func (r *reader) uint32() uint32 {
	v := r.uint()
	if v > 1<<32-1 {
		r.fail("a number has more than 32 bits")
	}
	return uint32(v)
}

// key makes sure that a key is one of a valid namespace and name.
func (r *reader) key(key string) {
	if r.err == nil && (checkNamespace(keyNamespace(key)) != "" || checkName(keyName(key)) != "") {
		r.fail("impossible key")
	}
}

func (r *reader) digest() (d digest) {
	copy(d[:], r.take(uint64(len(d))))
	return d
}

func (r *reader) session() *session {
	s := &session{stamp: 1, id: r.uint(), namespace: r.string(), secret: SecretHash(r.digest()), nonce: r.digest(), openHash: r.uint(),
		owner: r.string(), metadata: r.stringMap(), ttl: r.int(), deadline: r.int(), renewed: r.int(), generation: r.uint()}
	n := r.uint()
	if n > maxResumes {
		r.fail("too many resumes")
		return s
	}
	for range n {
		s.resumes = append(s.resumes, resumed{r.digest(), r.uint()})
	}
	s.floor, s.highest, s.eventSeq, s.eventsSeen = r.uint(), r.uint(), r.uint(), r.uint()
	return s
}

func (r *reader) stored() *stored {
	st := &stored{seq: r.uint(), hash: r.uint(), kind: Kind(r.byte()), tombstone: r.bool()}
	st.reply.Code, st.reply.Index = Code(r.byte()), r.uint()
	parts := r.byte()
	if int(st.reply.Code) >= len(codeNames) || parts&^(partLock|partRange|partSeq|partDetail|partLatch) != 0 || r.version == 1 && parts&partLatch != 0 {
		r.fail("impossible reply")
	}
	if parts&partLock != 0 {
		st.reply.Lock = &LockReply{State: LockState(r.byte()), Fence: r.uint(), Until: r.int(), Position: r.uint()}
		if r.version >= 2 {
			st.reply.Lock.Entries = r.uint()
		}
	}
	if parts&partRange != 0 {
		g := &RangeReply{Lo: r.int(), Count: r.int(), Step: r.int(), SequenceID: r.uint(), Generation: r.uint()}
		domain := r.uint()
		if domain > 1<<16-1 {
			r.fail("a domain has 16 bits")
		}
		g.Domain = uint16(domain)
		st.reply.Range = g
	}
	if parts&partSeq != 0 {
		st.reply.Seq = &SeqInfo{Name: r.string(), SequenceID: r.uint(), Generation: r.uint(), Next: r.int(), Remaining: r.uint(),
			Min: r.int(), Max: r.int(), Step: r.int(), Start: r.int(), Cycle: r.bool(), Strict: r.bool(), IsExhausted: r.bool(), MaxRange: r.int()}
	}
	if parts&partDetail != 0 {
		st.reply.Detail = &Detail{Text: r.string(), Holder: r.string(), HolderID: r.uint(), Fence: r.uint(), Queue: r.uint(), ExpiresIn: r.int()}
		if r.version >= 2 {
			st.reply.Detail.Cycle = r.strings()
		}
	}
	if parts&partLatch != 0 {
		if st.reply.Latch = r.uint(); st.reply.Latch == 0 {
			r.fail("an empty count is flagged")
		}
	}
	return st
}

func (r *reader) holds() []locks.Hold {
	const least = 6 // bytes of a hold
	n := r.uint()
	if n > uint64(len(r.data)/least) {
		r.fail("a length is beyond the end")
		return nil
	}
	hs := make([]locks.Hold, n)
	for i := range hs {
		hs[i] = locks.Hold{Session: r.uint(), Ticket: r.uint(), Fence: r.uint(), Since: r.int(), DelayedUntil: r.int(), Metadata: r.stringMap(),
			Mode: locks.Exclusive, Permits: 1, Entries: 1}
		if h := &hs[i]; r.version >= 2 {
			h.Mode, h.Permits, h.Entries, h.Until, h.Delay, h.Value = locks.Mode(r.byte()), r.uint(), r.uint(), r.int(), r.int(), r.bytes()
		}
	}
	return hs
}
