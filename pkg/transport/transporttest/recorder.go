package transporttest

import (
	"sync"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// Sighting is one call of Handler.Seen.
type Sighting struct {
	Peer transport.Identity
	Ours transport.Witnessed
}

// Recorder is a transport.Handler that keeps what it is told.
type Recorder struct {
	mu          sync.Mutex
	identity    transport.Identity
	witnesses   map[raft.MemberID]transport.Identity // incarnation, slot and mark of each member
	messages    []raft.Message
	counts      map[raft.MemberID]int
	sightings   []Sighting
	unreachable map[raft.MemberID]int
	onReceive   func(raft.Message) // called without the lock
	calls       int

	messengers
}

var _ transport.Handler = (*Recorder)(nil)

// NewRecorder makes a handler that says this of itself.
func NewRecorder(identity transport.Identity) *Recorder {
	return &Recorder{identity: identity, witnesses: map[raft.MemberID]transport.Identity{},
		counts: map[raft.MemberID]int{}, unreachable: map[raft.MemberID]int{}}
}

// Receive keeps the message.
func (r *Recorder) Receive(m raft.Message) {
	r.mu.Lock()
	hook := r.onReceive
	r.calls++
	r.messages = append(r.messages, m)
	r.counts[m.From]++
	r.mu.Unlock()
	if hook != nil {
		hook(m)
	}
}

// Identity returns what SetIdentity or NewRecorder was given.
func (r *Recorder) Identity() transport.Identity {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.identity
}

// Witness returns the newest mark that Seen was told, of the incarnation that showed one last.
func (r *Recorder) Witness(id raft.MemberID) transport.Witnessed {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.witnesses[id]
	return transport.Witnessed{Incarnation: w.Incarnation, Slot: w.MarkSlot, Mark: w.Mark}
}

// Seen keeps what it is told.
func (r *Recorder) Seen(peer transport.Identity, ours transport.Witnessed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.sightings = append(r.sightings, Sighting{peer, ours})
	old := r.witnesses[peer.Member]
	if peer.MarkSlot > 0 && (peer.Incarnation != old.Incarnation || peer.MarkSlot > old.MarkSlot) {
		r.witnesses[peer.Member] = peer
	}
}

// Unreachable counts.
func (r *Recorder) Unreachable(id raft.MemberID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.unreachable[id]++
}

// edit changes the identity.
func (r *Recorder) edit(f func(*transport.Identity)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.identity)
}

// Hook has f called with each message that is received from now on; it may block.
func (r *Recorder) Hook(f func(raft.Message)) { r.hook(f) }

// hook has f called with each message that is received from now on.
func (r *Recorder) hook(f func(raft.Message)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onReceive = f
}

// count returns how many messages came from a member.
func (r *Recorder) count(from raft.MemberID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[from]
}

// received returns the messages from a member of the types, or of all types.
func (r *Recorder) received(from raft.MemberID, types ...raft.MessageType) (out []raft.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.messages {
		wanted := len(types) == 0
		for _, t := range types {
			wanted = wanted || m.Type == t
		}
		if m.From == from && wanted {
			out = append(out, m)
		}
	}
	return out
}

// forget drops the messages that were kept.
func (r *Recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = nil
}

// seen returns what was told of a member.
func (r *Recorder) seen(id raft.MemberID) (out []Sighting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sightings {
		if s.Peer.Member == id {
			out = append(out, s)
		}
	}
	return out
}

// given returns how often a member was said to be unreachable.
func (r *Recorder) given(id raft.MemberID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unreachable[id]
}

// total returns how many calls there were in all, without those that ask.
func (r *Recorder) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// Messages returns what was received, in the order of the calls.
func (r *Recorder) Messages() []raft.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]raft.Message(nil), r.messages...)
}

// Received returns how many messages were received.
func (r *Recorder) Received() int { return len(r.Messages()) }

// Told returns how often Unreachable was called for a member.
func (r *Recorder) Told(id raft.MemberID) int { return r.given(id) }
