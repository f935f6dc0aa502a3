package badgerlog

import (
	"errors"

	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// Why Open refuses a directory, or Append a batch. They come inside a RefusedError.
var (
	ErrInUse        = errors.New("in use by another process")
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
