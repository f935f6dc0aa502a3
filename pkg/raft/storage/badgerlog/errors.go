package badgerlog

import (
	"errors"

	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// Why Open refuses a directory, or Append a batch. They come inside a RefusedError.
var (
	ErrInUse        = errors.New("in use by another process")
	ErrNotWritable  = errors.New("can't be written")
	ErrForeign      = ledger.ErrForeign
	ErrNoSidecar    = ledger.ErrNoSidecar
	ErrBadSidecar   = ledger.ErrBadSidecar
	ErrLogLost      = ledger.ErrLogLost
	ErrMismatch     = ledger.ErrMismatch
	ErrVoteConflict = ledger.ErrVoteConflict
	ErrDamaged      = ledger.ErrDamaged
	ErrDiverged     = ledger.ErrDiverged
)

// RefusedError says that a directory is not opened, or not written any more, and what an operator can do.
type RefusedError = ledger.RefusedError

// adviceWritable is for a disk that is mounted read-only, which kernels do of themselves after an error, and for files
// of another user's.
const adviceWritable = "start it again when the directory and what is in it can be written by the user that runs this process;" +
	" if the kernel took the disk for damaged, check it first"
