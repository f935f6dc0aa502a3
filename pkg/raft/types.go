package raft

import (
	"errors"
	"fmt"
	"time"
)

// MemberID identifies a member for the whole life of a cluster. 0 means nobody.
type MemberID uint64

// String prints the ID as operators see it.
func (id MemberID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Incarnation is 128 random bits that were made together with a data directory. A member that comes
// back with another one has lost what it once acknowledged. The zero value means not known.
type Incarnation [16]byte

// IsZero reports whether the incarnation is not known.
func (i Incarnation) IsZero() bool { return i == Incarnation{} }

// String prints the incarnation in hexadecimal.
func (i Incarnation) String() string { return fmt.Sprintf("%x", i[:]) }

// ClusterID identifies a cluster: 128 random bits drawn by its first leader.
type ClusterID [16]byte

// IsZero reports whether the cluster ID is not known.
func (c ClusterID) IsZero() bool { return c == ClusterID{} }

// String prints the cluster ID in hexadecimal.
func (c ClusterID) String() string { return fmt.Sprintf("%x", c[:]) }

// Role is what a member does at the moment.
type Role uint8

// The roles (dissertation, section 3.3; learner: section 4.2.1; standby is this project's own).
const (
	Follower Role = iota
	PreCandidate
	Candidate
	Leader
	Standby // votes and counts, never campaigns
	Learner // receives the log, does not count in the quorum
)

// String returns the lower-case name of the role.
func (r Role) String() string {
	switch r {
	case Follower:
		return "follower"
	case PreCandidate, Candidate:
		return "candidate"
	case Leader:
		return "leader"
	case Standby:
		return "standby"
	case Learner:
		return "learner"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// EntryKind says what an entry's Data is.
type EntryKind uint8

// The kinds of entries.
const (
	EntryNoOp    EntryKind = iota // a leader's first entry of its term; no data
	EntryCommand                  // Data is for the state machine
	EntryConfig                   // Data is an encoded Configuration
)

// Entry is one position of the replicated log.
type Entry struct {
	Index uint64
	Term  uint64
	// Time is cluster time, in nanoseconds since the cluster's birth, set by the leader's core at
	// append; it never goes back from one entry to the next.
	Time int64
	// Wall is the leader's wall clock at append, Unix nanoseconds, as data only; 0 means unknown.
	Wall int64
	Kind EntryKind
	Data []byte
}

// entryOverheadBytes is what an entry costs beyond its data wherever bytes are counted.
const entryOverheadBytes = 48

// Size is the number of bytes that the entry counts for in every bound.
func (e *Entry) Size() int { return entryOverheadBytes + len(e.Data) }

// Member is one member of a configuration.
type Member struct {
	ID          MemberID
	Name        string
	Address     string // where its peers reach it, host:port
	Incarnation Incarnation
	// Former is the incarnation that was given up when the member was replaced: nothing that it says counts any
	// more. [Else the old directory, if it still runs, would be the first to be heard and recorded again.]
	Former  Incarnation
	Learner bool // does not count in the quorum
	Standby bool // counts, never campaigns
	// Promote: this learner becomes a voter as soon as it has caught up (dissertation, section 4.2.1).
	Promote bool
	// Version is the newest version of commands that this member understands; 0: it has not said so yet.
	Version  uint32
	Metadata map[string]string
}

// Configuration is the content of an EntryConfig. It is in effect on a member from the moment at which
// the entry is appended to that member's log (dissertation, section 4.1).
type Configuration struct {
	ClusterID ClusterID
	// Version is the newest version of commands that may be proposed: every member had announced it
	// (rule 17). It never goes down.
	Version uint32
	// SetVoters is how many voters there were, or were to be, when an operator last changed the membership, or more
	// where members joined by themselves; a failure detector removes nobody below a majority of it. 0: nobody has
	// set it yet.
	SetVoters uint32
	Members   []Member // ordered by ID
}

// SnapshotMeta says what a snapshot holds: the state after the entry at Index.
type SnapshotMeta struct {
	Index uint64
	Term  uint64
	Time  int64    // cluster time of that entry
	Hash  [16]byte // chain hash of that entry; made and compared by storage alone
	// Config is the configuration that was in effect at Index, ConfigIndex the index of its entry; 0: the
	// static one.
	ConfigIndex uint64
	Config      Configuration
}

// Mark is the position of the snapshot's last entry.
func (m *SnapshotMeta) Mark() Mark { return Mark{LastTerm: m.Term, Last: m.Index, Hash: m.Hash} }

// HardState is what must be durable before anything that depends on it is said.
type HardState struct {
	Term   uint64
	Vote   MemberID
	Commit uint64
	// Promise is the longest sticky window that this member ever promised in an acknowledgement; after a
	// restart it grants no vote for that long.
	Promise time.Duration
}

// Mark is a position of a log that was once durable. Hash is the chain hash of the entry at Last; it is
// compared by storage alone, never by the core.
type Mark struct {
	LastTerm uint64
	Last     uint64
	Hash     [16]byte
}

// Before reports whether a log that ends at m lacks something that a log which ends at o has.
func (m Mark) Before(o Mark) bool {
	return m.LastTerm < o.LastTerm || (m.LastTerm == o.LastTerm && m.Last < o.Last)
}

// TermRun says that the entries from First on, up to the next run, are of one term.
type TermRun struct {
	First uint64
	Term  uint64
}

// MessageType says what a message asks or answers.
type MessageType uint8

// The types of messages.
const (
	MsgPreVote MessageType = iota + 1
	MsgPreVoteResp
	MsgVote
	MsgVoteResp
	MsgAppend
	MsgAppendResp
	MsgHeartbeat
	MsgHeartbeatResp
	MsgTimeoutNow
	MsgReadIndex     // a follower asks the leader for a read index
	MsgReadIndexResp // the proved index, or Reject
	MsgHello         // a blank member asks: are you blank too, and who are you?
	MsgHelloResp
	// MsgSnapshot says that the receiver holds the whole snapshot that Message.Snapshot describes. A core
	// sends it; a runtime carries the snapshot to the receiver first, outside the transport of messages, and
	// hands the message over there once the snapshot is durable and verified.
	MsgSnapshot
	numMessageTypes
)

var messageNames = [...]string{"none", "pre-vote", "pre-vote-resp", "vote", "vote-resp", "append", "append-resp",
	"heartbeat", "heartbeat-resp", "timeout-now", "read-index", "read-index-resp", "hello", "hello-resp", "snapshot"}

// String returns the name of the type.
func (t MessageType) String() string {
	if int(t) < len(messageNames) {
		return messageNames[t]
	}
	return fmt.Sprintf("message(%d)", uint8(t))
}

// Valid reports whether the type is a known one.
func (t MessageType) Valid() bool { return t > 0 && t < numMessageTypes }

// Message is what one core says to another. One struct serves all types; what a field means for a type
// stands beside it. Fields that a type does not name are zero.
type Message struct {
	Type MessageType
	From MemberID
	To   MemberID
	Term uint64

	// Index: append: index before the first entry. append-resp: last index known to match, or, when
	// rejected, the index of the refused position. (pre-)vote: the candidate's last index.
	// heartbeat: the leader's match of the receiver. read-index-resp: the read index.
	Index uint64
	// LogTerm: term of the entry at Index (append, votes; heartbeat, where 0 means that the leader does not know it any
	// more); in a rejection, term of the entry at Hint.
	LogTerm uint64
	// Commit: append, heartbeat: the leader's commit index; in a heartbeat at most the receiver's match.
	// append-resp, heartbeat-resp: the sender's commit index.
	Commit uint64
	// Hint: in a rejected append-resp, the highest index of the sender's log that may still match.
	Hint uint64
	// Round names a heartbeat round, a follower's read request, or a hello; answers carry it back.
	Round uint64
	// Session is the leader's session number of this peer in its progress table; answers carry it back
	// (a member that leaves and returns within one term gets a new one).
	Session uint64
	// Promise: append-resp, heartbeat-resp: the sender's sticky window, counted from receipt.
	Promise time.Duration

	Reject   bool
	Transfer bool // vote, pre-vote: this campaign was asked for by the leader (TimeoutNow)
	Blank    bool // hello-resp: the sender's log is empty

	Entries []Entry
	// Snapshot: snapshot.
	Snapshot *SnapshotMeta

	// Incarnation is the sender's. Transports fill it on receipt from the connection's handshake; it is
	// not sent with every message.
	Incarnation Incarnation
}

// AppendBatch is one durable write. The caller carries batches out in the order of Seq.
type AppendBatch struct {
	Seq uint64
	// HardState is to be durable in the same transaction as the entries.
	HardState HardState
	// TruncateAfter is the index of the last entry that stays; Entries begin at TruncateAfter + 1. It is
	// the log's last index where nothing is cut.
	TruncateAfter uint64
	// Snapshot is set where a snapshot takes the place of the whole log: nothing of the log stays, and it
	// begins anew behind Snapshot.Index, which TruncateAfter equals. The snapshot itself is durable already.
	Snapshot *SnapshotMeta
	Entries  []Entry
	// Last and LastTerm are the end of the log once this batch is durable: what AppendDone is to be given.
	Last, LastTerm uint64
	// MustWrite is false for a batch that changes nothing durable and is there for the order of ThenSend
	// alone.
	MustWrite bool
	// ThenSend may leave only after this and every earlier batch is durable.
	ThenSend []Message
}

// ReadState answers one ReadIndex.
type ReadState struct {
	ID    uint64 // as given to ReadIndex
	Index uint64 // the read may be answered once this index is applied
	// Err is ErrNotLeader (no leader known, or it refused) or ErrLeadershipLost; nil where the index is good.
	Err error
}

// FetchRequest asks the caller to read entries that the core no longer has in memory; the answer is
// Core.Fetched with the same To.
type FetchRequest struct {
	To       MemberID // the peer that they are for; the core's own ID: to be applied
	Lo, Hi   uint64   // half open: Lo ≤ index < Hi
	MaxBytes int      // at least one entry is returned, however large
}

// Output is what the caller of a core has to carry out.
type Output struct {
	// Send may leave at once, before anything is written.
	Send []Message
	// Append holds at most one batch for each call of Core.Output; nil: nothing.
	Append *AppendBatch
	// Restore is a snapshot that takes the place of the state machine's state, before Apply; ApplyDone of its
	// index says that it does.
	Restore *SnapshotMeta
	// Apply are committed entries, in order, without gaps.
	Apply []Entry
	Reads []ReadState
	Fetch []FetchRequest
	// State is the soft state after these inputs; Changed tells whether it differs from that of the
	// Output before.
	State   SoftState
	Changed bool
}

// SoftState is what a core knows and need not store.
type SoftState struct {
	Role   Role
	Term   uint64
	Leader MemberID // 0: none known
	Commit uint64
	Last   uint64
	// Ready is true for a leader whose first entry of this term is committed.
	Ready bool
	// Recovering is true while the log is behind a mark that this member once acknowledged.
	Recovering bool
	// Blank is true for a member with an empty log that may neither vote nor campaign yet.
	Blank bool
	// ConfigIndex is the index of the configuration in effect.
	ConfigIndex uint64
	// Contacts grows with each change of Core.Contacts.
	Contacts uint64
	// Removed is true for a member that the last committed configuration does not list, though one did.
	Removed bool
}

// Proposal is one entry that a leader is asked to append.
type Proposal struct {
	Kind EntryKind // EntryCommand or EntryConfig
	Wall int64     // the caller's wall clock, Unix nanoseconds
	Data []byte
}

// The errors of a core. ErrNotLeader: certainly not done. ErrBusy: refused before append, a bound was
// reached. ErrLeadershipLost: appended, outcome unknown.
var (
	ErrNotLeader      = errors.New("raft: not the leader")
	ErrBusy           = errors.New("raft: too much is under way")
	ErrLeadershipLost = errors.New("raft: leadership lost, outcome unknown")
	ErrTransferring   = errors.New("raft: leadership is being transferred")
	ErrNotMember      = errors.New("raft: not a member of the configuration")
	ErrChangePending  = errors.New("raft: a configuration change is in progress")
	ErrMemberExists   = errors.New("raft: the member exists already")
	ErrNoMember       = errors.New("raft: no such member")
	ErrLastVoter      = errors.New("raft: no other voter may lead")
	ErrTooLarge       = errors.New("raft: entry too large")
)
