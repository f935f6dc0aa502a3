package pipeline

import "github.com/coordd/coordd/pkg/raft"

// Position is where a state machine stands: what a snapshot of it says of itself, but for the hash.
type Position struct {
	Index, Term uint64
	Time        int64 // cluster time of the entry at Index
	ConfigIndex uint64
	Config      raft.Configuration
}

// PositionOf is where a machine stands that was restored from a snapshot.
func PositionOf(m *raft.SnapshotMeta) Position {
	return Position{Index: m.Index, Term: m.Term, Time: m.Time, ConfigIndex: m.ConfigIndex, Config: m.Config}
}

// Meta describes a snapshot that is taken here.
func (p *Position) Meta() raft.SnapshotMeta {
	return raft.SnapshotMeta{Index: p.Index, Term: p.Term, Time: p.Time, ConfigIndex: p.ConfigIndex, Config: p.Config.Clone()}
}

// Follow moves to an entry that was applied. The error is that of a configuration that can't be read.
func (p *Position) Follow(e *raft.Entry) error {
	p.Index, p.Term, p.Time = e.Index, e.Term, e.Time
	if e.Kind != raft.EntryConfig {
		return nil
	}
	conf, err := raft.DecodeConfiguration(e.Data)
	if err != nil {
		return err
	}
	p.ConfigIndex, p.Config = e.Index, conf
	return nil
}
