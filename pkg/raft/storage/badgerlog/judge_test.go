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
	sc, _, err := openSidecar(opt.Dir, func(int, error) {})
	if err != nil {
		t.Fatal(err)
	}
	s := sc.slot
	s.vote = 3
	if err := sc.put(s); err != nil {
		t.Fatal(err)
	}
	sc.close()
	wantRefused(t, opt, ErrVoteConflict)
}

func TestCombine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   []ballot
		want ballot
		fail bool
	}{
		{in: []ballot{{0, 0}, {0, 0}}},
		{in: []ballot{{3, 1}, {2, 2}}, want: ballot{3, 1}},
		{in: []ballot{{2, 1}, {3, 0}}, want: ballot{3, 0}},
		{in: []ballot{{3, 0}, {3, 2}}, want: ballot{3, 2}},
		{in: []ballot{{3, 2}, {3, 0}}, want: ballot{3, 2}},
		{in: []ballot{{3, 2}, {3, 2}, {2, 1}}, want: ballot{3, 2}},
		{in: []ballot{{3, 2}, {3, 1}}, fail: true},
		{in: []ballot{{4, 2}, {3, 1}, {3, 2}}, fail: true},
	} {
		got, err := combine(c.in...)
		if (err != nil) != c.fail || !c.fail && got != c.want {
			t.Errorf("%v: %v, %v", c.in, got, err)
		}
	}
}
