package transport

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// The defaults of a journal.
const (
	DefaultJournalBytes  = 10 << 20
	DefaultJournalExpiry = 10 * time.Second
)

const (
	// journalOverheadBytes is what a request costs in a journal beyond its answer.
	journalOverheadBytes = 160
	// maxJournalWaiters bounds how many repeats wait for one run; beyond it the first one to come is forgotten, whose
	// connection is the least likely to live.
	maxJournalWaiters = 8
)

// RequestKey tells requests of different senders apart. Another data directory under the same member ID is another
// sender.
type RequestKey struct {
	Member      raft.MemberID
	Incarnation raft.Incarnation
	ID          RequestID
}

// Answer is how a request ended.
type Answer struct {
	Body   []byte // the answer, or the text of the handler's error
	Failed bool   // Body is the text of an error
}

// Verdict says what is to be done with a request.
type Verdict uint8

// The verdicts.
const (
	Run     Verdict = iota // it is new: run the handler, then call Finish or Abandon
	Waiting                // it runs already: the waiter is called when that run ends
	Known                  // it has an answer
)

// Journal is the memory of requests by which a repeat is told from a new one: a repeat of one that runs waits for that
// run, a repeat of one that was answered gets the answer again.
//
// It is bounded. An answer goes when it is older than the expiry or, oldest first, when all answers take more than the
// bytes allowed; an answer beyond them all is not kept. A request that runs stays, whatever its age: how many run is
// the caller's bound. After an answer has gone a repeat is a new request and runs again, as it does after a restart:
// a handler for which that matters has to recognise it by itself. The sender's repeats come within seconds, so an expiry
// above its pauses is enough while both sides live.
//
// It reads no clock: the caller gives the time since any fixed moment, never less than before. It is for one goroutine
// at a time.
type Journal struct {
	maxBytes int
	expiry   time.Duration
	entries  map[RequestKey]*journalEntry
	// answered are those that have an answer, oldest first, behind the first head ones.
	answered []*journalEntry
	head     int
	bytes    int // of the answered ones
}

// journalEntry is one request.
type journalEntry struct {
	key     RequestKey
	done    bool
	at      time.Duration // when it was answered
	answer  Answer
	waiters []func(Answer)
}

// size is what an answered request counts for.
func (e *journalEntry) size() int { return journalOverheadBytes + len(e.answer.Body) }

// NewJournal makes an empty journal. Values of 0 stand for the defaults.
func NewJournal(maxBytes int, expiry time.Duration) *Journal {
	if maxBytes == 0 {
		maxBytes = DefaultJournalBytes
	}
	if expiry == 0 {
		expiry = DefaultJournalExpiry
	}
	return &Journal{maxBytes: maxBytes, expiry: expiry, entries: map[RequestKey]*journalEntry{}}
}

// Begin enters a request. The waiter is kept, unless the verdict is Known, until Finish or Abandon returns it.
func (j *Journal) Begin(key RequestKey, now time.Duration, waiter func(Answer)) (Verdict, Answer) {
	j.Evict(now)
	e := j.entries[key]
	switch {
	case e == nil:
		j.entries[key] = &journalEntry{key: key, waiters: []func(Answer){waiter}}
		return Run, Answer{}
	case e.done:
		return Known, e.answer
	}
	if len(e.waiters) == maxJournalWaiters {
		e.waiters = e.waiters[1:]
	}
	e.waiters = append(e.waiters, waiter)
	return Waiting, Answer{}
}

// Finish enters the answer of a request that runs, and returns who waits for it. The answer must not be changed
// afterwards.
func (j *Journal) Finish(key RequestKey, now time.Duration, answer Answer) (waiters []func(Answer)) {
	e := j.entries[key]
	if e == nil || e.done {
		return nil
	}
	waiters, e.waiters = e.waiters, nil
	e.done, e.at, e.answer = true, now, answer
	if e.size() > j.maxBytes { // it would drive out all others and then itself
		delete(j.entries, key)
		return waiters
	}
	j.answered = append(j.answered, e)
	j.bytes += e.size()
	j.Evict(now)
	return waiters
}

// Abandon forgets a request that has no answer, because its handler could not be started or did not get to an end, and
// returns who waits for it. A repeat of it is a new request.
func (j *Journal) Abandon(key RequestKey) (waiters []func(Answer)) {
	e := j.entries[key]
	if e == nil || e.done {
		return nil
	}
	delete(j.entries, key)
	return e.waiters
}

// Evict forgets the answers that are too old and, oldest first, those that are too much.
func (j *Journal) Evict(now time.Duration) {
	for j.head < len(j.answered) {
		e := j.answered[j.head]
		if now-e.at < j.expiry && j.bytes <= j.maxBytes {
			break
		}
		j.answered[j.head] = nil
		j.head++
		j.bytes -= e.size()
		delete(j.entries, e.key)
	}
	if j.head > len(j.answered)/2 {
		n := copy(j.answered, j.answered[j.head:])
		clear(j.answered[n:])
		j.answered, j.head = j.answered[:n], 0
	}
}

// Len returns how many requests are known, and how many bytes the answered ones of them take.
func (j *Journal) Len() (requests, bytes int) { return len(j.entries), j.bytes }
