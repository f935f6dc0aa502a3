package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// Errors that callers can ask for with errors.Is. Most of them match an *Error that carries the details.
var (
	ErrBadRequest     = errors.New("bad request")
	ErrDenied         = errors.New("permission denied")
	ErrWaitTimeout    = errors.New("wait for the lock ran out") // surely not held
	ErrNotHeld        = errors.New("lock is not held with this fence")
	ErrSessionExpired = errors.New("session has expired")
	ErrNoLeader       = errors.New("no leader can be reached")
	ErrBusy           = errors.New("service is busy")
	ErrQuota          = errors.New("quota is used up")
	ErrTimeout        = errors.New("no answer in time")

	// ErrOutcomeUnknown says that a command may or may not have been executed. It comes together with the
	// error that kept the client from finding out.
	ErrOutcomeUnknown = errors.New("outcome is unknown")

	// ErrLockLost, ErrForced, ErrSessionExpired and ErrReleased are the causes with which a lock's context ends.
	ErrLockLost = errors.New("lock was lost")
	ErrForced   = errors.New("lock was taken away by an operator")
	ErrReleased = errors.New("lock was released")

	// ErrClosed is what a closed client or session answers.
	ErrClosed = errors.New("closed")
)

// Error is an answer of the service that is not a success, or one that the client gives in its place. The
// codes and their meaning are the table in api/coordd/v1 (see coordd errors).
type Error struct {
	Code      string // LOCKED, QUOTA, …
	Number    int    // as in the header Nats-Service-Error-Code
	Message   string // a sentence for people
	Retryable bool   // the same call may succeed a little later
	Leader    string // name of the leader, where the answering node knows it
}

// Error returns the message and the code.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Message + " (" + e.Code + ")"
}

// sentinels are the errors that the code table names.
var sentinels = map[string]error{
	"ErrBadRequest": ErrBadRequest, "ErrDenied": ErrDenied, "ErrWaitTimeout": ErrWaitTimeout, "ErrNotHeld": ErrNotHeld,
	"ErrSessionExpired": ErrSessionExpired, "ErrNoLeader": ErrNoLeader, "ErrBusy": ErrBusy, "ErrQuota": ErrQuota,
	"ErrOutcomeUnknown": ErrOutcomeUnknown,
}

// Is reports whether target is the sentinel error of the code.
func (e *Error) Is(target error) bool {
	if e.Code == coorddv1.CodeTimeout {
		return target == ErrTimeout
	}
	info, ok := coorddv1.LookupCode(e.Code)
	return ok && info.GoName != "" && sentinels[info.GoName] == target
}

// LockedError says that a lock is held by somebody else and that the call did not want to wait. It is found
// with errors.As, as is the *Error inside it.
type LockedError struct {
	Name      string        // of the lock
	Holder    string        // owner of the holder's session
	Fence     uint64        // of the hold
	Queue     int           // how many wait
	ExpiresIn time.Duration // until the holder's session ends unless it is renewed; 0: not told
	noun      string        // what it is, if not a lock
	err       *Error
}

// Error says which lock is held by whom.
func (e *LockedError) Error() string {
	var b strings.Builder
	switch {
	case e.noun == "semaphore" && e.err != nil:
		return fmt.Sprintf("semaphore %q: %s", e.Name, e.err.Message)
	case e.Name != "":
		fmt.Fprintf(&b, "lock %q is held", e.Name)
	case e.err != nil && e.err.Message != "": // one of several
		return e.err.Message
	default:
		b.WriteString("a lock is held")
	}
	if e.Holder != "" {
		fmt.Fprintf(&b, " by %s", e.Holder)
	}
	fmt.Fprintf(&b, " (fence %d", e.Fence)
	if e.ExpiresIn > 0 {
		fmt.Fprintf(&b, ", %.1f s left", e.ExpiresIn.Seconds())
	}
	if e.Queue > 0 {
		fmt.Fprintf(&b, ", %d waiting", e.Queue)
	}
	return b.String() + ")"
}

// Unwrap returns the *Error that the service answered.
func (e *LockedError) Unwrap() error { return e.err }

// DeadlockError says that a wait was refused because it would never have ended: each one in the cycle holds what the one
// before it waits for. It is found with errors.As, as is the *Error inside it. Only what is declared is seen: locks taken
// with a context that comes from another lock's Context, or from Do.
type DeadlockError struct {
	Name  string   // what was asked for
	Cycle []string // a line for each wait, from this call's on
	err   *Error
}

// Error says who waits for whom.
func (e *DeadlockError) Error() string {
	return fmt.Sprintf("waiting for %q would be a deadlock: %s", e.Name, strings.Join(e.Cycle, ", "))
}

// Unwrap returns the *Error that the service answered.
func (e *DeadlockError) Unwrap() error { return e.err }

// errorOf turns the contract's error into the package's. name is what the request was about.
func errorOf(e *coorddv1.Error, name string) error {
	err := &Error{Code: e.GetCode(), Number: int(e.GetNumber()), Message: e.GetMessage(), Retryable: e.GetRetryable(), Leader: e.GetLeader()}
	d := e.GetDetails()
	switch err.Code {
	case coorddv1.CodeDeadlock:
		return &DeadlockError{Name: name, Cycle: d.GetCycle(), err: err}
	case coorddv1.CodeLocked:
		return &LockedError{Name: name, Holder: d.GetHolder(), Fence: d.GetFence(), Queue: int(d.GetQueue()), ExpiresIn: d.GetExpiresIn().AsDuration(), err: err}
	}
	return err
}

// localError makes an error of the code table without a question to the service.
func localError(code, format string, args ...any) *Error {
	e := coorddv1.NewError(code, fmt.Sprintf(format, args...))
	return &Error{Code: e.Code, Number: int(e.Number), Message: e.Message, Retryable: e.Retryable}
}

// codeOf returns the code of an answer of the service, "" for another error.
func codeOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// isUnknown says whether a command may have been executed.
func isUnknown(err error) bool { return errors.Is(err, ErrOutcomeUnknown) }

// sessionGone says whether the service says that the session has ended (or never was).
func sessionGone(err error) bool {
	switch codeOf(err) {
	case coorddv1.CodeSessionExpired, coorddv1.CodeSessionUnknown:
		return true
	}
	return false
}
