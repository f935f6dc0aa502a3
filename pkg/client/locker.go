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
func (c *Client) Locker(name string) sync.Locker {
	return &locker{by: c, c: c, name: name, mode: coorddv1.Mode_EXCLUSIVE}
}

// Locker is like [Client.Locker], in this session: when the session has ended, Lock panics.
func (s *Session) Locker(name string) sync.Locker {
	return &locker{by: s, c: s.c, session: s, name: name, mode: coorddv1.Mode_EXCLUSIVE}
}

type locker struct {
	by      caller
	c       *Client
	session *Session // nil: the client's default one, whichever that is
	name    string
	mode    coorddv1.Mode

	local sync.Mutex // one of this process's goroutines at a time stands in the queue
	held  atomic.Pointer[Lock]
}

func (k *locker) Lock() {
	k.local.Lock()
	had := false
	defer func() {
		if !had { // it panics
			k.local.Unlock()
		}
	}()
	k.held.Store(k.take())
	had = true
}

// take takes the lock, however long that takes.
func (k *locker) take() *Lock {
	for pause := firstPause; ; pause = min(2*pause, longestLockerPause) {
		l, err := lockBy(context.Background(), k.by, k.name, k.mode, false, nil)
		if err == nil {
			return l
		}
		k.mayBeHad(err)
		clock.Sleep(k.c.clock, jitter(pause), nil)
	}
}

func (k *locker) tryLock() bool {
	if !k.local.TryLock() {
		return false
	}
	var l *Lock
	defer func() {
		if l == nil {
			k.local.Unlock()
		}
	}()
	if l = k.try(); l != nil {
		k.held.Store(l)
	}
	return l != nil
}

// try takes the lock if that can be had at once; nil if not.
func (k *locker) try() *Lock {
	l, err := lockBy(context.Background(), k.by, k.name, k.mode, true, nil)
	if err != nil {
		var locked *LockedError
		if !errors.As(err, &locked) {
			k.mayBeHad(err)
		}
		return nil
	}
	return l
}

// mayBeHad panics if the lock can't be had later either.
func (k *locker) mayBeHad(err error) {
	never := k.session != nil && k.session.Err() != nil || errors.Is(err, ErrClosed)
	switch codeOf(err) {
	case coorddv1.CodeBadName, coorddv1.CodeBadRequest, coorddv1.CodeDenied, coorddv1.CodeWrongCluster, coorddv1.CodeLimitMismatch:
		never = true
	}
	if never {
		panic(fmt.Sprintf("coordd: lock %q can't be had: %v", k.name, err))
	}
}

func (k *locker) Unlock() {
	l := k.held.Swap(nil)
	if l == nil {
		panic(fmt.Sprintf("coordd: unlock of unlocked lock %q", k.name))
	}
	_ = l.Unlock(context.Background()) // over for us in any case; the client repeats it until it is known
	k.local.Unlock()
}
