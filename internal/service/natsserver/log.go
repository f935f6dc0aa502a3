package natsserver

import (
	"fmt"

	"github.com/hashicorp/go-hclog"
)

// logBridge writes nats-server's log lines to an hclog.Logger. What nats-server calls notice is debug here: a
// start prints a dozen of them.
type logBridge struct {
	out   hclog.Logger
	debug bool
	fatal chan string // the first fatal report; nats-server expects the process to end there, we return an error
}

func newLogBridge(out hclog.Logger) *logBridge {
	if out == nil {
		out = hclog.NewNullLogger()
	}
	return &logBridge{out: out, debug: out.IsTrace(), fatal: make(chan string, 1)}
}

func (l *logBridge) Noticef(format string, v ...any) { l.out.Debug(fmt.Sprintf(format, v...)) }
func (l *logBridge) Warnf(format string, v ...any)   { l.out.Warn(fmt.Sprintf(format, v...)) }
func (l *logBridge) Errorf(format string, v ...any)  { l.out.Error(fmt.Sprintf(format, v...)) }
func (l *logBridge) Debugf(format string, v ...any)  { l.out.Trace(fmt.Sprintf(format, v...)) }
func (l *logBridge) Tracef(format string, v ...any)  { l.out.Trace(fmt.Sprintf(format, v...)) }

func (l *logBridge) Fatalf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	l.out.Error(msg)
	select {
	case l.fatal <- msg:
	default:
	}
}
