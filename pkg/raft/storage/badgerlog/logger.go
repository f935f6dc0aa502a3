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
// checksum can be left out. Here each of them counts as a failure. So does a compaction that failed, of which Badger
// only warns: it runs it again at once, and with it a sync of the MANIFEST that has failed.
type badgerLogger struct {
	log    hclog.Logger
	failed atomic.Pointer[func(error)] // nil: at the moment nobody cares (while closing)
	left   atomic.Bool                 // Badger was left open after a failure: what it says is of no use
}

func (l *badgerLogger) onError(f func(error)) {
	if f == nil {
		l.failed.Store(nil)
		return
	}
	l.failed.Store(&f)
}

func (l *badgerLogger) Errorf(format string, args ...any) {
	if l.left.Load() {
		return
	}
	text := line(format, args)
	l.log.Error("badger: " + text)
	l.tell(text)
}

func (l *badgerLogger) tell(text string) {
	if f := l.failed.Load(); f != nil {
		(*f)(errors.New("badger: " + text))
	}
}

// nothingToCompact is the text of Badger's own errFillTables: there was nothing to do.
const nothingToCompact = "Unable to fill tables"

// Warningf takes a warning that carries an error for a failure, but for a want of room: that is no failed sync, and a
// compaction that found none leaves everything as it was.
func (l *badgerLogger) Warningf(format string, args ...any) {
	if l.left.Load() {
		return
	}
	text := line(format, args)
	l.log.Warn("badger: " + text)
	for _, arg := range args {
		if err, ok := arg.(error); ok && !saysFull(err) && err.Error() != nothingToCompact {
			l.tell(text)
			return
		}
	}
}

// saysFull is isFull by the text: Badger wraps errors so that nothing but their texts is left.
func saysFull(err error) bool {
	return strings.Contains(err.Error(), "no space left on device") || strings.Contains(err.Error(), "disk quota exceeded")
}

func (l *badgerLogger) Infof(format string, args ...any) {
	if l.log.IsDebug() && !l.left.Load() {
		l.log.Debug("badger: " + line(format, args))
	}
}

func (l *badgerLogger) Debugf(format string, args ...any) {
	if l.log.IsTrace() && !l.left.Load() {
		l.log.Trace("badger: " + line(format, args))
	}
}

func line(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, args...))
}
