package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/pkg/client/coorddtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// want is what each demo prints. docs/locks.md shows it as well.
var want = map[string]string{
	"exclusive": "it is held by the other one\nnow it is ours, until this returns; ctx ends sooner if the lock is lost: <nil>\n",
	"reentrant": "entered twice, with one fence: true\nleft once, still held: true\n",
	"all":       "both are held, with fences of their own: true\n",
	"deadlock":  "the second one is told at once: true\nthe first one goes on: <nil>\n",
	"shared":    "two read, a writer has to wait: true\nnow it writes\n",
	"semaphore": "two of three are taken, two more are not to be had: true\none is\n",
	"election":  "10.0.0.1:8080 leads\n10.0.0.2:9090 leads\n",
	"barrier":   "all three passed: true\n",
	"latch":     "open: true\n",
	"paused": ` 0 s  a holds the lock with fence 1; balance 90
 0 s  a is stopped
20 s  a's lease is over; b holds the lock with fence 2; balance 50
20 s  a, which has checked its lock just before it was stopped, writes: the exclusive hold with fence 1 is over: fence 2 was seen
20 s  a looks at its lock: session has expired
20 s  balance 50
`,
	"lost": "after 14 s without an answer: <nil>\nafter 16 s without one: session has expired\n",
}

func TestEachDemo(t *testing.T) {
	t.Parallel()
	for _, name := range names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			var err error
			if f := alone[name]; f != nil {
				err = f(t.Context(), &out)
			} else {
				s := coorddtest.New(t, coorddtest.Flowing())
				err = demos[name](t.Context(), s.Client(), &out)
			}
			if err != nil || out.String() != want[name] {
				t.Errorf("%v; it said\n%s", err, out.String())
			}
		})
	}
}

// TestTheGuideShowsWhatIsPrinted looks for the story of the paused holder in the guide.
func TestTheGuideShowsWhatIsPrinted(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/locks.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := strings.ReplaceAll(string(guide), "\n    ", "\n")
	for _, name := range []string{"paused", "lost"} {
		if !strings.Contains(shown, want[name]) {
			t.Errorf("the guide does not show what %s prints", name)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	if err := run([]string{"nothing"}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "election|exclusive") {
		t.Errorf("it said %v", err)
	}
}
