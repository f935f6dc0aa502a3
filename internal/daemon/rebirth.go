package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/badgerlog"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
)

// Rebirth is what a restore or a recovery made: the first member of a new cluster.
type Rebirth struct {
	DataDir   string `json:"data_dir"`
	Name      string `json:"name"`
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	Address   string `json:"address"`
	Index     uint64 `json:"index,string"` // of the last entry that it has
	Term      uint64 `json:"term,string"`  // of that entry
	Domain    uint16 `json:"domain"`
	Fence     uint64 `json:"fence,string"` // new ones are above it
	Backup    string `json:"backup"`       // where the replaced files are; "": none were
}

// snapshotsDir is where a member's snapshots are, in its data directory.
const snapshotsDir = "snapshots"

// epoch is the beginning of the seconds in fences.
var epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// nextSecond waits for the next whole second and returns its number since epoch, so that one restore after another
// never sees the same.
func nextSecond(ctx context.Context) (int64, error) {
	now := time.Now()
	next := now.Truncate(time.Second).Add(time.Second)
	t := time.NewTimer(next.Sub(now))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for the next second: %w", ctx.Err())
	case <-t.C:
		return next.Unix() - epoch.Unix(), nil
	}
}

// seed is what the data directory of a new cluster's first member is made of.
type seed struct {
	cluster string // name
	member  raft.Member
	domain  uint16
	meta    raft.SnapshotMeta // as of the old cluster
	machine *machine.Machine
}

// domainError turns the machine's refusal of a domain into one of a setting.
func domainError(err error) error {
	if errors.Is(err, machine.ErrSameDomain) || errors.Is(err, machine.ErrBadDomain) {
		return &ConfigError{Setting: "domain", Err: err}
	}
	return err
}

// grow makes a whole data directory in dir, which is not there yet: a snapshot of the renewed state, and an empty log
// behind it in a new term, of a configuration with one member under a new cluster ID and a new incarnation.
func (s *seed) grow(ctx context.Context, dir string) (*Rebirth, error) {
	second, err := nextSecond(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.machine.Renew(machine.Renewal{Domain: s.domain, Second: second}); err != nil {
		return nil, domainError(err)
	}
	log, err := badgerlog.Open(badgerlog.Options{Dir: dir, ClusterName: s.cluster, Member: s.member.ID, MemberName: s.member.Name})
	if err != nil {
		return nil, err
	}
	defer log.Close()
	config := raft.Configuration{Version: s.meta.Config.Version, SetVoters: 1, Members: []raft.Member{s.member}}
	if _, err := rand.Read(config.ClusterID[:]); err != nil {
		return nil, fmt.Errorf("drawing a cluster ID: %w", err)
	}
	config.Members[0].Incarnation = log.State().Incarnation
	s.meta.Config, s.meta.ConfigIndex = config, s.meta.Index
	if err := s.save(filepath.Join(dir, snapshotsDir)); err != nil {
		return nil, err
	}
	base := s.meta.Mark()
	err = log.Append(storage.Batch{HardState: raft.HardState{Term: s.meta.Term + 1, Commit: s.meta.Index},
		TruncateAfter: s.meta.Index, Base: &base, ClusterID: config.ClusterID})
	if err != nil {
		return nil, fmt.Errorf("beginning the log: %w", err)
	}
	if err := log.Close(); err != nil {
		return nil, fmt.Errorf("closing the log: %w", err)
	}
	return &Rebirth{Name: s.member.Name, Cluster: s.cluster, ClusterID: config.ClusterID.String(), Address: s.member.Address,
		Index: s.meta.Index, Term: s.meta.Term, Domain: s.domain, Fence: s.machine.Live().Fence()}, nil
}

// save writes the state as a snapshot.
func (s *seed) save(dir string) error {
	snaps, err := snapstore.Open(snapstore.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer snaps.Close()
	w, err := snaps.Create(s.meta)
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := s.machine.Live().Save(w); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	if _, err := w.Commit(); err != nil {
		return fmt.Errorf("writing the snapshot: %w", err)
	}
	return snaps.Close()
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
