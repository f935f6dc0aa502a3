package natsserver

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// TestAFloodOfLinesIsCutAndCounted shows that whoever reaches a port can't fill the log's disk.
func TestAFloodOfLinesIsCutAndCounted(t *testing.T) {
	t.Parallel()
	var l limiter
	now := time.Now()
	logged := 0
	for range 1000 {
		if ok, _ := l.allow(now); ok {
			logged++
		}
	}
	if logged != linesPerWindow {
		t.Errorf("%d lines of 1000 were logged, want %d", logged, linesPerWindow)
	}
	ok, suppressed := l.allow(now.Add(lineWindow))
	if !ok || suppressed != 1000-linesPerWindow {
		t.Errorf("in the next window: %v, %d suppressed", ok, suppressed)
	}
	if _, suppressed = l.allow(now.Add(lineWindow)); suppressed != 0 {
		t.Errorf("%d suppressed told twice", suppressed)
	}

	var out strings.Builder
	b := newLogBridge(hclog.New(&hclog.LoggerOptions{Output: &out}))
	for range 100 {
		b.Errorf("bad client %d", 1)
	}
	if n := strings.Count(out.String(), "bad client"); n != linesPerWindow {
		t.Errorf("%d lines in the log, want %d", n, linesPerWindow)
	}
}

// TestAShutGateIsNoError shows that what each first start meets for a moment is told as what it is.
func TestAShutGateIsNoError(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := newLogBridge(hclog.New(&hclog.LoggerOptions{Output: &out}))
	b.Errorf("%s - rid:%d - Route Error %s", "127.0.0.1:1", 7, "'Authorization Violation'")
	if text := out.String(); !strings.Contains(text, "[INFO]") || !strings.Contains(text, "it is asked again") || !strings.Contains(text, "rid:7") {
		t.Errorf("it says %q", text)
	}
	b.Errorf("Route Error %s", "'Maximum Connections Exceeded'")
	if !strings.Contains(out.String(), "[ERROR]") {
		t.Errorf("another error is not told: %q", out.String())
	}
}
