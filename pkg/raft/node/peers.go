package node

import (
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport"
)

// handler is the node as its transport sees it.
type handler struct{ n *Node }

var _ transport.Handler = handler{}

func (h handler) Receive(m raft.Message) { h.n.in.receive(m) }

func (h handler) Identity() transport.Identity {
	n := h.n
	slot, mark := n.cfg.Log.Mark()
	id := transport.Identity{Cluster: n.clusterID(), ClusterHash: n.cfg.ClusterHash, NameHash: n.cfg.NameHash, Member: n.cfg.ID,
		Name: n.cfg.Name, Incarnation: n.found.Incarnation, MarkSlot: slot, Mark: mark, ConfigIndex: n.configIndex()}
	return id
}

func (h handler) Witness(id raft.MemberID) transport.Witnessed { return h.n.witness.latest(id) }

func (h handler) Seen(peer transport.Identity, ours transport.Witnessed) {
	h.n.witness.saw(peer)
	if peer.Address != "" && transport.IsAhead(h.Identity(), peer) {
		h.n.in.call(func(time.Duration) { h.n.loop.meet(peer) })
	}
	// What is taken over here is durable and can't be taken back, so this does not count on the transport alone.
	ours = ours.Of(h.n.found.Incarnation)
	slot, mark := h.n.cfg.Log.Mark()
	if ours.Slot > slot || (ours.Slot == slot && mark.Before(ours.Mark)) {
		// Somebody remembers a write of this directory that the directory does not (storage.md, Incarnation).
		if h.n.witness.news(ours.Slot) {
			h.n.cfg.Logger.Warn("a peer has seen more of this log than there is", "peer", peer.Name, "index", ours.Mark.Last, "term", ours.Mark.LastTerm)
		}
		h.n.in.put(func(in *inputs) { in.seen = append(in.seen, ours.Mark) })
		// The core knows from here on; the log keeps it for the time after a restart.
		if w, ok := h.n.cfg.Log.(storage.Witness); ok {
			if _, err := w.Witnessed(ours.Slot, ours.Mark); err != nil {
				h.n.cfg.Logger.Error("what a peer has seen of this log can't be stored", "peer", peer.Name, "error", err)
			}
		}
	}
}

func (h handler) Unreachable(id raft.MemberID) { h.n.cfg.Observer.SendFailed(id) }

// witness remembers the latest mark that each member showed, so that a member whose directory went back in
// time can be told. It lives in memory: a double restart forgets.
type witness struct {
	mu    sync.Mutex
	marks map[raft.MemberID]transport.Witnessed
	told  uint64 // slot of the latest mark of this node's own that was logged as missing
}

// news reports whether a missing mark of this node's own was not logged yet: peers say so again and again.
func (w *witness) news(slot uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slot == w.told {
		return false
	}
	w.told = slot
	return true
}

// saw keeps the mark with the highest slot. Another incarnation counts its slots anew: what the one before
// it had is no mark of the new directory.
func (w *witness) saw(peer transport.Identity) {
	if peer.MarkSlot == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old, ok := w.marks[peer.Member]
	if ok && old.Incarnation == peer.Incarnation && old.Slot >= peer.MarkSlot {
		return
	}
	if w.marks == nil {
		w.marks = make(map[raft.MemberID]transport.Witnessed)
	}
	w.marks[peer.Member] = transport.Witnessed{Incarnation: peer.Incarnation, Slot: peer.MarkSlot, Mark: peer.Mark}
}

// latest returns the mark that saw kept of a member; slot 0: none.
func (w *witness) latest(id raft.MemberID) transport.Witnessed {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.marks[id]
}

// peersOf lists whom a transport should reach.
func peersOf(members []raft.Member, self raft.MemberID) []transport.Peer {
	var peers []transport.Peer
	for _, m := range members {
		if m.ID != self {
			peers = append(peers, transport.Peer{ID: m.ID, Name: m.Name, Address: m.Address, Incarnation: m.Incarnation})
		}
	}
	return peers
}
