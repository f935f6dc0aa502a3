package node

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
)

// stored is a cluster on Badger logs, snapshot files and TCP.
type stored struct {
	*real
	*cluster
	vaults map[raft.MemberID]*vault
}

func startStored(t *testing.T, size int) *stored {
	s := &stored{vaults: make(map[raft.MemberID]*vault)}
	s.real = startRealWith(t, size, func(cfg *Config, dir string) {
		store, err := snapstore.Open(snapstore.Options{Dir: filepath.Join(dir, "snapshots")})
		if err != nil {
			t.Fatal(err)
		}
		s.vaults[cfg.ID] = &vault{}
		cfg.StateMachine, cfg.Snapshots = s.vaults[cfg.ID], store
		cfg.Limits.TrailingEntries, cfg.Limits.CatchUpEntries = 10, 10
	})
	s.cluster = s.real.cluster()
	return s
}

func (s *stored) agree(want int) {
	s.t.Helper()
	var first []string
	for i, m := range s.running() {
		s.barrier(m)
		_, kept := s.vaults[m.id].state()
		if i == 0 {
			first = kept
		}
		if len(kept) != want || !slices.Equal(kept, first) {
			s.t.Fatalf("node %d holds %d commands, want %d", m.id, len(kept), want)
		}
	}
}

func TestSnapshotsOverTCPOnBadger(t *testing.T) {
	t.Parallel()
	s := startStored(t, 3)
	defer s.cluster.stop()
	l := s.leader()
	for range 50 {
		s.propose(l, "before")
	}
	away := s.others(l)[0]
	s.barrier(away)
	away.kill()
	// More than the transport keeps for a peer that is away: that would do without a snapshot.
	large := strings.Repeat(".", 20_000)
	for range 300 {
		s.propose(l, large)
	}
	if err := l.Compact(s.ctx()); err != nil {
		t.Fatal(err)
	}
	if first := l.Status().First; first < 300 {
		t.Fatalf("the log begins at %d", first)
	}
	back := s.real.start(away.id)
	<-back.Ready()
	s.agree(350)
	if _, restored, _ := s.vaults[back.id].counts(); restored != 1 {
		t.Errorf("restored %d times", restored)
	}
	for range 20 {
		s.propose(s.leader(), "after")
	}
	s.agree(370)
	// All restart from what they have: snapshot and log.
	s.cluster.stop()
	for _, m := range s.real.members {
		s.real.start(m.ID)
	}
	s.propose(s.leader(), "again")
	s.agree(371)
	for id, v := range s.vaults {
		if _, restored, _ := v.counts(); restored != 1 && (id == l.id || id == back.id) {
			t.Errorf("node %d was restored %d times", id, restored)
		}
	}
}
