package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The exit codes of every command.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitConflict    = 3 // lock not obtained
	exitLost        = 4 // lock lost while the command ran
	exitUnreachable = 5 // no leader, or nobody there
	exitDenied      = 6
)

// failure is an error that knows how the process ends and how it looks as JSON.
type failure struct {
	exit    int
	code    string // of the contract's table
	message string // overrides err's text where set
	body    *errorBody
	err     error
}

func (f *failure) Error() string {
	if f.message != "" {
		return f.message
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// errorBody is the error object of the contract.
type errorBody struct {
	Code      string          `json:"code"`
	Number    int             `json:"number"`
	Message   string          `json:"message"`
	Retryable bool            `json:"retryable"`
	Leader    string          `json:"leader"`
	Details   json.RawMessage `json:"details"`
}

// usagef is a mistake in how the command was called: exit code 2.
func usagef(format string, args ...any) error {
	return &failure{exit: exitUsage, code: "BAD_REQUEST", err: fmt.Errorf(format, args...)}
}

// unreachablef says that nobody who could answer is there: exit code 5.
func unreachablef(format string, args ...any) error {
	return &failure{exit: exitUnreachable, code: "TIMEOUT", err: fmt.Errorf(format, args...)}
}

// exitStatus ends the process with a code and says nothing: the command under `lock run` has spoken.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// exitCode returns how the process ends after err.
func exitCode(err error) int {
	var status exitStatus
	var f *failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &f):
		return f.exit
	case errors.Is(err, context.DeadlineExceeded):
		return exitUnreachable
	}
	return exitError
}

// report writes err to w as the output format asks.
func report(w io.Writer, format outputFormat, err error) {
	var status exitStatus
	if err == nil || errors.As(err, &status) {
		return
	}
	if format == outputText {
		fmt.Fprintln(w, "coordd: "+strings.TrimRight(err.Error(), "\n"))
		return
	}
	b, mErr := json.Marshal(map[string]errorBody{"error": bodyOf(err)})
	if mErr != nil { // cannot happen: plain fields
		fmt.Fprintln(w, "coordd: "+err.Error())
		return
	}
	_ = writeDocument(w, format, b) // stderr is gone: nobody is left to tell
}

// noDetails is what an error has that knows none: everything is there, and empty.
var noDetails = json.RawMessage(`{"holder":"","fence":"0","queue":"0","expires_in":"0s","cycle":[]}`)

// bodyOf returns the contract's error object for err.
func bodyOf(err error) errorBody {
	b := errorBody{Code: "INTERNAL", Message: err.Error(), Details: noDetails}
	var f *failure
	if errors.As(err, &f) {
		if f.body != nil {
			b = *f.body
			b.Message = strings.TrimSuffix(err.Error(), codeSuffix(b.Code)) // it stands beside it
			if len(b.Details) == 0 {
				b.Details = noDetails
			}
			return b
		}
		if f.code != "" {
			b.Code = f.code
		}
	} else if errors.Is(err, context.DeadlineExceeded) {
		b.Code = "TIMEOUT"
	}
	b.Number, b.Retryable = codeProperties(b.Code)
	return b
}
