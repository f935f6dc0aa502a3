package node

import (
	"context"
	"sync/atomic"
)

// lifetime is a condition that comes and goes, published as a context that is live while it holds. The loop
// alone begins and ends it.
type lifetime struct {
	current atomic.Pointer[span]
}

type span struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// newLifetime begins with a condition that does not hold, for the cause.
func newLifetime(cause error) *lifetime {
	l := &lifetime{}
	l.begin()
	l.end(cause)
	return l
}

func (l *lifetime) begin() {
	ctx, cancel := context.WithCancelCause(context.Background())
	l.current.Store(&span{ctx, cancel})
}

func (l *lifetime) end(cause error) { l.current.Load().cancel(cause) }

func (l *lifetime) context() context.Context { return l.current.Load().ctx }
