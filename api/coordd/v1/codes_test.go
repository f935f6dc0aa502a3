package coorddv1

import (
	"slices"
	"strings"
	"testing"
)

// The contract's table, written down a second time in the form in which contract.md has it, so that a change of
// either one shows.
const contractCodes = `
BAD_REQUEST 400·1·ErrBadRequest
BAD_NAME 400·1
DENIED 403·6·ErrDenied
SESSION_UNKNOWN 404·1
SEQ_NOT_FOUND 404·1
NOT_FOUND 404·1
WAIT_TIMEOUT 408·3·ErrWaitTimeout
DEADLINE_EXCEEDED 408·1
NOT_HELD 409·1·ErrNotHeld
REQUEST_STALE 409·1
REQUEST_REUSED 409·1
LIMIT_MISMATCH 409·1
DEADLOCK 409·1·*DeadlockError
SEQ_CONFLICT 409·1
SEQ_BACKWARD 409·1
WRONG_CLUSTER 409·1
MEMBER_EXISTS 409·1
LAST_VOTER 409·1
CHANGE_IN_PROGRESS 409·1·retryable
SESSION_EXPIRED 410·1·ErrSessionExpired
TOO_LARGE 413·1
COUNT_TOO_LARGE 413·1
NOT_LEADER 421·5·retryable·ErrNoLeader
LOCKED 423·3·*LockedError
BUSY 429·1·retryable·ErrBusy
WINDOW_FULL 429·1·retryable·ErrBusy
QUOTA 429·1·ErrQuota
SEQ_EXHAUSTED 507·1
POOL_FULL 507·1
TIME_OVERFLOW 507·1
LEASE_LOST 410·1
INTERNAL 500·1
OUTCOME_UNKNOWN 504·1·ErrOutcomeUnknown
TIMEOUT 504·5·retryable`

func (c CodeInfo) contractLine() string {
	parts := []string{c.Code + " " + itoa(int(c.Number)), itoa(c.Exit)}
	if c.Retryable {
		parts = append(parts, "retryable")
	}
	if c.GoName != "" {
		parts = append(parts, c.GoName)
	}
	return strings.Join(parts, "·")
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func TestCodesAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	want := strings.Split(strings.TrimSpace(contractCodes), "\n")
	var got []string
	for _, c := range Codes() {
		got = append(got, c.contractLine())
	}
	slices.Sort(want)
	slices.Sort(got)
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("row %d differs:\ntable    %q\ncontract %q", i, at(got, i), at(want, i))
		}
	}
}

func at(s []string, i int) string {
	if i < len(s) {
		return s[i]
	}
	return "(none)"
}

func TestEveryCodeSaysWhatAndWhatToDo(t *testing.T) {
	t.Parallel()
	for _, c := range Codes() {
		for what, s := range map[string]string{"meaning": c.Meaning, "action": c.Action} {
			if len(s) < 15 || !strings.HasSuffix(s, ".") || strings.ToUpper(s[:1]) != s[:1] {
				t.Errorf("%s: %s is not a sentence: %q", c.Code, what, s)
			}
		}
	}
	if !slices.IsSortedFunc(codes, func(a, b CodeInfo) int { return int(a.Number - b.Number) }) {
		t.Error("the table is not ordered by number")
	}
}

func TestNewError(t *testing.T) {
	t.Parallel()
	e := NewError(CodeBusy, "")
	if e.Code != "BUSY" || e.Number != 429 || !e.Retryable || e.Message == "" {
		t.Errorf("BUSY: %v", e)
	}
	e = NewError("NO_SUCH", "x")
	if e.Code != "INTERNAL" || !strings.Contains(e.Message, "NO_SUCH") {
		t.Errorf("unknown code: %v", e)
	}
	if _, ok := LookupCode("NO_SUCH"); ok {
		t.Error("found a code that does not exist")
	}
}
