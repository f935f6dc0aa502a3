package raft

import (
	"encoding/binary"
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/tracker"
)

// A snapshot takes the place of the log up to an index (dissertation, section 5.1). The core knows of it what
// SnapshotMeta says. Its bytes are the runtime's: it takes snapshots, carries them between members, and cuts the
// log.

// SetSnapshot tells the core of a snapshot of this member's own that is durable. Peers that need entries which are
// gone are given the latest one from now on.
func (c *Core) SetSnapshot(meta SnapshotMeta, now time.Duration) {
	c.advance(now)
	defer c.settle()
	if meta.Index > c.log.applying {
		broken("a snapshot at index %d, but only %d was handed out to be applied", meta.Index, c.log.applying)
	}
	if c.snapshot == nil || meta.Index > c.snapshot.Index {
		c.snapshot = &meta
	}
}

// Compacted tells the core that the log begins behind an index now, because a snapshot has what was before. What
// an install has overtaken meanwhile is no news.
func (c *Core) Compacted(index uint64, now time.Duration) {
	c.advance(now)
	defer c.settle()
	if index <= c.log.base {
		return
	}
	if c.snapshot == nil || index > c.snapshot.Index || index >= c.log.last {
		broken("the log of %d entries was cut up to %d", c.log.last, index)
	}
	c.log.compact(index)
}

// SnapshotDone ends what an outgoing MsgSnapshot began: the snapshot with that index is with the peer and was
// handed to its core (ok), or it could not be brought there. The caller says one or the other for each.
func (c *Core) SnapshotDone(to MemberID, index uint64, ok bool, now time.Duration) {
	c.advance(now)
	defer c.settle()
	p := c.peer(to)
	if c.role != Leader || p == nil || p.pr.State != tracker.Snapshot || p.pr.Pending != index {
		c.Stats.Unexpected++ // overtaken by an acknowledgement, or of an earlier term
		return
	}
	p.pr.SnapshotDone(ok)
}

// sendSnapshot has a peer that needs entries which are gone be given the newest snapshot.
func (c *Core) sendSnapshot(p *peer) {
	if p.leaving || p.pr.State == tracker.Snapshot || (p.pr.State == tracker.Probe && p.pr.Waiting) {
		return
	}
	p.nudge = false
	meta := *c.snapshot
	p.pr.ToSnapshot(meta.Index)
	c.send = append(c.send, Message{Type: MsgSnapshot, From: c.id, To: p.id, Term: c.hard.Term, Session: p.pr.Session, Snapshot: &meta})
}

// onSnapshot takes a leader's snapshot, which is durable here already, if it holds anything that this log does not
// have as committed. Where the log has the snapshot's last entry, nothing of it has to go; otherwise all of it has
// to (dissertation, section 5.1; rule 8).
func onSnapshot(c *Core, p *peer, m *Message) {
	if !c.followed(m.From) {
		return
	}
	s := m.Snapshot
	switch {
	case s.Index <= c.log.commit:
		c.acknowledge(m, c.log.commit)
		return
	case c.log.matches(s.Index, s.Term), s.Index <= c.log.last && canary.Broken(canary.SnapshotTakesLog):
		c.commitTo(s.Index)
	default:
		c.install(s)
	}
	c.acknowledge(m, s.Index)
}

// install puts a snapshot in the place of the log and of the state machine's state.
func (c *Core) install(s *SnapshotMeta) {
	meta := *s
	c.snapshot, c.installing, c.restoring = &meta, &meta, &meta
	c.log.restart(&meta)
	c.writes.cut(0) // what is under way vouches for nothing of the new log
	c.writes.handed = meta.Index
	c.applies.fetched, c.applies.fetching, c.applies.waitingBytes = nil, false, 0
	if !canary.Broken(canary.InstallTakesTime) {
		c.clock.appended(meta.Time, c.now)
	}
	c.configs.replace(meta.ConfigIndex, meta.Config.Clone())
	c.noteListed()
	c.configChanged()
}

// wellFormed checks what must hold for any snapshot of a leader of a term.
func (m *SnapshotMeta) wellFormed(term uint64) bool {
	return m.Index > 0 && m.Index <= maxPosition && m.Term > 0 && m.Term <= term && m.ConfigIndex <= m.Index &&
		m.Config.valid() == nil
}

// snapshotMetaLayout is the first byte of an encoded SnapshotMeta.
const snapshotMetaLayout = 1

// Encode returns the one encoding of a SnapshotMeta: layout, index, term, time, hash, configuration's index,
// configuration; numbers are uvarints, but for the time, which takes 8 bytes, big-endian.
func (m *SnapshotMeta) Encode() []byte {
	b := binary.AppendUvarint([]byte{snapshotMetaLayout}, m.Index)
	b = binary.AppendUvarint(b, m.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Time))
	b = append(b, m.Hash[:]...)
	b = binary.AppendUvarint(b, m.ConfigIndex)
	return m.Config.append(b)
}

// DecodeSnapshotMeta reads what Encode wrote. It refuses anything else, however it came about.
func DecodeSnapshotMeta(data []byte) (SnapshotMeta, error) {
	d := decoder{rest: data}
	if layout := d.byte(); d.err == nil && layout != snapshotMetaLayout {
		d.fail("a snapshot's description of layout %d is not known", layout)
	}
	m := SnapshotMeta{Index: d.uvarint(), Term: d.uvarint()}
	if b := d.bytes(8); len(b) == 8 {
		m.Time = int64(binary.BigEndian.Uint64(b))
	}
	copy(m.Hash[:], d.bytes(len(m.Hash)))
	m.ConfigIndex = d.uvarint()
	m.Config = d.configuration()
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes too many", len(d.rest))
	}
	if d.err == nil && !m.wellFormed(maxPosition) {
		d.fail("a snapshot's description that contradicts itself")
	}
	if d.err != nil {
		return SnapshotMeta{}, d.err
	}
	return m, nil
}
