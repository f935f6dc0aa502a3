package node

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// incoming puts a leader's snapshot together and hands it to the core when it is whole and durable. There is one at a
// time: of a later term's leader, where two send.
type incoming struct {
	n *Node

	mu       sync.Mutex
	term     uint64
	meta     raft.SnapshotMeta
	size     int64
	receiver storage.SnapshotReceiver // nil: none under way
	// unreadable is the last snapshot of a version that is not known here, which was logged.
	unreadable raft.Mark
}

// take answers one chunk.
func (in *incoming) take(from raft.MemberID, body []byte) ([]byte, error) {
	c, err := decodeChunk(body)
	if err != nil {
		return nil, err
	}
	if in.n.snaps == nil {
		return nil, ErrNoSnapshots
	}
	if c.term < in.n.view.Load().soft.Term {
		return nil, fmt.Errorf("a snapshot of term %d, which is over", c.term)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if c.term < in.term {
		return nil, fmt.Errorf("a snapshot of term %d, which is over", c.term)
	}
	in.term = c.term
	answer, err := in.add(from, &c)
	switch {
	case err == nil:
	case errors.Is(err, storage.ErrSnapshotVersion):
		// The leader's program is a newer one. This member goes on with what it has until its own is replaced.
		if in.unreadable != c.meta.Mark() {
			in.unreadable = c.meta.Mark()
			in.n.cfg.Logger.Error("the leader's snapshot is of a version that this program does not read: it needs to be upgraded", "from", from,
				"index", c.meta.Index, "error", err)
		}
		in.receiver, answer = nil, progress{state: progressNotNow}
	case errors.Is(err, storage.ErrSnapshotDamaged):
		in.n.cfg.Logger.Warn("a snapshot arrived damaged and begins anew", "from", from, "index", c.meta.Index, "error", err)
		in.receiver, answer = nil, progress{state: progressDamaged}
	case isNoSpace(err):
		in.n.cfg.Logger.Warn("no room for a snapshot", "from", from, "index", c.meta.Index, "error", err)
		in.leave()
		answer = progress{state: progressNotNow}
	default:
		in.leave()
		in.n.halt(fmt.Errorf("receiving a snapshot: %w", err))
		return nil, ErrStopped
	}
	return answer.encode(), nil
}

// add takes one chunk and says where to go on.
func (in *incoming) add(from raft.MemberID, c *chunk) (progress, error) {
	if c.meta.Index <= in.n.commit.Load() || in.has(&c.meta) {
		in.deliver(from, c, c.meta) // it came already, or what it holds did
		return progress{state: progressDone}, nil
	}
	if in.receiver == nil || in.size != c.size || in.meta.Mark() != c.meta.Mark() {
		in.leave()
		r, err := in.n.cfg.Snapshots.Receive(c.meta, c.size)
		if err != nil {
			return progress{}, err
		}
		in.receiver, in.meta, in.size = r, c.meta, c.size
	}
	if len(c.data) > 0 && c.offset == in.receiver.Offset() {
		if _, err := in.receiver.Write(c.data); err != nil {
			return progress{}, err
		}
	}
	if offset := in.receiver.Offset(); offset < c.size {
		return progress{offset: offset}, nil
	}
	info, err := in.receiver.Commit()
	if err != nil {
		return progress{}, err
	}
	in.receiver = nil
	in.deliver(from, c, info.Meta)
	return progress{state: progressDone}, nil
}

func (in *incoming) has(m *raft.SnapshotMeta) bool {
	for _, info := range in.n.cfg.Snapshots.List() {
		if info.Meta.Mark() == m.Mark() {
			return true
		}
	}
	return false
}

// deliver gives the core what the leader's core sent.
func (in *incoming) deliver(from raft.MemberID, c *chunk, meta raft.SnapshotMeta) {
	m := raft.Message{Type: raft.MsgSnapshot, From: from, To: in.n.cfg.ID, Term: c.term, Session: c.session, Snapshot: &meta,
		Incarnation: c.incarnation}
	in.n.in.call(func(time.Duration) { in.n.loop.step(&m) })
}

// leave lets go of what is under way; what came of it is kept for another attempt.
func (in *incoming) leave() {
	if in.receiver != nil {
		if err := in.receiver.Close(); err != nil {
			in.n.cfg.Logger.Warn("closing a snapshot that was being received", "error", err)
		}
		in.receiver = nil
	}
}

// end lets go for good.
func (in *incoming) end() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.leave()
}
