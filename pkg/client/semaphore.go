package client

import (
	"context"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// Semaphore is a lock with a number of permits, of which each holder takes some. The limit is stored with it while anybody
// holds or waits for permits: a call with another one is refused with the code LIMIT_MISMATCH.
type Semaphore struct {
	by    caller
	name  string
	limit int
}

// Semaphore returns the semaphore of that name, used in the client's default session. No request is sent.
func (c *Client) Semaphore(name string, limit int) *Semaphore { return &Semaphore{c, name, limit} }

// Semaphore returns the semaphore of that name, used in this session. No request is sent.
func (s *Session) Semaphore(name string, limit int) *Semaphore { return &Semaphore{s, name, limit} }

// Acquire takes n permits, and waits for them in the order of arrival, which many small calls do not overtake. For the rest
// it is as [Session.Lock]. There is no fence to check at what a semaphore guards: several holders are in at once.
func (m *Semaphore) Acquire(ctx context.Context, n int, opts ...LockOption) (*Lock, error) {
	return m.acquire(ctx, n, false, opts)
}

// TryAcquire takes n permits if they are free and nobody waits. If not the error is a *[LockedError].
func (m *Semaphore) TryAcquire(ctx context.Context, n int, opts ...LockOption) (*Lock, error) {
	return m.acquire(ctx, n, true, opts)
}

func (m *Semaphore) acquire(ctx context.Context, n int, try bool, opts []LockOption) (*Lock, error) {
	o, err := lockOptionsOf(coorddv1.Mode_SEMAPHORE, try, opts)
	if err != nil {
		return nil, err
	}
	switch {
	case m.limit < 1:
		return nil, localError(coorddv1.CodeBadRequest, "semaphore %q has the limit %d: it must be at least 1", m.name, m.limit)
	case n < 1 || n > m.limit:
		return nil, localError(coorddv1.CodeBadRequest, "%d permits of semaphore %q, which has %d: it can't ever have them", n, m.name, m.limit)
	}
	o.count, o.limit = uint64(n), uint64(m.limit)
	w, err := lockWant("semaphore", m.name, &o)
	if err != nil {
		return nil, err
	}
	t, err := obtain(ctx, m.by, w)
	if err != nil {
		return nil, err
	}
	return t.lock, nil
}
