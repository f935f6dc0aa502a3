package client

import (
	"context"
	"fmt"
	"slices"
	"sync"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// RWLocker is a read/write lock that is used as a sync.RWMutex is, by any number of goroutines. Its methods block through
// outages and lost sessions, and panic if they never can succeed (the name is bad, it is not permitted, the client is
// closed). There is no fence and no news of a loss: prefer [Client.Lock] and [Client.RLock] where that matters.
type RWLocker struct {
	write locker
	read  locker

	mu      sync.Mutex
	readers []*Lock
}

// RWLocker returns a read/write lock in the client's default session, whichever that is.
func (c *Client) RWLocker(name string) *RWLocker { return newRWLocker(c, c, nil, name) }

// RWLocker is like [Client.RWLocker], in this session: when that has ended, its methods panic.
func (s *Session) RWLocker(name string) *RWLocker { return newRWLocker(s, s.c, s, name) }

func newRWLocker(by caller, c *Client, s *Session, name string) *RWLocker {
	return &RWLocker{write: locker{by: by, c: c, session: s, name: name, mode: coorddv1.Mode_EXCLUSIVE},
		read: locker{by: by, c: c, session: s, name: name, mode: coorddv1.Mode_SHARED}}
}

// Lock locks for writing.
func (k *RWLocker) Lock() { k.write.Lock() }

// TryLock locks for writing if that can be had at once, and reports whether it did. During an outage it can't.
func (k *RWLocker) TryLock() bool { return k.write.tryLock() }

// Unlock unlocks for writing. It panics if it is not locked; if the lock was lost meanwhile it does not.
func (k *RWLocker) Unlock() { k.write.Unlock() }

// RLock locks for reading. It waits behind a writer that waits.
func (k *RWLocker) RLock() { k.entered(k.read.take()) }

// TryRLock locks for reading if that can be had at once, and reports whether it did. During an outage it can't.
func (k *RWLocker) TryRLock() bool {
	l := k.read.try()
	if l == nil {
		return false
	}
	k.entered(l)
	return true
}

func (k *RWLocker) entered(l *Lock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.readers = append(k.readers, l)
}

// RUnlock undoes one RLock. It panics if there is none.
func (k *RWLocker) RUnlock() {
	k.mu.Lock()
	if len(k.readers) == 0 {
		k.mu.Unlock()
		panic(fmt.Sprintf("coordd: read unlock of unlocked lock %q", k.read.name))
	}
	// Which of them is this reader's is not known: what others have left is to be valid as long as it can be.
	i := max(0, slices.IndexFunc(k.readers, func(l *Lock) bool { return l.Valid() != nil }))
	l := k.readers[i]
	k.readers = slices.Delete(k.readers, i, i+1)
	k.mu.Unlock()
	_ = l.Unlock(context.Background()) // over for us in any case; the client repeats it until it is known
}

// RLocker returns a sync.Locker whose Lock is RLock and whose Unlock is RUnlock.
func (k *RWLocker) RLocker() sync.Locker { return (*readLocker)(k) }

type readLocker RWLocker

func (k *readLocker) Lock()   { (*RWLocker)(k).RLock() }
func (k *readLocker) Unlock() { (*RWLocker)(k).RUnlock() }
