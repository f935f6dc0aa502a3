package ledger

import (
	"errors"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
)

// Before anything is opened, and so changed: a log whose sidecar is gone, or whose files are, is not taken for a new one.
func TestWhatIsSeenBeforeOpening(t *testing.T) {
	t.Parallel()
	if err := CheckNew("dir", Files{}); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	if err := CheckNew("dir", Files{Path: "dir/log", All: 1}); !errors.Is(err, ErrNoSidecar) {
		t.Errorf("a log without a sidecar: %v", err)
	}
	acknowledged := raft.Mark{LastTerm: 1, Last: 2}
	for _, c := range []struct {
		files   Files
		mark    raft.Mark
		refused bool
	}{
		{Files{}, raft.Mark{}, false}, // never written
		{Files{Index: true, Data: 3, All: 4}, acknowledged, false},
		{Files{}, acknowledged, true},                // all of it is gone
		{Files{Data: 3, All: 3}, raft.Mark{}, true},  // it would open empty and delete these
		{Files{Data: 3, All: 3}, acknowledged, true}, // so would this
		{Files{All: 1}, raft.Mark{}, false},          // a crash while it was made
	} {
		if err := CheckFiles("dir", "MANIFEST", c.files, c.mark); errors.Is(err, ErrLogLost) != c.refused {
			t.Errorf("%+v beside %+v: %v", c.files, c.mark, err)
		}
	}
}
