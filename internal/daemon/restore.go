package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coordd/coordd/pkg/raft"
)

// RestoreOptions say what RestoreSnapshot makes of which file. File, DataDir, Name and Domain are needed.
type RestoreOptions struct {
	File    string
	DataDir string // empty or absent
	Name    string
	Cluster string // default "coordd"
	Address string // where later members reach it; default DefaultPeerListen
	Domain  uint16 // ID domain of the new cluster; not the one of the file
}

func (o *RestoreOptions) complete() error {
	orDefault(&o.Cluster, "coordd")
	orDefault(&o.Address, DefaultPeerListen)
	switch {
	case !memberName.MatchString(o.Name):
		return bad("name", "%q is not a member's name (1 to 64 of A-Z a-z 0-9 _ -)", o.Name)
	case !memberName.MatchString(o.Cluster):
		return bad("cluster", "%q is not a cluster's name (1 to 64 of A-Z a-z 0-9 _ -)", o.Cluster)
	}
	if err := checkAddress(o.Address, false); err != nil {
		return bad("peer-advertise", "%w", err)
	}
	return nil
}

// RestoreSnapshot makes the data directory of a new cluster's first member from a snapshot file. It refuses a
// directory that holds anything, the domain that the file has already, and a file that is not whole; what it began and
// could not end it takes away.
func RestoreSnapshot(ctx context.Context, o RestoreOptions) (*Rebirth, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	made, err := emptyDir(o.DataDir)
	if err != nil {
		return nil, err
	}
	info, m, err := readSnapshot(o.File)
	if err != nil {
		return nil, err
	}
	s := &seed{cluster: o.Cluster, member: raft.Member{ID: memberID(o.Cluster, o.Name), Name: o.Name, Address: o.Address},
		domain: o.Domain, meta: info.Meta, machine: m}
	work := filepath.Join(o.DataDir, unfinishedRestore)
	r, err := s.grow(ctx, work)
	if err == nil {
		err = moveIn(work, o.DataDir)
	}
	if err == nil {
		err = os.Remove(work)
	}
	if err != nil {
		undo := o.DataDir
		if !made {
			undo = work
		}
		return nil, errors.Join(err, os.RemoveAll(undo))
	}
	if r.DataDir, err = filepath.Abs(o.DataDir); err != nil {
		return nil, err
	}
	return r, syncDir(o.DataDir)
}

// emptyDir refuses a directory that holds anything, and says whether there is none yet.
func emptyDir(dir string) (absent bool, err error) {
	found, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, bad("data-dir", "%w", err)
	case len(found) > 0:
		return false, &ConfigError{Setting: "data-dir", Err: fmt.Errorf("%s is not empty (%s is in it): a restore makes a new directory and changes none", dir, found[0].Name())}
	}
	return false, nil
}
