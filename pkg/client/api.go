package client

import (
	"context"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/idgen"
)

// Locks is what code needs that works under locks. *[Client], *[Session] and fakes of a caller's own satisfy it.
type Locks interface {
	Lock(ctx context.Context, name string, opts ...LockOption) (*Lock, error)
	TryLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error)
	RLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error)
	TryRLock(ctx context.Context, name string, opts ...LockOption) (*Lock, error)
	LockAll(ctx context.Context, names ...string) (*LockSet, error)
	Do(ctx context.Context, name string, f func(context.Context, *Lock) error, opts ...LockOption) error
}

// Coordination is the other primitives. *[Client] and *[Session] satisfy it.
type Coordination interface {
	Semaphore(name string, limit int) *Semaphore
	Election(name string) *Election
	Barrier(name string, n int) *Barrier
	Latch(name string) *Latch
	Locker(name string) sync.Locker
	RWLocker(name string) *RWLocker
}

// Numbers is unique numbers. *[Client] and *[Session] satisfy it.
type Numbers interface {
	Sequence(ctx context.Context, name string, opts ...SequenceOption) (*Sequence, error)
	NewUUID(ctx context.Context) (idgen.UUID, error)
}

// API is all that a *[Client] and a *[Session] offer alike: code that takes one runs in either.
type API interface {
	Locks
	Coordination
	Numbers
}

// Hold is what code needs that is handed a lock: *[Lock], *[Leadership] and fakes of a caller's own satisfy it.
type Hold interface {
	Name() string
	Fence() uint64
	Context() context.Context
	Valid() error
	Remaining() time.Duration
	Verify(ctx context.Context) error
	Unlock(ctx context.Context) error
}

var (
	_ API  = (*Client)(nil)
	_ API  = (*Session)(nil)
	_ Hold = (*Lock)(nil)
	_ Hold = (*Leadership)(nil)
)
