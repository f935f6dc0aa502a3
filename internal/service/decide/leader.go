package decide

import (
	"errors"
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
)

// NoDue is the instant of cluster time at which something ends while nothing does.
const NoDue int64 = 1<<63 - 1

// Tick says what to do about what ends next, at due in cluster time: propose a Tick now, or look again after a while;
// 0 means that there is nothing to wait for. Ticks alone make time pass in an idle cluster. While this leader does not
// serve it proposes none: time must not end what clients can't renew.
func Tick(due, now int64, leading, serving bool) (propose bool, again time.Duration) {
	switch {
	case due == NoDue || !leading || (!serving && !canary.Broken(canary.NoTickUnlessServing)):
		return false, 0
	case due > now:
		return false, time.Duration(due - now)
	}
	return !canary.Broken(canary.DueIsTicked), 0
}

// Act is what a leader does about the state of NATS.
type Act uint8

// The acts.
const (
	Nothing  Act = iota
	Serve        // propose Serving, once the way through the other members is proven
	Stop         // propose NotServing: clients can't renew their sessions, so time must not end them
	HandOver     // let another member lead, if one says of itself that NATS reaches it
)

// HandOverPause is between two tries to find a member that can serve.
const HandOverPause = time.Second

// Watch remembers what a leader tried while NATS was lost. The zero value is that of a new reign.
type Watch struct {
	tried   bool
	triedAt time.Duration
}

// Look says what to do now, where NATS is healthy or not, and this leader serves or not.
func (w *Watch) Look(now time.Duration, healthy, serving bool) Act {
	switch {
	case healthy && serving, serving && canary.Broken(canary.LossOfNATSStopsExpiry):
	case healthy:
		return Serve
	case serving:
		return Stop
	case !w.tried || now-w.triedAt > HandOverPause:
		w.tried, w.triedAt = true, now
		return HandOver
	}
	return Nothing
}

// Refusal is what a client may be told about a command that was not proposed.
type Refusal uint8

// The refusals.
const (
	Silence  Refusal = iota // the true leader's answer must win; the client asks again
	Busy                    // BUSY: nothing was done, ask again
	TooLarge                // TOO_LARGE
)

// Refuse says what may be said about a command whose proposal failed with err. Only within a valid lease is it certain
// that nobody else leads and grants: a node in doubt stays silent.
func Refuse(err error, leased bool) Refusal {
	switch {
	case !leased && !canary.Broken(canary.BusyNeedsLease):
	case errors.Is(err, raft.ErrBusy), errors.Is(err, raft.ErrTransferring):
		return Busy
	case errors.Is(err, raft.ErrTooLarge):
		return TooLarge
	}
	return Silence
}
