package coorddv1

import (
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"
)

// CodeInfo is one row of the code table: what a code means to programs (number, exit code, whether the very
// same request may be sent again) and to people.
type CodeInfo struct {
	Code      string // as in error.code
	Number    int32  // as in error.number and in the header Nats-Service-Error-Code
	Exit      int    // exit code of the coordd command line
	Retryable bool   // the same (session, seq) may be sent again after a little while
	GoName    string // the error of pkg/client that it matches, without the package; a leading * is a type; "": none of its own
	Meaning   string // one sentence: what happened
	Action    string // one sentence: what to do about it
}

// The names of the codes.
const (
	CodeBadRequest       = "BAD_REQUEST"
	CodeBadName          = "BAD_NAME"
	CodeDenied           = "DENIED"
	CodeSessionUnknown   = "SESSION_UNKNOWN"
	CodeSeqNotFound      = "SEQ_NOT_FOUND"
	CodeNotFound         = "NOT_FOUND"
	CodeWaitTimeout      = "WAIT_TIMEOUT"
	CodeDeadlineExceeded = "DEADLINE_EXCEEDED"
	CodeNotHeld          = "NOT_HELD"
	CodeRequestStale     = "REQUEST_STALE"
	CodeRequestReused    = "REQUEST_REUSED"
	CodeLimitMismatch    = "LIMIT_MISMATCH"
	CodeDeadlock         = "DEADLOCK"
	CodeSeqConflict      = "SEQ_CONFLICT"
	CodeSeqBackward      = "SEQ_BACKWARD"
	CodeWrongCluster     = "WRONG_CLUSTER"
	CodeMemberExists     = "MEMBER_EXISTS"
	CodeLastVoter        = "LAST_VOTER"
	CodeChangeInProgress = "CHANGE_IN_PROGRESS"
	CodeSessionExpired   = "SESSION_EXPIRED"
	CodeLeaseLost        = "LEASE_LOST"
	CodeTooLarge         = "TOO_LARGE"
	CodeCountTooLarge    = "COUNT_TOO_LARGE"
	CodeNotLeader        = "NOT_LEADER"
	CodeLocked           = "LOCKED"
	CodeBusy             = "BUSY"
	CodeWindowFull       = "WINDOW_FULL"
	CodeQuota            = "QUOTA"
	CodeInternal         = "INTERNAL"
	CodeOutcomeUnknown   = "OUTCOME_UNKNOWN"
	CodeTimeout          = "TIMEOUT"
	CodeSeqExhausted     = "SEQ_EXHAUSTED"
	CodePoolFull         = "POOL_FULL"
	CodeTimeOverflow     = "TIME_OVERFLOW"
)

// The two headers of an error answer. NATS headers are case-sensitive. The second one holds the number.
const (
	ErrorHeader     = "Nats-Service-Error"
	ErrorCodeHeader = "Nats-Service-Error-Code"
)

// codes is the table, by number and then in the order of the contract.
var codes = []CodeInfo{
	{CodeBadRequest, 400, 1, false, "ErrBadRequest", "The request can't be understood, or one of its values is out of range.", "Correct what the message names and send a new request."},
	{CodeBadName, 400, 1, false, "", "A namespace, lock, sequence or session name in the subject is not allowed.", "Use 1 to 512 bytes of UTF-8 without control characters, and write a name that holds anything but A-Za-z0-9-_/= as ~ and base64url without padding."},
	{CodeDenied, 403, 6, false, "ErrDenied", "The secret is not the session's, or the permission is missing.", "Use the secret that the session was opened with, or ask for the permission."},
	{CodeSessionUnknown, 404, 1, false, "", "No session of this cluster ever had this ID.", "Check the session ID and the cluster, or open a session."},
	{CodeSeqNotFound, 404, 1, false, "", "There is no sequence of this name in the namespace.", "Create it with id.create, or correct the name."},
	{CodeNotFound, 404, 1, false, "", "What the request names does not exist.", "Check the name."},
	{CodeWaitTimeout, 408, 3, false, "ErrWaitTimeout", "The wait for the lock ran out, and the lock is surely not held by this request.", "Try again later, or wait longer."},
	{CodeDeadlineExceeded, 408, 1, false, "", "The request's not_after had passed when it was to be executed, so it was not executed.", "Send a new request with a later not_after, or none."},
	{CodeNotHeld, 409, 1, false, "ErrNotHeld", "The session holds no lock of this name with this fence.", "Take it as done after an unlock of your own; otherwise the lock was lost before."},
	{CodeRequestStale, 409, 1, false, "", "The seq is below what the session has acknowledged, so its answer is no longer kept.", "Count seq upwards, and acknowledge only what was answered."},
	{CodeRequestReused, 409, 1, false, "", "The seq was already used for another command.", "Give each new command a seq of its own; only a repeat carries the same one."},
	{CodeLimitMismatch, 409, 1, false, "", "The semaphore exists with another limit.", "Use the limit that it was made with."},
	{CodeDeadlock, 409, 1, false, "*DeadlockError", "Waiting for this lock would close a cycle of holders that wait for each other.", "Release what is held, and take the locks in one order everywhere."},
	{CodeSeqConflict, 409, 1, false, "", "The sequence exists with other values.", "Use it as it is, or delete it first."},
	{CodeSeqBackward, 409, 1, false, "", "A sequence only moves forward.", "Advance to a number that it has not reached."},
	{CodeWrongCluster, 409, 1, false, "", "The request is meant for another cluster.", "Connect to the cluster that the session was opened at."},
	{CodeMemberExists, 409, 1, false, "", "A member of this name or ID exists already.", "Choose another name, or remove the member first."},
	{CodeLastVoter, 409, 1, false, "", "The last voting member can't be removed.", "Add another voter first."},
	{CodeChangeInProgress, 409, 1, true, "", "A membership change is still under way.", "Wait until it is done and repeat the request."},
	{CodeSessionExpired, 410, 1, false, "ErrSessionExpired", "The session has ended, or was taken over by a resume; the request was not executed now.", "Open another session; whatever the old one held is lost."},
	{CodeLeaseLost, 410, 1, false, "", "The worker's lease has ended or belongs to another one.", "Acquire a worker again."},
	{CodeTooLarge, 413, 1, false, "", "The request or its answer is over a size limit.", "Send less at once: a body has at most 256 KiB, a batch at most 1,024 commands."},
	{CodeCountTooLarge, 413, 1, false, "", "More numbers were asked for than one range of this sequence may hold.", "Ask for at most the sequence's max_range."},
	{CodeNotLeader, 421, 5, true, "ErrNoLeader", "There is no leader at the moment, or this node is not it.", "Wait a little and repeat the same request."},
	{CodeLocked, 423, 3, false, "*LockedError", "The lock is held by somebody else, and the request did not want to wait.", "Try again later, or ask with a wait."},
	{CodeBusy, 429, 1, true, "ErrBusy", "The leader has too much under way; the request was not executed.", "Wait a little and repeat the same request."},
	{CodeWindowFull, 429, 1, true, "ErrBusy", "The session has too many requests without an acknowledged answer.", "Acknowledge answers with ack, then repeat the request."},
	{CodeQuota, 429, 1, false, "ErrQuota", "A quota of the namespace or of the cluster is used up.", "Release or close what is no longer needed, or ask for a larger quota."},
	{CodeInternal, 500, 1, false, "", "Something failed inside coordd.", "Look at the leader's log."},
	{CodeOutcomeUnknown, 504, 1, false, "ErrOutcomeUnknown", "The request may or may not have been executed, and this can't be found out any more.", "Read the present state and go on from there."},
	{CodeTimeout, 504, 5, true, "", "No answer came in time; the request may or may not have been executed.", "Repeat the same (session, seq): it is executed at most once."},
	{CodeSeqExhausted, 507, 1, false, "", "The sequence has no numbers left.", "Create a new sequence with a larger range."},
	{CodePoolFull, 507, 1, false, "", "All workers of the pool are leased.", "Wait until one is released, or use a larger pool."},
	{CodeTimeOverflow, 507, 1, false, "", "The time does not fit into the layout of the ID.", "Choose a layout with more bits for the time."},
}

var codeIndex = func() map[string]int {
	m := make(map[string]int, len(codes))
	for i, c := range codes {
		m[c.Code] = i
	}
	return m
}()

// Codes returns the whole table, ordered by number. The slice is the caller's.
func Codes() []CodeInfo { return slices.Clone(codes) }

// LookupCode returns the row of a code. ok is false for a code that the contract does not have.
func LookupCode(code string) (info CodeInfo, ok bool) {
	i, ok := codeIndex[code]
	if !ok {
		return CodeInfo{}, false
	}
	return codes[i], true
}

// NewError makes the error of a code. A code that the table does not have becomes INTERNAL and is named in
// the message; an empty message becomes the code's meaning. Its details are there, and empty.
func NewError(code, message string) *Error {
	info, ok := LookupCode(code)
	if !ok {
		info, _ = LookupCode(CodeInternal)
		message = "unknown code " + code + ": " + message
	}
	if message == "" {
		message = info.Meaning
	}
	return &Error{Code: info.Code, Number: info.Number, Message: message, Retryable: info.Retryable, Details: &ErrorDetails{ExpiresIn: &durationpb.Duration{}}}
}
