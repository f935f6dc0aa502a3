package node

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// restored is the point from which a member goes on when it starts.
type restored struct {
	snapshot *storage.SnapshotInfo // the newest one that the log goes on from; nil: none
	at       pipeline.Position     // where the state machine stands
}

// restoreState brings the state machine to where the log can take over: to the newest whole snapshot that the log
// goes on from or, where there is none, to the log's beginning. A machine that keeps its own state is left as it is
// where that is further.
func restoreState(cfg *Config, found *storage.State) (restored, error) {
	has := uint64(0)
	if d, ok := cfg.StateMachine.(Durable); ok {
		has = d.LastApplied()
	}
	if has > found.Last {
		return restored{}, fmt.Errorf("the state machine holds entry %d, the log ends at %d: they are not of one directory", has, found.Last)
	}
	var damage error
	for _, info := range usableSnapshots(cfg, found) {
		if has < info.Meta.Index {
			err := restoreOne(cfg, &info)
			if isDamage(err) {
				cfg.Logger.Error("a snapshot is damaged; an older one has to do", "index", info.Meta.Index, "error", err)
				damage = errors.Join(damage, err)
				if err := cfg.Snapshots.SetAside(info.Meta.Index, info.Meta.Term, err); err != nil {
					return restored{}, fmt.Errorf("setting the damaged snapshot at index %d aside: %w", info.Meta.Index, err)
				}
				continue
			}
			if err != nil {
				return restored{}, fmt.Errorf("restoring the state from the snapshot at index %d: %w", info.Meta.Index, err)
			}
			return restored{&info, pipeline.PositionOf(&info.Meta)}, nil
		}
		at, err := positionInLog(cfg, found, has, pipeline.PositionOf(&info.Meta))
		return restored{&info, at}, err
	}
	if found.Base.Last > 0 {
		if s, ok := cfg.Snapshots.(interface{ Damaged() []error }); ok && damage == nil {
			damage = errors.Join(s.Damaged()...) // those that were not even listed
		}
		return restored{}, &lostStateError{base: found.Base.Last, damage: damage}
	}
	at, err := positionInLog(cfg, found, has, staticPosition(cfg))
	return restored{at: at}, err
}

// lostStateError refuses a start without what the log begins behind. Nothing was removed.
type lostStateError struct {
	base   uint64
	damage error // of the snapshots that were tried; nil: none was there that could be
}

func (e *lostStateError) Error() string {
	why := ""
	if e.damage != nil {
		why = fmt.Sprintf(" (%s)", strings.ReplaceAll(e.damage.Error(), "\n", "; "))
	}
	return fmt.Sprintf("the log begins behind index %d, and no snapshot that reaches it is whole%s. Nothing was removed: "+
		"if there is a copy of the snapshot, put the file back; if the other members live, run `coordd member replace` for this one "+
		"and start it with an empty data directory; if they don't, `coordd snapshot restore` makes a new cluster of a backup", e.base, why)
}

func (e *lostStateError) Unwrap() error { return e.damage }

func staticPosition(cfg *Config) pipeline.Position {
	members := slices.Clone(cfg.Members)
	slices.SortFunc(members, func(a, b raft.Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return pipeline.Position{Config: raft.Configuration{Members: members}}
}

// usableSnapshots lists the snapshots that the log goes on from, newest first.
func usableSnapshots(cfg *Config, found *storage.State) (out []storage.SnapshotInfo) {
	if _, ok := cfg.StateMachine.(Snapshotter); !ok {
		return nil
	}
	for _, info := range cfg.Snapshots.List() {
		if info.Meta.Index < found.Base.Last || info.Meta.Index > found.Last {
			continue
		}
		if err := belongs(cfg.Log, &info.Meta); err != nil {
			cfg.Logger.Warn("a snapshot is not of this log", "index", info.Meta.Index, "term", info.Meta.Term, "error", err)
			continue
		}
		out = append(out, info)
	}
	return out
}

func isDamage(err error) bool {
	return errors.Is(err, storage.ErrSnapshotDamaged) || errors.Is(err, storage.ErrSnapshotVersion) || errors.Is(err, storage.ErrNoSnapshot)
}

// restoreOne verifies the whole of a snapshot before the machine is given any of it: what a machine makes of half a
// snapshot can't be undone.
func restoreOne(cfg *Config, info *storage.SnapshotInfo) error {
	for _, use := range []func(io.Reader) error{
		func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err },
		func(r io.Reader) error { return readInto(cfg.StateMachine.(Snapshotter), r) },
	} {
		r, err := cfg.Snapshots.Open(info.Meta.Index, info.Meta.Term)
		if err != nil {
			return err
		}
		err = errors.Join(use(r), r.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// positionInLog is the position of an entry of the log that a machine holds already, found from one before it.
func positionInLog(cfg *Config, found *storage.State, index uint64, at pipeline.Position) (pipeline.Position, error) {
	for at.Index < index {
		es, err := cfg.Log.Entries(max(at.Index, found.Base.Last)+1, index+1, 1<<20)
		if err != nil {
			return at, fmt.Errorf("reading what the state machine holds, up to entry %d: %w", index, err)
		}
		for i := range es {
			if err := at.Follow(&es[i]); err != nil {
				return at, fmt.Errorf("reading the configuration at index %d: %w", es[i].Index, err)
			}
		}
	}
	return at, nil
}
