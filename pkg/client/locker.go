package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

// longestLockerPause is between two attempts of a Locker during an outage.
const longestLockerPause = time.Second

// Locker returns a lock as a sync.Locker, which may be shared by goroutines like a sync.Mutex. Its Lock blocks
// through outages and lost sessions until it holds the lock; it panics if it never can (the name is bad, it is
// not permitted, the client is closed). Its Unlock panics if it is not locked; if the lock was lost meanwhile
// it does not. There is no fence and no news of a loss: prefer [Client.Lock] where that matters.
func (c *Client) Locker(name string) sync.Locker { return &locker{c: c, name: name, lock: c.Lock} }

// Locker is like [Client.Locker], in this session: when the session has ended, Lock panics.
func (s *Session) Locker(name string) sync.Locker {
	return &locker{c: s.c, name: name, session: s, lock: s.Lock}
}

type locker struct {
	c       *Client
	name    string
	session *Session // nil: the client's default one, whichever that is
	lock    func(context.Context, string, ...LockOption) (*Lock, error)

	local sync.Mutex // one of this process's goroutines at a time stands in the queue
	held  atomic.Pointer[Lock]
}

func (k *locker) Lock() {
	k.local.Lock()
	for pause := firstPause; ; pause = min(2*pause, longestLockerPause) {
		l, err := k.lock(context.Background(), k.name)
		if err == nil {
			k.held.Store(l)
			return
		}
		if !k.worthRepeating(err) {
			k.local.Unlock()
			panic(fmt.Sprintf("coordd: lock %q can't be had: %v", k.name, err))
		}
		clock.Sleep(k.c.clock, jitter(pause), nil)
	}
}

// worthRepeating says whether the lock may be had later.
func (k *locker) worthRepeating(err error) bool {
	if k.session != nil && k.session.Err() != nil {
		return false
	}
	switch codeOf(err) {
	case coorddv1.CodeBadName, coorddv1.CodeBadRequest, coorddv1.CodeDenied, coorddv1.CodeWrongCluster:
		return false
	}
	return !errors.Is(err, ErrClosed)
}

func (k *locker) Unlock() {
	l := k.held.Swap(nil)
	if l == nil {
		panic(fmt.Sprintf("coordd: unlock of unlocked lock %q", k.name))
	}
	_ = l.Unlock(context.Background()) // over for us in any case; the client repeats it until it is known
	k.local.Unlock()
}
