package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/coordd/coordd/pkg/raft/storage"
)

// scratchReserve is the free space that a snapshot which an operator fetches leaves on the disk: more than at which the
// log refuses writes.
const scratchReserve = 4 * reserveBytes

// scratch makes a file without a name in the data directory: its space is given back when it is closed, or the process
// ends.
func (d *Daemon) scratch() (*os.File, error) {
	f, err := os.CreateTemp(d.cfg.DataDir, "save-*.scratch")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// saveSnapshot writes a snapshot as of now for an operator, as long as the disk has room beyond what the log needs. The
// barrier proves that nobody else leads, and has acknowledged more.
func (d *Daemon) saveSnapshot(ctx context.Context, w io.Writer) (index uint64, err error) {
	if _, err := d.node.ReadBarrier(ctx); err != nil {
		return 0, err
	}
	info, err := d.node.SaveSnapshot(ctx, &roomyWriter{w: w, free: func() (uint64, error) { return freeBytes(d.cfg.DataDir) }})
	return info.Meta.Index, err
}

// roomyWriter stops before the disk is full. It looks each few MiB.
type roomyWriter struct {
	w     io.Writer
	free  func() (uint64, error)
	until int // bytes that may be written before the next look
}

const roomyLook = 4 << 20

func (r *roomyWriter) Write(p []byte) (int, error) {
	if r.until -= len(p); r.until <= 0 {
		free, err := r.free()
		if err != nil {
			return 0, err
		}
		if free < scratchReserve+roomyLook {
			return 0, fmt.Errorf("%w: %d MiB are free, and a snapshot leaves %d MiB", storage.ErrNoSpace, free>>20, scratchReserve>>20)
		}
		r.until = roomyLook
	}
	return r.w.Write(p)
}
