package badgerlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/pkg/raft"
)

// Identity says whose a data directory is.
type Identity struct {
	ClusterName string
	Member      raft.MemberID
	MemberName  string
	Incarnation raft.Incarnation
}

// ErrNoDirectory says that a directory is not a member's.
var ErrNoDirectory = errors.New("badgerlog: not a member's data directory")

// Identify reads whose directory dir is, without opening or changing anything in it. It may be in use.
func Identify(dir string) (Identity, error) {
	page, err := os.ReadFile(filepath.Join(dir, sidecarName))
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, fmt.Errorf("%w: %s has no file %q", ErrNoDirectory, dir, sidecarName)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("reading the sidecar: %w", err)
	}
	var causes []error
	for i := 0; i < 2 && len(page) >= (i+1)*slotBytes; i++ {
		s, err := parseSlot(page[i*slotBytes : (i+1)*slotBytes])
		if err == nil { // what both slots say of the owner never changes
			return Identity{ClusterName: s.id.clusterName, Member: s.id.member, MemberName: s.id.memberName, Incarnation: s.id.incarnation}, nil
		}
		causes = append(causes, err)
	}
	return Identity{}, refuse(dir, ErrBadSidecar, adviceReplace, "%v", errors.Join(causes...))
}
