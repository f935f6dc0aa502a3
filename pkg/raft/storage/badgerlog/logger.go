package badgerlog

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
)

// badgerLogger passes on what Badger says. What Badger calls an error it often only logs: a memtable that can't
// be flushed is tried again for ever, a failed sync of the value log is forgotten, a table with a wrong
// checksum can be left out. Here each of them counts as a failure.
type badgerLogger struct {
	log    hclog.Logger
	failed atomic.Pointer[func(error)] // nil: at the moment nobody cares (while closing)
}

func (l *badgerLogger) onError(f func(error)) {
	if f == nil {
		l.failed.Store(nil)
		return
	}
	l.failed.Store(&f)
}

func (l *badgerLogger) Errorf(format string, args ...any) {
	text := line(format, args)
	l.log.Error("badger: " + text)
	if f := l.failed.Load(); f != nil {
		(*f)(errors.New("badger: " + text))
	}
}

func (l *badgerLogger) Warningf(format string, args ...any) {
	l.log.Warn("badger: " + line(format, args))
}

func (l *badgerLogger) Infof(format string, args ...any) {
	if l.log.IsDebug() {
		l.log.Debug("badger: " + line(format, args))
	}
}

func (l *badgerLogger) Debugf(format string, args ...any) {
	if l.log.IsTrace() {
		l.log.Trace("badger: " + line(format, args))
	}
}

func line(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, args...))
}
