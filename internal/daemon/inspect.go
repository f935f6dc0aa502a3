package daemon

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
)

// SnapshotMember is a member as a snapshot lists it.
type SnapshotMember struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Address string `json:"address"`
	Role    string `json:"role"` // voter, learner or standby
}

// SnapshotSummary is what a snapshot file holds. Numbers of 64 bits are strings in JSON, as everywhere.
type SnapshotSummary struct {
	File      string           `json:"file"`
	Size      int64            `json:"size,string"` // bytes
	ClusterID string           `json:"cluster_id"`
	Index     uint64           `json:"index,string"`
	Term      uint64           `json:"term,string"`
	Time      int64            `json:"time,string"` // cluster time, nanoseconds
	Wall      string           `json:"wall"`        // wall clock of the last entry that had one, RFC 3339; "": none
	Domain    uint16           `json:"domain"`
	Fence     uint64           `json:"fence,string"`
	Sessions  uint64           `json:"sessions,string"`
	Locks     uint64           `json:"locks,string"`
	Waiters   uint64           `json:"waiters,string"`
	Sequences uint64           `json:"sequences,string"`
	Members   []SnapshotMember `json:"members"`
}

// InspectSnapshot checks a whole snapshot file, its checksums and the state in it, and tells what it holds. A damaged
// one is storage.ErrSnapshotDamaged or machine.ErrSnapshot, one that another version wrote storage.ErrSnapshotVersion.
func InspectSnapshot(path string) (*SnapshotSummary, error) {
	info, m, err := readSnapshot(path)
	if err != nil {
		return nil, err
	}
	v := m.Live()
	c := v.Counts()
	s := &SnapshotSummary{File: path, Size: info.Size, ClusterID: info.Meta.Config.ClusterID.String(), Index: info.Meta.Index, Term: info.Meta.Term,
		Time: info.Meta.Time, Domain: v.Domain(), Fence: v.Fence(), Sessions: c.Sessions, Locks: c.LocksHeld, Waiters: c.LockWaiters, Sequences: c.Sequences,
		Members: []SnapshotMember{}}
	if v.Wall() != 0 {
		s.Wall = time.Unix(0, v.Wall()).UTC().Format(time.RFC3339Nano)
	}
	for _, x := range info.Meta.Config.Members {
		role := "voter"
		switch {
		case x.Learner:
			role = "learner"
		case x.Standby:
			role = "standby"
		}
		s.Members = append(s.Members, SnapshotMember{Name: x.Name, ID: x.ID.String(), Address: x.Address, Role: role})
	}
	return s, nil
}

// readSnapshot reads a snapshot file anywhere.
func readSnapshot(path string) (info storage.SnapshotInfo, m *machine.Machine, err error) {
	r, err := snapstore.OpenFile(path)
	if err != nil {
		return info, nil, err // names the file
	}
	defer r.Close()
	if m, err = restoreMachine(r); err != nil {
		var named *snapstore.FileError
		if !errors.As(err, &named) {
			err = fmt.Errorf("snapshot %s: %w", path, err)
		}
		return info, nil, err
	}
	return r.Info(), m, nil
}

// restoreMachine reads the state in a snapshot to its very end, and makes sure that it is of the entry that the
// header says.
func restoreMachine(r storage.SnapshotReader) (*machine.Machine, error) {
	m, err := machine.Restore(r)
	if err != nil {
		return nil, err
	}
	var more [1]byte
	if n, err := io.ReadFull(r, more[:]); n > 0 || !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("something follows the state")
		}
		return nil, fmt.Errorf("%w: %w", storage.ErrSnapshotDamaged, err)
	}
	meta := r.Info().Meta
	if v := m.Live(); v.Index() != meta.Index || v.Term() != meta.Term {
		return nil, fmt.Errorf("%w: its header says entry %d of term %d, the state is that of entry %d of term %d",
			storage.ErrSnapshotDamaged, meta.Index, meta.Term, v.Index(), v.Term())
	}
	return m, nil
}

// memberOf finds a member by its ID.
func memberOf(c *raft.Configuration, id raft.MemberID) *raft.Member {
	for i := range c.Members {
		if c.Members[i].ID == id {
			return &c.Members[i]
		}
	}
	return nil
}
