package client

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

// handClock is a pair of clocks that a test sets.
type handClock struct {
	clock.Clock
	now instant
}

func (h *handClock) Now() instant { return h.now }

func (h *handClock) pass(d time.Duration) { h.now.Mono += d; h.now.Wall += d }

func newLease(h *handClock, ttl time.Duration) *lease {
	l := &lease{clock: h, drift: 0.01}
	l.renew(h.now, 1000, 1000+int64(ttl))
	return l
}

func TestALeaseCountsFromTheSendingOfItsRequest(t *testing.T) {
	t.Parallel()
	h := &handClock{now: instant{Mono: time.Hour, Wall: time.Hour}}
	l := newLease(h, 10*time.Second)
	if got, want := l.remaining(), 9850*time.Millisecond; got != want { // 10 s × 0.99 − 50 ms
		t.Errorf("remaining %v, want %v", got, want)
	}
	sent := h.now
	h.pass(4 * time.Second) // the answer took its time
	if !l.renew(sent, 5000, 5000+int64(10*time.Second)) || l.remaining() != 5850*time.Millisecond {
		t.Errorf("remaining %v after an answer to a message 4 s old", l.remaining())
	}
	sent = h.now
	if !l.renew(sent, 0, int64(10*time.Second)) || l.remaining() != 9850*time.Millisecond {
		t.Errorf("remaining %v after a fresh answer", l.remaining())
	}
	// An answer that comes late, to an earlier message, does not shorten it.
	if !l.renew(instant{Mono: sent.Mono - 3*time.Second, Wall: sent.Wall - 3*time.Second}, 0, int64(10*time.Second)) || l.remaining() != 9850*time.Millisecond {
		t.Errorf("remaining %v after a late answer", l.remaining())
	}
}

func TestALostLeaseStaysLost(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(*handClock){
		"time passed":                     func(h *handClock) { h.pass(9850 * time.Millisecond) },
		"suspended past the end":          func(h *handClock) { h.now.Wall += time.Hour },
		"suspended shorter":               func(h *handClock) { h.now.Wall += 2 * time.Second },
		"wall clock set back":             func(h *handClock) { h.now.Wall -= 2 * time.Second },
		"nobody looked until it was over": func(h *handClock) { h.pass(time.Hour) },
	} {
		h := &handClock{}
		l := newLease(h, 10*time.Second)
		before := h.now
		harm(h)
		if l.remaining() != 0 || !errors.Is(l.reason(), ErrSessionExpired) {
			t.Errorf("%s: remaining %v, reason %v", name, l.remaining(), l.reason())
		}
		h.now = before // whatever the clocks say later
		if l.remaining() != 0 {
			t.Errorf("%s: it came back by the clock", name)
		}
		if l.renew(h.now, 0, int64(time.Hour)) || l.remaining() != 0 {
			t.Errorf("%s: it came back by a renewal", name)
		}
	}
	// A renewal that arrives after the end revives nothing, even if nobody had looked.
	h := &handClock{}
	l := newLease(h, 10*time.Second)
	sent := h.now
	h.pass(10 * time.Second)
	if l.renew(sent, 0, int64(time.Hour)) {
		t.Error("renewed after its end")
	}
}

func TestASmallStepOfTheWallClockOnlyShortens(t *testing.T) {
	t.Parallel()
	h := &handClock{}
	l := newLease(h, 10*time.Second)
	h.now.Wall += 500 * time.Millisecond
	if got := l.remaining(); got != 9350*time.Millisecond {
		t.Errorf("remaining %v", got)
	}
	h.now.Wall -= time.Second // now 500 ms behind: monotonic time counts
	if got := l.remaining(); got != 9850*time.Millisecond {
		t.Errorf("remaining %v", got)
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint64Range(1, 5000).Draw(t, "first")
		w := newWindow(first)
		out := map[uint64]bool{}
		next := first
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				for range rapid.IntRange(1, 400).Draw(t, "n") {
					if !w.open() {
						break
					}
					if seq := w.begin(); seq != next {
						t.Fatalf("seq %d, want %d", seq, next)
					}
					out[next] = true
					next++
				}
			},
			"end": func(t *rapid.T) {
				for seq := range out {
					if rapid.Bool().Draw(t, "this") {
						w.end(seq)
						w.end(seq)
						delete(out, seq)
					}
				}
			},
			"": func(t *rapid.T) {
				low := next
				for seq := range out {
					low = min(low, seq)
				}
				if w.floor != low {
					t.Fatalf("floor %d, want %d", w.floor, low)
				}
				if w.open() != (next < low+windowSize) {
					t.Fatalf("open %v with %d to %d", w.open(), low, next)
				}
			},
		})
	})
}

func TestNamesInSubjects(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"demo": "demo", "orders/42": "orders/42", "a=b_C-9": "a=b_C-9", "a.b": "~YS5i", "~x": "~fng", "ü": "~w7w", "a b": "~YSBi", "*": "~Kg", ">": "~Pg",
	} {
		if got := encodeName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 100, 400).Draw(t, "name")
		token := encodeName(name)
		if strings.ContainsAny(token, ".*> \t\r\n") {
			t.Fatalf("%q is not one token", token)
		}
		back := token
		if rest, ok := strings.CutPrefix(token, "~"); ok {
			b, err := base64.RawURLEncoding.DecodeString(rest)
			if err != nil {
				t.Fatal(err)
			}
			back = string(b)
		}
		if back != name {
			t.Fatalf("%q came back as %q", name, back)
		}
	})
}

// Every code that the table gives a Go error must be found by it, and by no other.
func TestEveryCodeHasItsError(t *testing.T) {
	t.Parallel()
	for _, info := range coorddv1.Codes() {
		err := errorOf(coorddv1.NewError(info.Code, ""), "n")
		for name, sentinel := range sentinels {
			if got, want := errors.Is(err, sentinel), name == info.GoName; got != want {
				t.Errorf("%s: errors.Is(%s) is %v", info.Code, name, got)
			}
		}
		if strings.HasPrefix(info.GoName, "Err") && sentinels[info.GoName] == nil {
			t.Errorf("%s: there is no %s", info.Code, info.GoName)
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != info.Code || e.Number != int(info.Number) || e.Retryable != info.Retryable {
			t.Errorf("%s: %+v", info.Code, e)
		}
	}
}

// Whatever is told about a ticket, in whatever order and however often, it moves forward only: it is settled
// once, and by the first thing that settles it.
func TestATicketOnlyMovesForward(t *testing.T) {
	t.Parallel()
	h := &handClock{}
	c := newClient(config{clock: h})
	rapid.Check(t, func(t *rapid.T) {
		s := c.newSession(config{}, 1, nil, 0, time.Second, newWindow(1))
		k := newTicket(s, &want{noun: "lock", name: "x"}, t.Context())
		k.seq = 7
		k.withdrawn = rapid.Bool().Draw(t, "withdrawn")
		s.tickets[7] = k
		want := "" // how it was settled
		for _, what := range rapid.SliceOfN(rapid.SampledFrom([]string{"queued", "granted", "granted again", "ended"}), 1, 12).Draw(t, "news") {
			s.mu.Lock()
			switch what {
			case "queued":
				k.queueLocked(5)
			case "granted":
				k.grantLocked(grant{fence: 41}, 0)
			case "granted again":
				k.grantLocked(grant{fence: 41}, 9)
			case "ended":
				k.endLocked(ErrLockLost)
			}
			s.mu.Unlock()
			if want == "" && what != "queued" {
				want = what
			}
			settled := false
			select {
			case <-k.settled:
				settled = true
			default:
			}
			if settled != (want != "") {
				t.Fatalf("settled %v after %q", settled, what)
			}
		}
		if granted := want != "" && want != "ended"; (len(k.got) == 1 && k.got[0].fence == 41) != granted || (len(s.holds) == 1) != (granted && !k.withdrawn) || (k.err != nil) != (want == "ended") {
			t.Fatalf("settled by %q: grants %v, %d holds, error %v", want, k.got, len(s.holds), k.err)
		}
	})
}

func TestTokenRoundTripAndSecrecy(t *testing.T) {
	t.Parallel()
	in := Token{Namespace: "billing", Cluster: "c-1", Session: 42, Secret: []byte("very secret bytes")}
	text, err := in.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var out Token
	if err := out.UnmarshalText(text); err != nil || out.Session != 42 || string(out.Secret) != string(in.Secret) || out.Cluster != in.Cluster || out.Namespace != in.Namespace {
		t.Errorf("%v: %+v", err, out)
	}
	if s := in.String() + in.GoString(); strings.Contains(s, "secret bytes") || strings.Contains(s, base64.RawURLEncoding.EncodeToString(in.Secret)) {
		t.Errorf("a printed token shows its secret: %s", s)
	}
	for _, bad := range []string{"", "coordd1.a.1.x", "coordd2.a.1.eA.eA", "coordd1.a.x.eA.eA", "coordd1.a.1.!.eA", "coordd1.a b.1.eA.eA"} {
		if err := out.UnmarshalText([]byte(bad)); !errors.Is(err, errToken) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	t.Parallel()
	if got := redacted("nats://me:pw@h1:1,h2:2,me:pw@h3"); got != "nats://…@h1:1,h2:2,…@h3" {
		t.Errorf("got %s", got)
	}
}

func TestValidAndLeasesAllocateNothing(t *testing.T) {
	h := &handClock{}
	l := newLease(h, 10*time.Second)
	if n := testing.AllocsPerRun(1000, func() { l.remaining() }); n != 0 {
		t.Errorf("%v allocations a look at the clock", n)
	}
}
