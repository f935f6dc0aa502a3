package machine

// Code says how a command ended. Its String is the code's name in the contract.
type Code uint8

// The codes that a machine gives. The numbers are stored in snapshots: one is never used again.
const (
	OK                 Code = 0
	CodeBadRequest     Code = 1
	CodeBadName        Code = 2
	CodeDenied         Code = 3
	CodeSessionUnknown Code = 4
	CodeSessionExpired Code = 5
	CodeRequestStale   Code = 6
	CodeRequestReused  Code = 7
	CodeWindowFull     Code = 8
	CodeDeadline       Code = 9 // DEADLINE_EXCEEDED
	CodeLocked         Code = 10
	CodeNotHeld        Code = 11
	CodeWaitTimeout    Code = 12
	CodeNotFound       Code = 13
	CodeSeqNotFound    Code = 14
	CodeSeqConflict    Code = 15
	CodeSeqBackward    Code = 16
	CodeSeqExhausted   Code = 17
	CodeCountTooLarge  Code = 18
	CodeQuota          Code = 19
	CodeInternal       Code = 20
	CodeLimitMismatch  Code = 21
	CodeDeadlock       Code = 22
	CodeTooLarge       Code = 23
)

var codeNames = [...]string{"OK", "BAD_REQUEST", "BAD_NAME", "DENIED", "SESSION_UNKNOWN", "SESSION_EXPIRED", "REQUEST_STALE",
	"REQUEST_REUSED", "WINDOW_FULL", "DEADLINE_EXCEEDED", "LOCKED", "NOT_HELD", "WAIT_TIMEOUT", "NOT_FOUND", "SEQ_NOT_FOUND",
	"SEQ_CONFLICT", "SEQ_BACKWARD", "SEQ_EXHAUSTED", "COUNT_TOO_LARGE", "QUOTA", "INTERNAL",
	"LIMIT_MISMATCH", "DEADLOCK", "TOO_LARGE"}

// String returns the name of the code in the contract.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "INTERNAL"
}

// TicketState only moves forward: QUEUED → GRANTED → ENDED.
type TicketState uint8

// The states of a ticket, as answers show them.
const (
	TicketQueued    TicketState = 1
	TicketGranted   TicketState = 2
	TicketEnded     TicketState = 3 // released, lost or never granted; Reason tells
	TicketCancelled TicketState = 4
	TicketTimedOut  TicketState = 5
)

// Reply is what a command's sender gets. Which of the parts is set follows from the command's kind; an
// error has Code ≠ OK and Detail at most.
type Reply struct {
	Code  Code
	Index uint64 // log index at which the command was executed (for a stored reply: the first time)

	Session *SessionReply // open, keepalive, resume
	Lock    *LockReply    // acquire, cancel, release, force, hand-over, waits at barriers and latches
	Range   *RangeReply   // alloc
	Seq     *SeqInfo      // create, advance, delete
	Closed  uint64        // close: holds that were released
	Latch   uint64        // latch.set, latch.count-down: its count now
	Detail  *Detail
}

// Detail explains an error.
type Detail struct {
	Text      string // a sentence for people, lower case, no full stop
	Holder    string // owner of the hold that is in the way
	HolderID  uint64 // its session
	Fence     uint64
	Queue     uint64 // tickets waiting
	ExpiresIn int64  // nanoseconds until the holder's session ends
	Cycle     []string
}

// SessionReply moves a client's clock. It is never answered from the reply cache.
type SessionReply struct {
	ID         uint64
	TTL        int64
	Now        int64 // cluster time at apply
	Deadline   int64
	Generation uint64
	Domain     uint16 // the cluster's ID domain (open, resume)
	HighestSeq uint64 // resume: highest seq ever seen
	Holds      []Hold
	Waits      []Wait
	EventSeq   uint64
}

// Hold is one hold of a session.
type Hold struct {
	Name   string
	Fence  uint64
	Mode   Mode
	Count  uint64 // permits of a semaphore, entries of a lock
	Ticket uint64
	Until  int64 // 0: no end of its own
}

// Wait is one ticket of a session that is not a hold.
type Wait struct {
	Name     string
	Seq      uint64
	State    TicketState
	Position uint64   // 1 is next; of an acquire-all, at its first name
	Names    []string // of an acquire-all
}

// LockState is the state in the answer to a lock command.
type LockState uint8

// The states in answers.
const (
	StateGranted        LockState = 1
	StateQueued         LockState = 2
	StateCancelled      LockState = 3
	StateAlreadyGranted LockState = 4
	StateReleased       LockState = 5
	StateDelayed        LockState = 6
	StateHandedOver     LockState = 7
	StateAsked          LockState = 8
)

// LockReply answers acquire, cancel, release and force-release.
type LockReply struct {
	State    LockState
	Fence    uint64
	Until    int64
	Position uint64
	Holders  []HolderInfo // when queued
	Fences   []NamedFence // acquire-all, granted: in the order of its names
	Entries  uint64       // release of a reentrant hold: entries that are left
}

// NamedFence is the grant of one lock of several.
type NamedFence struct {
	Name  string
	Fence uint64
	Until int64
}

// HolderInfo is one hold as others see it. Since and Deadline are cluster times.
type HolderInfo struct {
	Session  uint64
	Owner    string
	Fence    uint64
	Mode     Mode
	Count    uint64 // permits of a semaphore, entries of a lock
	Since    int64
	Deadline int64 // of its session, or of the delay
	Delayed  bool
	Until    int64 // end of its max-hold; 0: none
	Metadata map[string]string
	Value    []byte // of an election
}

// WaiterInfo is one ticket in a queue.
type WaiterInfo struct {
	Session uint64
	Owner   string
	Ticket  uint64
	Mode    Mode
	Since   int64
	Count   uint64
	Names   []string // of an acquire-all
}

// LockInfo is a lock as a read shows it.
type LockInfo struct {
	Namespace string
	Name      string
	Holders   []HolderInfo // the first ones by fence, at most MaxShownHolders; empty: nobody holds it
	Holds     uint64       // all of them
	Queue     []WaiterInfo // the first ones, at most MaxShownWaiters
	Waiting   uint64       // tickets in the queue
	Delayed   bool         // every holder in the way is delayed
	Until     int64        // end of the delay
	Limit     uint64       // of a semaphore
	InUse     uint64       // permits of a semaphore
}

// TransitionKind says what happened to a lock. The numbers are those of the contract's Transition.Kind, and are stored in
// snapshots.
type TransitionKind uint8

// The kinds of transitions.
const (
	TransitionGranted    TransitionKind = 1
	TransitionQueued     TransitionKind = 2
	TransitionReleased   TransitionKind = 3
	TransitionExpired    TransitionKind = 4
	TransitionForced     TransitionKind = 5
	TransitionDelayed    TransitionKind = 6
	TransitionLeft       TransitionKind = 7
	TransitionHandedOver TransitionKind = 8
	TransitionProclaimed TransitionKind = 9
	TransitionRefenced   TransitionKind = 10
	TransitionReentered  TransitionKind = 11
)

// Transition is one change of a lock.
type Transition struct {
	Number  uint64 // counts the transitions of its lock while that is remembered, from 1 on
	Kind    TransitionKind
	At      int64
	Index   uint64 // of the log
	Session uint64
	Owner   string
	Ticket  uint64
	Fence   uint64
	Mode    Mode
	Count   uint64
	Until   int64 // delayed: its end
	Reason  string
}

// Change is a transition as it happens, for those who watch.
type Change struct {
	Namespace, Name string
	Transition
	Value []byte // of an election: granted, proclaimed
}

// SessionInfo is a session as a read shows it.
type SessionInfo struct {
	ID         uint64
	Owner      string
	TTL        int64
	Deadline   int64
	Generation uint64
	Holds      uint64
	Waits      uint64
	Metadata   map[string]string
}

// RangeReply answers alloc: the numbers Lo, Lo + Step, …, Count of them.
type RangeReply struct {
	Lo, Count, Step int64
	SequenceID      uint64 // 24 bits
	Generation      uint64
	Domain          uint16
}

// SeqInfo is a sequence as a read shows it.
type SeqInfo struct {
	Name                       string
	SequenceID                 uint64
	Generation                 uint64
	Next                       int64
	Remaining                  uint64
	Min, Max, Step, Start      int64
	Cycle, Strict, IsExhausted bool
	MaxRange                   int64
}

// EventKind says what happened to a session.
type EventKind uint8

// The kinds of events.
const (
	EventGranted        EventKind = 1
	EventLost           EventKind = 2
	EventTimedOut       EventKind = 3
	EventHandOverAsked  EventKind = 4
	EventSessionExpired EventKind = 5
)

// Event is pushed to a session's client. Session events are numbered from 1 on, without gaps.
type Event struct {
	Namespace  string
	Session    uint64
	Seq        uint64
	Kind       EventKind
	Name       string
	Ticket     uint64
	Generation uint64
	Fence      uint64
	Until      int64
	Reason     string
	At         int64
}

// Result is what applying one entry did: one reply for each command of the entry, in order, and the
// events that followed.
type Result struct {
	Replies []Reply
	Events  []Event
	Changes []Change // transitions of locks, in order; good until the next Apply
	// Waited has, for each grant of this entry, the nanoseconds of cluster time since its acquire; Held has, for
	// each hold that ended, those since its grant. For metrics, and good until the next Apply.
	Waited, Held []int64
	// Err is set when the entry can't be understood; the node must stop rather than diverge.
	Err error
}
