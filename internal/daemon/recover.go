package daemon

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/badgerlog"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
)

// RecoverOptions say what RecoverMember does. DataDir and AcceptLoss are needed.
type RecoverOptions struct {
	DataDir    string
	AcceptLoss bool
	Address    string // where later members reach it; default: as before
	Domain     uint16 // ID domain of the new cluster; 0: drawn at random
}

// ErrLossNotAccepted says that nothing was done, because the caller did not accept what it may cost.
var ErrLossNotAccepted = errors.New("what only the other members have would be lost; say --accept-loss if they are gone for good")

// The files of an unfinished recovery. With ready there, the new directory is whole and only moves are left; with
// cleared there, nothing of the old one is in its place any more.
const (
	recoverMade    = "made"
	recoverReady   = "ready"
	recoverCleared = "cleared"
)

// RecoverMember turns the directory of a stopped member into that of a new cluster's first member: everything that is
// in its snapshot and its log stays, whether or not it was committed, because it may have been. The rest is as after
// a restore. What the directory held is kept inside it. Interrupted, it goes on when it is called again.
func RecoverMember(ctx context.Context, o RecoverOptions) (*Rebirth, error) {
	if !o.AcceptLoss {
		return nil, ErrLossNotAccepted
	}
	if o.Address != "" {
		if err := checkAddress(o.Address, false); err != nil {
			return nil, bad("peer-advertise", "%w", err)
		}
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, err
	}
	work := filepath.Join(dir, unfinishedRecover)
	r, err := recoveryUnderWay(work)
	if err != nil {
		return nil, err
	}
	if r == nil {
		if r, err = beginRecovery(ctx, o, dir, work); err != nil {
			return nil, errors.Join(err, os.RemoveAll(work))
		}
	}
	return r, endRecovery(r, work)
}

// recoveryUnderWay returns what an interrupted recovery had made, nil if there was none that got so far.
func recoveryUnderWay(work string) (*Rebirth, error) {
	b, err := os.ReadFile(filepath.Join(work, recoverReady))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, os.RemoveAll(work)
	}
	if err != nil {
		return nil, err
	}
	r := &Rebirth{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(work, recoverReady), err)
	}
	return r, nil
}

// beginRecovery makes the new directory beside the old one, of which it changes nothing.
func beginRecovery(ctx context.Context, o RecoverOptions, dir, work string) (*Rebirth, error) {
	s, err := readMember(dir)
	if err != nil {
		return nil, err
	}
	if o.Address != "" {
		s.member.Address = o.Address
	}
	orDefault(&s.member.Address, DefaultPeerListen)
	for s.domain = o.Domain; s.domain == 0 || o.Domain == 0 && s.domain == s.machine.Live().Domain(); {
		s.domain = drawDomain()
	}
	r, err := s.grow(ctx, filepath.Join(work, recoverMade))
	if err != nil {
		return nil, err
	}
	r.DataDir, r.Backup = dir, filepath.Join(dir, backupPrefix+time.Now().UTC().Format("20060102T150405Z"))
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return r, writeDurably(filepath.Join(work, recoverReady), b)
}

func drawDomain() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return binary.BigEndian.Uint16(b[:])%32767 + 1
}

// endRecovery moves the old directory's files away and the new one's in. Each step can be made again.
func endRecovery(r *Rebirth, work string) error {
	if _, err := os.Lstat(filepath.Join(work, recoverCleared)); errors.Is(err, fs.ErrNotExist) {
		if err := os.Mkdir(r.Backup, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := moveOut(r.DataDir, r.Backup); err != nil {
			return err
		}
		if err := writeDurably(filepath.Join(work, recoverCleared), nil); err != nil {
			return err
		}
	}
	if err := moveIn(filepath.Join(work, recoverMade), r.DataDir); err != nil {
		return err
	}
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	return syncDir(r.DataDir)
}

func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	return err
}

// readMember reads everything that a member's directory has.
func readMember(dir string) (*seed, error) {
	id, err := badgerlog.Identify(dir)
	if err != nil {
		return nil, err
	}
	log, err := badgerlog.Open(badgerlog.Options{Dir: dir, ClusterName: id.ClusterName, Member: id.Member, MemberName: id.MemberName})
	if err != nil {
		return nil, err
	}
	defer log.Close()
	st := log.State()
	if st.Last == 0 {
		return nil, fmt.Errorf("%s holds nothing: its log is empty", dir)
	}
	s := &seed{cluster: id.ClusterName, member: raft.Member{ID: id.Member, Name: id.MemberName}, machine: machine.New()}
	if err := s.readSnapshot(filepath.Join(dir, snapshotsDir), st.Base.Last); err != nil {
		return nil, err
	}
	if err := s.replay(log, st.Last); err != nil {
		return nil, err
	}
	position := s.meta.Mark() // where a snapshot was installed and the log had no time to follow
	if st.Last > position.Last {
		if position, err = log.Position(st.Last); err != nil {
			return nil, err
		}
	}
	v := s.machine.Live()
	s.meta = raft.SnapshotMeta{Index: v.Index(), Term: position.LastTerm, Time: v.Now(), Hash: position.Hash, Config: s.meta.Config}
	if me := memberOf(&s.meta.Config, id.Member); me != nil {
		s.member.Address, s.member.Metadata = me.Address, me.Metadata
	}
	return s, log.Close()
}

// readSnapshot restores the newest snapshot, which has to reach the log's base.
func (s *seed) readSnapshot(dir string, base uint64) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) && base == 0 {
		return nil
	}
	snaps, err := snapstore.Open(snapstore.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer snaps.Close()
	list := snaps.List()
	if len(list) == 0 || list[0].Meta.Index < base {
		if base == 0 {
			return nil
		}
		return fmt.Errorf("the log begins behind entry %d, and no snapshot in %s has what was before it", base, dir)
	}
	r, err := snaps.Open(list[0].Meta.Index, list[0].Meta.Term)
	if err != nil {
		return err
	}
	defer r.Close()
	if s.machine, err = restoreMachine(r); err != nil {
		return fmt.Errorf("snapshot at entry %d: %w", list[0].Meta.Index, err)
	}
	s.meta = r.Info().Meta
	return nil
}

// replay applies the log behind the state that is there.
func (s *seed) replay(log storage.Log, last uint64) error {
	const chunk = 4 << 20
	for next := s.machine.Live().Index() + 1; next <= last; {
		entries, err := log.Entries(next, last+1, chunk)
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		for i := range entries {
			e := &entries[i]
			r := s.machine.Apply(machine.Entry{Index: e.Index, Term: e.Term, Time: e.Time, Wall: e.Wall, Command: e.Kind == raft.EntryCommand, Data: e.Data})
			if r.Err != nil {
				return fmt.Errorf("entry %d: %w", e.Index, r.Err)
			}
			if e.Kind != raft.EntryConfig {
				continue
			}
			if s.meta.Config, err = raft.DecodeConfiguration(e.Data); err != nil {
				return fmt.Errorf("entry %d: %w", e.Index, err)
			}
		}
		next += uint64(len(entries))
	}
	return nil
}
