package ledger

import (
	"errors"
	"fmt"
	"strings"
)

// Why a directory is refused, or a batch. They come inside a RefusedError.
var (
	ErrForeign      = errors.New("belongs to another member or cluster")
	ErrNoSidecar    = errors.New("the sidecar is missing beside a log")
	ErrBadSidecar   = errors.New("no slot of the sidecar can be read")
	ErrLogLost      = errors.New("the log is empty or missing, but entries were acknowledged from it")
	ErrMismatch     = errors.New("the log and its sidecar were not made together")
	ErrVoteConflict = errors.New("votes for two members in one term")
	ErrDamaged      = errors.New("the log can't be read")
	ErrDiverged     = errors.New("the log differs from what was once acknowledged at the same position")
)

// RefusedError says that a directory is not opened, or not written any more, and what an operator can do.
type RefusedError struct {
	Dir    string
	Cause  error  // one of the errors above
	Detail string // what was found, in one line
	Advice string // what to do
}

func (e *RefusedError) Error() string {
	s := fmt.Sprintf("data directory %s: %v", e.Dir, e.Cause)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Advice != "" {
		s += " (" + e.Advice + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Cause }

// AdviceReplace is what an operator can do about a directory whose content can't be trusted. Starting with an empty directory
// under the old identity is no way out: peers refuse the new incarnation until they are told.
const AdviceReplace = "keep the directory aside and start this member with an empty one after `coordd member replace`;" +
	" where no majority is left, `coordd member recover --accept-loss` on the best copy"

// Refuse makes a RefusedError.
func Refuse(dir string, cause error, advice, format string, args ...any) error {
	lines := strings.FieldsFunc(fmt.Sprintf(format, args...), func(r rune) bool { return r == '\n' || r == '\r' })
	return &RefusedError{Dir: dir, Cause: cause, Detail: strings.Join(lines, "; "), Advice: advice}
}
