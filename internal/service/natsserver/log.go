package natsserver

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// logBridge writes nats-server's log lines to an hclog.Logger. What nats-server calls notice is debug here: a
// start prints a dozen of them.
type logBridge struct {
	out   hclog.Logger
	debug bool
	fatal chan string // the first fatal report; nats-server expects the process to end there, we return an error
	loud  limiter
}

// linesPerWindow is how many warnings and errors are logged in a window: whoever reaches a port can cause one
// with each connection.
const (
	linesPerWindow = 20
	lineWindow     = 10 * time.Second
)

// limiter lets so many lines through in a window and counts the others.
type limiter struct {
	mu         sync.Mutex
	since      time.Time
	lines      int
	suppressed int
}

// allow reports whether a line may be logged now, and how many were kept back since the last one that was.
func (l *limiter) allow(now time.Time) (ok bool, suppressed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= lineWindow {
		l.since, l.lines = now, 0
	}
	if l.lines >= linesPerWindow {
		l.suppressed++
		return false, 0
	}
	l.lines++
	suppressed, l.suppressed = l.suppressed, 0
	return true, suppressed
}

// say logs a line that others can cause, unless there were too many of them lately.
func (l *limiter) say(log func(string, ...any), msg string, args ...any) {
	ok, suppressed := l.allow(time.Now())
	if !ok {
		return
	}
	if suppressed > 0 {
		args = append(args, "suppressed_before", suppressed)
	}
	log(msg, args...)
}

func newLogBridge(out hclog.Logger) *logBridge {
	if out == nil {
		out = hclog.NewNullLogger()
	}
	return &logBridge{out: out, debug: out.IsTrace(), fatal: make(chan string, 1)}
}

func (l *logBridge) Noticef(format string, v ...any) { l.out.Debug(fmt.Sprintf(format, v...)) }
func (l *logBridge) Warnf(format string, v ...any)   { l.loud.say(l.out.Warn, fmt.Sprintf(format, v...)) }

func (l *logBridge) Errorf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	if strings.Contains(msg, notLetIn) {
		l.loud.say(l.out.Info, "A server does not let a route in: it has not heard yet of which cluster it is, or it is of another one; it is asked again", "nats", msg)
		return
	}
	l.loud.say(l.out.Error, msg)
}

// notLetIn is what nats-server says when the other side's gate is shut, as it is for a moment at each first start.
const notLetIn = "Route Error 'Authorization Violation'"

func (l *logBridge) Debugf(format string, v ...any) { l.out.Trace(fmt.Sprintf(format, v...)) }
func (l *logBridge) Tracef(format string, v ...any) { l.out.Trace(fmt.Sprintf(format, v...)) }

func (l *logBridge) Fatalf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	l.out.Error(msg)
	select {
	case l.fatal <- msg:
	default:
	}
}
