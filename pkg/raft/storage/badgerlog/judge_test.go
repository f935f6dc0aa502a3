package badgerlog

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

func TestForeignDirectories(t *testing.T) {
	t.Parallel()
	opt := made(t, storagetest.Entries(1, 3, 1, 4))
	other := opt
	other.ClusterName = "prod"
	if err := wantRefused(t, other, ErrForeign); !strings.Contains(err.Error(), `"test"`) || !strings.Contains(err.Error(), `"prod"`) {
		t.Errorf("%v: it has to name both clusters", err)
	}
	other = opt
	other.Member, other.MemberName = 2, "b"
	if err := wantRefused(t, other, ErrForeign); !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("%v: it has to name both members", err)
	}
	other = opt
	other.MemberName = "renamed"
	mustOpen(t, other).Close()

	// A log and a sidecar of two directories.
	second := made(t, storagetest.Entries(1, 3, 1, 4))
	if err := copyFile(filepath.Join(second.Dir, sidecarName), filepath.Join(opt.Dir, sidecarName)); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, second, ErrMismatch)
}

func TestTwoVotesInOneTerm(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	if err := l.Append(storage.Batch{HardState: hs(7, 2, 0)}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	sc, slots, err := openSidecar(opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	s := slots.Latest
	s.Number++
	s.Vote = 3
	if err := sc.write(s); err != nil {
		t.Fatal(err)
	}
	sc.close()
	wantRefused(t, opt, ErrVoteConflict)
}
