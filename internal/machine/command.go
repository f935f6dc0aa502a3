package machine

// Kind says what a command does.
type Kind uint8

// The kinds of commands. A number is never used again for something else.
const (
	KindInit       Kind = 1 // first command of a cluster: its ID domain; later ones change nothing
	KindTick       Kind = 2 // lets time pass; everything due ends
	KindServing    Kind = 3 // the leader can be reached: sessions get their grace, expiry goes on
	KindNotServing Kind = 4 // the leader lost NATS: expiry stops

	KindSessionOpen      Kind = 10
	KindSessionKeepalive Kind = 11
	KindSessionResume    Kind = 12
	KindSessionClose     Kind = 13

	KindLockAcquire      Kind = 20
	KindLockCancel       Kind = 21
	KindLockRelease      Kind = 22
	KindLockForceRelease Kind = 23
	KindLockAcquireAll   Kind = 24 // Name is empty: the names are in AcquireAll
	KindLockHandOver     Kind = 25
	KindElectionProclaim Kind = 26

	KindSeqCreate  Kind = 30
	KindSeqAlloc   Kind = 31
	KindSeqAdvance Kind = 32
	KindSeqDelete  Kind = 33

	KindBarrierWait    Kind = 40
	KindLatchSet       Kind = 41
	KindLatchCountDown Kind = 42
	KindLatchWait      Kind = 43
)

// SecretHash is the first 16 bytes of SHA-256 over a session's secret. The secret itself is never in the
// log, a snapshot or a reply cache.
type SecretHash [16]byte

// Command is one replicated operation. Which of the bodies is used follows from Kind; a kind without a
// body of its own uses none. All durations and instants are nanoseconds of cluster time.
type Command struct {
	Kind      Kind
	Namespace string
	Name      string // of a lock or a sequence

	// Session, Secret, Generation, Seq and Ack are the envelope of a client's request. SeqAlloc may come
	// without a session (Session 0): then a repeat is a new range. Tick, Serving, NotServing, Init and
	// LockForceRelease have none.
	Session    uint64
	Secret     SecretHash
	Generation uint64
	Seq        uint64
	Ack        uint64 // lowest outstanding seq; 0 counts as Seq
	NotAfter   int64  // 0: none
	EventsSeen uint64

	Init    *Init
	Serving *Serving
	Open    *Open
	Resume  *Resume
	Acquire *Acquire
	Cancel  *Cancel
	Release *Release

	AcquireAll     *AcquireAll
	HandOver       *HandOver
	Proclaim       *Proclaim
	BarrierWait    *BarrierWait
	LatchSet       *LatchSet
	LatchCountDown *LatchCountDown
	LatchWait      *LatchWait

	Force   *Force
	Create  *SeqCreate
	Alloc   *SeqAlloc
	Advance *SeqAdvance
}

// Init carries what the first leader drew at random.
type Init struct {
	Domain uint16 // 1 to 32,767
}

// Serving tells how long clients need to find a new leader.
type Serving struct {
	ElectionTimeout int64
}

// Open opens a session. Its secret's hash is in Command.Secret.
type Open struct {
	TTL      int64
	Owner    string
	Metadata map[string]string
	Nonce    []byte // empty, or up to 64 bytes: a repeat with the same nonce and secret answers the same session
}

// Resume raises a session's generation. Nonce makes a repeat safe.
type Resume struct {
	Nonce []byte
}

// Mode is how a lock is held.
type Mode uint8

// The modes of holds.
const (
	Exclusive Mode = 1
	Shared    Mode = 2
	Semaphore Mode = 3
)

// NoWaitLimit is Acquire.Wait without a limit.
const NoWaitLimit int64 = -1

// Acquire asks for a lock.
type Acquire struct {
	Mode      Mode
	Wait      int64 // NoWaitLimit, 0 (try), or nanoseconds
	Metadata  map[string]string
	Count     uint64 // permits of a semaphore; 0: 1
	Limit     uint64 // of a semaphore, which is stored with it
	Delay     int64  // lock-delay: after expiry or forced release the hold is in the way for so long
	MaxHold   int64  // the hold ends after it; 0: never by itself
	Reentrant bool   // a hold whose fence is in Holding is entered once more instead of waited for
	Holding   []uint64
	Value     []byte // of a candidate in an election
}

// AcquireAll asks for several exclusive locks, with one ticket.
type AcquireAll struct {
	Names          []string
	Wait           int64
	Delay, MaxHold int64
	Metadata       map[string]string
	Holding        []uint64
}

// HandOver gives the hold with Fence to the waiter of session To, out of turn. Sent by a session that doesn't hold it
// but waits, it asks the holder for that.
type HandOver struct {
	Fence, To uint64
}

// Proclaim sets the value of a leader's hold.
type Proclaim struct {
	Fence uint64
	Value []byte
}

// BarrierWait waits until Parties tickets wait at the barrier.
type BarrierWait struct {
	Parties uint64
	Wait    int64
}

// LatchSet makes a latch or sets its count; 0 opens and forgets it.
type LatchSet struct {
	Count uint64
}

// LatchCountDown takes N from a latch's count; 0: 1.
type LatchCountDown struct {
	N uint64
}

// LatchWait waits for a latch to be open.
type LatchWait struct {
	Wait int64
}

// Cancel ends the wait of the ticket that the acquire with seq Ticket made.
type Cancel struct {
	Ticket uint64
}

// Release gives a hold back.
type Release struct {
	Fence uint64
}

// Force takes a hold away. With Now the lock is free at once, and only its fence protects; without, it
// stays delayed until the holder's session would have ended.
type Force struct {
	Fence  uint64
	Reason string
	Now    bool
}

// SeqCreate makes a sequence. Zero values stand for: Min 1, Max 2^63 − 1, Step 1, Start Min (with a negative
// Step: Max), MaxRange 1,000,000.
type SeqCreate struct {
	Min, Max, Step, Start int64
	HasMin, HasStart      bool // Min or Start was given (0 is a value)
	HasMax                bool // Max was given; needed only where it is 0
	Cycle                 bool
	Strict                bool
	MaxRange              int64
}

// SeqAlloc takes a range of Count numbers, or of at least MinCount (0: exactly Count).
type SeqAlloc struct {
	Count, MinCount int64
}

// SeqAdvance moves a sequence forward; To is the next number that it gives.
type SeqAdvance struct {
	To int64
}
