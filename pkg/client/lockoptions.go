package client

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// LockOption is a setting of one Lock call.
type LockOption func(*lockOptions)

type lockOptions struct {
	mode      coorddv1.Mode
	count     uint64 // permits of a semaphore
	limit     uint64 // of a semaphore
	wait      *time.Duration
	delay     time.Duration
	maxHold   time.Duration
	metadata  map[string]string
	reentrant bool
}

// Wait bounds the time in the lock's queue. The service counts it, and takes the waiter out of the queue at its
// end: the error is [ErrWaitTimeout], and the lock is surely not held.
func Wait(d time.Duration) LockOption { return func(o *lockOptions) { o.wait = &d } }

// Delay keeps others out for so long after the lock was lost: its session expired, its MaxHold ended, or an operator
// took it away. It gives what the holder had under way time to arrive where the fence is not checked. After Unlock
// there is no delay. Default: none.
func Delay(d time.Duration) LockOption { return func(o *lockOptions) { o.delay = d } }

// MaxHold ends the hold after d, however alive its holder is: the lock's context ends in time, with the cause
// [ErrLockLost], and the next waiter gets it. Default: a hold has no end of its own.
func MaxHold(d time.Duration) LockOption { return func(o *lockOptions) { o.maxHold = d } }

// Meta attaches key-value pairs to the hold, which others see.
func Meta(md map[string]string) LockOption { return func(o *lockOptions) { o.metadata = md } }

// Reentrant lets a call that is made under the very lock enter it once more, where it would else wait for itself. Under
// means: with a context that comes from the held lock's Context (or from Do), not in the same goroutine or session.
// The second [Lock] has the fence of the first; each Unlock gives one entry back, the last one frees the lock, and all
// end when it is lost. An upgrade from a shared hold to an exclusive one is refused: it would be a deadlock.
func Reentrant() LockOption { return func(o *lockOptions) { o.reentrant = true } }

// lockOptionsOf reads the options of a call and says what is wrong with them, before anything is sent.
func lockOptionsOf(mode coorddv1.Mode, try bool, opts []LockOption) (o lockOptions, err error) {
	for _, f := range opts {
		f(&o)
	}
	o.mode = mode
	if try {
		o.wait = new(time.Duration)
	}
	for _, d := range []struct {
		name string
		d    *time.Duration
	}{{"wait", o.wait}, {"delay", &o.delay}, {"max hold", &o.maxHold}} {
		if d.d != nil && *d.d < 0 {
			return o, localError(coorddv1.CodeBadRequest, "%s %v is negative", d.name, *d.d)
		}
	}
	return o, nil
}

// duration returns d for a request, nil for none.
func duration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// waiting returns the wait for a request: nil has no limit.
func (o *lockOptions) waiting() *durationpb.Duration {
	if o.wait == nil {
		return nil
	}
	return durationpb.New(*o.wait)
}

// lockWant is what a call for one lock asks for.
func lockWant(noun, name string, o *lockOptions) (*want, error) {
	return &want{noun: noun, verb: "lock.acquire", name: name, reentrant: o.reentrant, mode: Mode(o.mode.String()), request: func(holding []uint64) proto.Message {
		return &coorddv1.LockAcquireRequest{Mode: o.mode, Count: o.count, Limit: o.limit, Wait: o.waiting(), Delay: duration(o.delay),
			MaxHold: duration(o.maxHold), Metadata: o.metadata, Reentrant: o.reentrant, Holding: holding}
	}}, checkName(noun, name)
}
