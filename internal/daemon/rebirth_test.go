package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/badgerlog"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
)

// oldEntries are the log of a cluster that has two members, a lock that is held, and a sequence of which ten numbers
// are gone. Domain 7.
func oldEntries(t *testing.T) (es []raft.Entry, secret []byte) {
	t.Helper()
	secret = []byte("0123456789abcdef")
	sum := sha256.Sum256(secret)
	var hash machine.SecretHash
	copy(hash[:], sum[:])
	config := raft.Configuration{ClusterID: raft.ClusterID{1, 2, 3}, Members: []raft.Member{
		{ID: memberID("c", "n1"), Name: "n1", Address: "127.0.0.1:7001", Incarnation: raft.Incarnation{1}, Metadata: map[string]string{"zone": "a"}},
		{ID: memberID("c", "n2"), Name: "n2", Address: "127.0.0.1:7002", Incarnation: raft.Incarnation{2}}}}
	if config.Members[0].ID > config.Members[1].ID {
		config.Members[0], config.Members[1] = config.Members[1], config.Members[0]
	}
	add := func(kind raft.EntryKind, data []byte) {
		es = append(es, raft.Entry{Index: uint64(len(es) + 1), Term: 3, Time: int64(len(es)+1) * int64(time.Second), Wall: 1e18, Kind: kind, Data: data})
	}
	commands := func(cs ...machine.Command) {
		data, err := machine.EncodeCommands(cs)
		if err != nil {
			t.Fatal(err)
		}
		add(raft.EntryCommand, data)
	}
	own := func(c machine.Command) machine.Command {
		c.Namespace, c.Session, c.Secret, c.Ack = "default", 1, hash, 1
		return c
	}
	add(raft.EntryConfig, config.Encode())
	commands(machine.Command{Kind: machine.KindInit, Init: &machine.Init{Domain: 7}}, machine.Command{Kind: machine.KindServing, Serving: &machine.Serving{}},
		machine.Command{Kind: machine.KindSessionOpen, Namespace: "default", Secret: hash, Open: &machine.Open{TTL: int64(time.Hour)}})
	commands(own(machine.Command{Kind: machine.KindLockAcquire, Name: "l", Seq: 1, Acquire: &machine.Acquire{Mode: machine.Exclusive}}))
	commands(own(machine.Command{Kind: machine.KindSeqCreate, Name: "s", Seq: 2, Create: &machine.SeqCreate{}}),
		own(machine.Command{Kind: machine.KindSeqAlloc, Name: "s", Seq: 3, Alloc: &machine.SeqAlloc{Count: 10}}))
	return es, secret
}

// oldMachine is the state after the first n of the entries.
func oldMachine(t *testing.T, es []raft.Entry, n int) *machine.Machine {
	t.Helper()
	m := machine.New()
	for _, e := range es[:n] {
		if r := m.Apply(machine.Entry{Index: e.Index, Term: e.Term, Time: e.Time, Wall: e.Wall, Command: e.Kind == raft.EntryCommand, Data: e.Data}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	return m
}

func metaOf(t *testing.T, es []raft.Entry, n int) raft.SnapshotMeta {
	t.Helper()
	config, err := raft.DecodeConfiguration(es[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	e := es[n-1]
	return raft.SnapshotMeta{Index: e.Index, Term: e.Term, Time: e.Time, Hash: [16]byte{9}, ConfigIndex: 1, Config: config}
}

// oldSnapshot writes a snapshot of the whole log to a file.
func oldSnapshot(t *testing.T) string {
	t.Helper()
	es, _ := oldEntries(t)
	path := filepath.Join(t.TempDir(), "old.snap")
	w, err := snapstore.CreateFile(path, metaOf(t, es, len(es)))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := oldMachine(t, es, len(es)).View().Save(w); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return path
}

// tree lists the files below a directory with their sizes, to see that nothing was changed.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out = append(out, fmt.Sprintf("%s %x", path, sha256.Sum256(b)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

// serves starts a node and checks that it is what it should be.
func (r *Rebirth) serves(t *testing.T) *running {
	t.Helper()
	d := r.start(t)
	st := status(t, "nats://"+d.d.cfg.NATSListen, r.Name)
	if c := st.GetCluster(); c.GetId() != r.ClusterID || c.GetDomain() != uint32(r.Domain) || c.GetFence() != r.Fence || st.GetTerm() <= r.Term ||
		fmt.Sprint(st.GetActive()) != "["+r.Name+"]" {
		t.Errorf("made %+v, it serves %v in term %d, active %v", r, c, st.GetTerm(), st.GetActive())
	}
	return d
}

// ask sends a JSON request and returns the answer.
func ask(t *testing.T, d *running, subject, body string) string {
	t.Helper()
	nc, err := nats.Connect("nats://" + d.d.cfg.NATSListen)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	msg, err := nc.Request(subject, []byte(body), askLimit)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	return string(msg.Data)
}

// One file is restored twice: both serve, keep what was held, and give out nothing that the other one or the old
// cluster gave.
func TestABackupRestoredTwiceServesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	file := oldSnapshot(t)
	s, err := InspectSnapshot(file)
	if err != nil {
		t.Fatal(err)
	}
	if s.Index != 4 || s.Term != 3 || s.Domain != 7 || s.Fence != 1 || s.Sessions != 1 || s.Locks != 1 || s.Sequences != 1 || len(s.Members) != 2 ||
		s.ClusterID != (raft.ClusterID{1, 2, 3}).String() || s.Wall != "2001-09-09T01:46:40Z" {
		t.Errorf("summary %+v", s)
	}
	before := tree(t, filepath.Dir(file))
	seen := map[string]bool{}
	for i, name := range []string{"n1", "n9"} {
		r, err := RestoreSnapshot(t.Context(), RestoreOptions{File: file, DataDir: filepath.Join(t.TempDir(), "data"), Name: name, Cluster: "c", Domain: uint16(8 + i)})
		if err != nil {
			t.Fatal(err)
		}
		if r.Index != 4 || r.Fence < 1<<20 || r.Domain != uint16(8+i) {
			t.Errorf("restored %+v", r)
		}
		d := r.serves(t)
		held := ask(t, d, "coord.v1.default.lock.get.l", "{}")
		if !strings.Contains(held, `"state":"HELD"`) || !strings.Contains(held, `"fence":"1"`) {
			t.Errorf("the lock: %s", held)
		}
		ids := ask(t, d, "coord.v1.default.id.alloc.s", "{}")
		if !strings.Contains(ids, `"lo":"11"`) || !strings.Contains(ids, fmt.Sprintf(`"domain":%d`, r.Domain)) {
			t.Errorf("the next number: %s", ids)
		}
		for _, x := range []string{r.ClusterID, fmt.Sprint(r.Fence), fmt.Sprint(r.Domain)} {
			if seen[x] {
				t.Errorf("%s comes twice", x)
			}
			seen[x] = true
		}
		d.cancel()
		if err := d.end(); err != nil {
			t.Error(err)
		}
		if again := r.start(t); again.d.node.Status().ClusterID.String() != r.ClusterID {
			t.Error("another cluster after a restart")
		}
	}
	if tree(t, filepath.Dir(file)) != before {
		t.Error("the file was changed")
	}
}

// start runs a node on a directory that was restored or recovered, and waits until it is ready.
func (r *Rebirth) start(t *testing.T) *running {
	t.Helper()
	cfg := testConfig(t, r.Name)
	cfg.DataDir, cfg.Cluster = r.DataDir, r.Cluster
	d := run(t, cfg)
	d.waitReady()
	return d
}

func TestARestoreIsRefusedAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	file := oldSnapshot(t)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(change func(b []byte) []byte) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "bad.snap")
		if err := os.WriteFile(path, change(append([]byte(nil), good...)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "notes"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    RestoreOptions
		want error
		text string
	}{
		"a directory with something in it": {RestoreOptions{DataDir: full}, nil, "is not empty (notes is in it)"},
		"the same domain":                  {RestoreOptions{Domain: 7}, machine.ErrSameDomain, "--domain"},
		"no domain":                        {RestoreOptions{Domain: 1 << 15}, machine.ErrBadDomain, "--domain"},
		"a name that is none":              {RestoreOptions{Name: "n 1"}, nil, "--name"},
		"an address that is none":          {RestoreOptions{Address: "here"}, nil, "--peer-advertise"},
		"no file":                          {RestoreOptions{File: file + "x"}, fs.ErrNotExist, "no such file"},
		"a file that is cut":               {RestoreOptions{File: damaged(func(b []byte) []byte { return b[:len(b)-7] })}, storage.ErrSnapshotDamaged, ""},
		"a file with a flipped bit": {RestoreOptions{File: damaged(func(b []byte) []byte { b[len(b)/2] ^= 4; return b })},
			storage.ErrSnapshotDamaged, ""},
		"a file with more behind it": {RestoreOptions{File: damaged(func(b []byte) []byte { return append(b, 0) })}, storage.ErrSnapshotDamaged, ""},
		"an empty file":              {RestoreOptions{File: damaged(func([]byte) []byte { return nil })}, storage.ErrSnapshotDamaged, ""},
		"something else":             {RestoreOptions{File: damaged(func([]byte) []byte { return []byte(strings.Repeat("text ", 100)) })}, storage.ErrSnapshotDamaged, ""},
		"a file of another version":  {RestoreOptions{File: damaged(func(b []byte) []byte { b[9]++; return b })}, storage.ErrSnapshotVersion, ""},
		"a file that is a directory": {RestoreOptions{File: full}, nil, full},
		"a data directory in a file": {RestoreOptions{DataDir: filepath.Join(file, "data")}, nil, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := c.o
			parent := t.TempDir()
			orDefault(&o.File, file)
			orDefault(&o.DataDir, filepath.Join(parent, "data"))
			orDefault(&o.Name, "n1")
			orDefault(&o.Domain, 8)
			before := tree(t, full)
			_, err := RestoreSnapshot(t.Context(), o)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.text)
			}
			if err != nil && (strings.Count(err.Error(), o.File) > 1 || c.want != nil && strings.Count(err.Error(), c.want.Error()) > 1 || strings.Contains(err.Error(), "\n")) {
				t.Errorf("something is said twice, or in two lines: %v", err)
			}
			if left := tree(t, parent); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
			if tree(t, full) != before {
				t.Error("a directory that was refused was changed")
			}
		})
	}
	// Ended in the middle, it takes away what it made and leaves an empty directory of the caller's.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	empty := t.TempDir()
	if _, err := RestoreSnapshot(ctx, RestoreOptions{File: file, DataDir: empty, Name: "n1", Domain: 8}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if list, err := os.ReadDir(empty); err != nil || len(list) > 0 {
		t.Errorf("left behind: %v %v", list, err)
	}
}

// member makes the directory of a stopped member: a snapshot of the first entries, if any, and the log behind it.
func member(t *testing.T, inSnapshot int) string {
	t.Helper()
	es, _ := oldEntries(t)
	dir := filepath.Join(t.TempDir(), "n1")
	log, err := badgerlog.Open(badgerlog.Options{Dir: dir, ClusterName: "c", Member: memberID("c", "n1"), MemberName: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	batch := storage.Batch{HardState: raft.HardState{Term: 3, Commit: uint64(inSnapshot)}, TruncateAfter: uint64(inSnapshot), Entries: es[inSnapshot:]}
	if inSnapshot > 0 {
		snaps, err := snapstore.Open(snapstore.Options{Dir: filepath.Join(dir, snapshotsDir)})
		if err != nil {
			t.Fatal(err)
		}
		meta := metaOf(t, es, inSnapshot)
		w, err := snaps.Create(meta)
		if err != nil {
			t.Fatal(err)
		}
		if err := oldMachine(t, es, inSnapshot).View().Save(w); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := snaps.Close(); err != nil {
			t.Fatal(err)
		}
		mark := meta.Mark()
		batch.Base, batch.ClusterID = &mark, meta.Config.ClusterID
	}
	if err := log.Append(batch); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A member that is left alone goes on with all that it has, committed or not, from log and snapshot alike.
func TestRecoverGoesOnAloneWithEverything(t *testing.T) {
	t.Parallel()
	for _, inSnapshot := range []int{0, 2, 4} {
		t.Run(fmt.Sprint(inSnapshot, " entries in the snapshot"), func(t *testing.T) {
			t.Parallel()
			dir := member(t, inSnapshot)
			if _, err := RecoverMember(t.Context(), RecoverOptions{DataDir: dir}); !errors.Is(err, ErrLossNotAccepted) {
				t.Fatalf("without consent: %v", err)
			}
			r, err := RecoverMember(t.Context(), RecoverOptions{DataDir: dir, AcceptLoss: true})
			if err != nil {
				t.Fatal(err)
			}
			if r.Index != 4 || r.Term != 3 || r.Name != "n1" || r.Cluster != "c" || r.Address != "127.0.0.1:7001" || r.Domain == 7 || r.Domain == 0 || r.Fence < 1<<20 {
				t.Errorf("recovered %+v", r)
			}
			if _, err := os.Stat(filepath.Join(r.Backup, sidecarFile)); err != nil {
				t.Errorf("the backup: %v", err)
			}
			d := r.serves(t)
			if held := ask(t, d, "coord.v1.default.lock.get.l", "{}"); !strings.Contains(held, `"fence":"1"`) {
				t.Errorf("the lock: %s", held)
			}
			if ids := ask(t, d, "coord.v1.default.id.alloc.s", "{}"); !strings.Contains(ids, `"lo":"11"`) {
				t.Errorf("the next number: %s", ids)
			}
		})
	}
}

// A crash at any move leaves a directory that no node starts on, and that the next call brings to its end.
func TestAnInterruptedRecoveryIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"before anything moved", "half of the old moved out", "all of the old moved out", "half of the new moved in"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			dir := member(t, 2)
			work := filepath.Join(dir, unfinishedRecover)
			first, err := beginRecovery(t.Context(), RecoverOptions{AcceptLoss: true}, dir, work)
			if err != nil {
				t.Fatal(err)
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			if at != "before anything moved" {
				must(os.Mkdir(first.Backup, 0o700))
				must(os.Rename(filepath.Join(dir, sidecarFile), filepath.Join(first.Backup, sidecarFile)))
			}
			if strings.HasPrefix(at, "all") || strings.HasSuffix(at, "moved in") {
				must(moveOut(dir, first.Backup))
				must(writeDurably(filepath.Join(work, recoverCleared), nil))
			}
			if strings.HasSuffix(at, "moved in") {
				must(os.Rename(filepath.Join(work, recoverMade, "badger"), filepath.Join(dir, "badger")))
			}
			cfg := testConfig(t, "n1")
			cfg.DataDir, cfg.Cluster = dir, "c"
			must(cfg.Complete())
			var refused *ConfigError
			if err := New(cfg, &lines{}).Run(t.Context()); !errors.As(err, &refused) || !strings.Contains(err.Error(), "run it again") {
				t.Fatalf("a node on half a recovery: %v", err)
			}
			r, err := RecoverMember(t.Context(), RecoverOptions{DataDir: dir, AcceptLoss: true})
			if err != nil {
				t.Fatal(err)
			}
			if *r != *first {
				t.Errorf("begun %+v, ended %+v", first, r)
			}
			r.serves(t)
		})
	}
}

func TestRecoverRefusesWhatIsNoMembers(t *testing.T) {
	t.Parallel()
	try := func(dir string) error {
		t.Helper()
		before := tree(t, dir)
		_, err := RecoverMember(t.Context(), RecoverOptions{DataDir: dir, AcceptLoss: true})
		if after := tree(t, dir); after != before {
			t.Errorf("changed:\n%s\n\n%s", before, after)
		}
		return err
	}
	if err := try(t.TempDir()); !errors.Is(err, badgerlog.ErrNoDirectory) {
		t.Errorf("an empty directory: %v", err)
	}
	dir := member(t, 0)
	if _, err := RecoverMember(t.Context(), RecoverOptions{DataDir: dir, AcceptLoss: true, Domain: 7}); !errors.Is(err, machine.ErrSameDomain) {
		t.Errorf("the same domain: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, unfinishedRecover)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	log, err := badgerlog.Open(badgerlog.Options{Dir: dir, ClusterName: "c", Member: memberID("c", "n1"), MemberName: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := RecoverMember(t.Context(), RecoverOptions{DataDir: dir, AcceptLoss: true}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a directory in use: %v", err)
	}
	cut := member(t, 2)
	if err := os.RemoveAll(filepath.Join(cut, snapshotsDir)); err != nil {
		t.Fatal(err)
	}
	if _, err := RecoverMember(t.Context(), RecoverOptions{DataDir: cut, AcceptLoss: true}); err == nil || !strings.Contains(err.Error(), "begins behind entry 2") {
		t.Errorf("a log without its snapshot: %v", err)
	}
}
