package service

import (
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// terms are how a lock is asked for, in what lock.acquire, lock.acquire-all and election.campaign have in common.
type terms struct {
	wait, delay, maxHold int64
}

func termsOf(wait, delay, maxHold *durationpb.Duration) (t terms, bad *coorddv1.Error) {
	if t.wait, bad = lockWait(wait); bad != nil {
		return t, bad
	}
	d, bad := duration("delay", delay, 0)
	switch most := time.Duration(machine.MaxDelay); {
	case bad != nil:
		return t, bad
	case d < 0 || d > most:
		return t, badRequest("delay %v is out of range: 0s (none) to %v", d, most)
	}
	t.delay = int64(d)
	d, bad = duration("max_hold", maxHold, 0)
	switch least := time.Duration(machine.MinMaxHold); {
	case bad != nil:
		return t, bad
	case d != 0 && (d < least || d > longestWait):
		return t, badRequest("max_hold %v is out of range: %v to %v, or 0s for none", d, least, longestWait)
	}
	t.maxHold = int64(d)
	return t, nil
}

// lockWait reads how long a request wants to wait.
func lockWait(d *durationpb.Duration) (int64, *coorddv1.Error) {
	if d == nil {
		return machine.NoWaitLimit, nil
	}
	wait, bad := duration("wait", d, 0)
	if bad != nil {
		return 0, bad
	}
	if wait < 0 || wait > longestWait {
		return 0, badRequest("wait %v is out of range: 0s (try) to %v, or absent for no limit", wait, longestWait)
	}
	return int64(wait), nil
}

func checkHolding(fences []uint64) *coorddv1.Error {
	if len(fences) > machine.MaxHolding {
		return badRequest("holding lists %d fences, at most %d are allowed", len(fences), machine.MaxHolding)
	}
	return nil
}

func fillAcquire(l *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.LockAcquireRequest)
	mode := m.Mode
	if mode == coorddv1.Mode_MODE_UNSPECIFIED {
		mode = coorddv1.Mode_EXCLUSIVE
	}
	switch {
	case mode < coorddv1.Mode_EXCLUSIVE || mode > coorddv1.Mode_SEMAPHORE:
		return badRequest("mode %d is unknown", m.Mode)
	case mode != coorddv1.Mode_SEMAPHORE && m.Limit != 0:
		return badRequest("limit is that of a semaphore: it goes with mode SEMAPHORE, not %s", mode)
	case mode != coorddv1.Mode_SEMAPHORE && m.Count > 1:
		return badRequest("count %d is a semaphore's: a lock in mode %s is held once", m.Count, mode)
	case mode == coorddv1.Mode_SEMAPHORE && (m.Limit == 0 || m.Limit > machine.MaxLimit):
		return badRequest("limit %d is out of range: a semaphore has 1 to %d permits", m.Limit, machine.MaxLimit)
	case mode == coorddv1.Mode_SEMAPHORE && m.Count > m.Limit:
		return badRequest("count %d is over the semaphore's limit of %d: it would never be granted", m.Count, m.Limit)
	case m.Reentrant && mode == coorddv1.Mode_SEMAPHORE:
		return badRequest("a semaphore is not reentrant: ask for more of its permits with count")
	}
	if bad := checkMetadata(l, m.Metadata); bad != nil {
		return bad
	}
	if bad := checkHolding(m.Holding); bad != nil {
		return bad
	}
	t, bad := termsOf(m.Wait, m.Delay, m.MaxHold)
	if bad != nil {
		return bad
	}
	c.Acquire = &machine.Acquire{Mode: machine.Mode(mode), Count: m.Count, Limit: m.Limit, Reentrant: m.Reentrant, Holding: m.Holding,
		Wait: t.wait, Delay: t.delay, MaxHold: t.maxHold, Metadata: m.Metadata}
	return nil
}

func fillAcquireAll(l *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.LockAcquireAllRequest)
	switch n := len(m.Names); {
	case n == 0:
		return badRequest("names is empty")
	case n > machine.MaxNames:
		return badRequest("names lists %d locks, at most %d are allowed", n, machine.MaxNames)
	}
	for i, name := range m.Names {
		if bad := checkName(name, l.NameBytes); bad != nil {
			return bad
		}
		if slices.Contains(m.Names[:i], name) {
			return badRequest("names lists %s twice", quote(name))
		}
	}
	if bad := checkMetadata(l, m.Metadata); bad != nil {
		return bad
	}
	if bad := checkHolding(m.Holding); bad != nil {
		return bad
	}
	t, bad := termsOf(m.Wait, m.Delay, m.MaxHold)
	if bad != nil {
		return bad
	}
	c.AcquireAll = &machine.AcquireAll{Names: m.Names, Holding: m.Holding, Wait: t.wait, Delay: t.delay, MaxHold: t.maxHold, Metadata: m.Metadata}
	return nil
}

func fillCancel(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.LockCancelRequest)
	if m.Ticket == 0 {
		return badRequest("ticket is missing: it is the seq of the acquire")
	}
	c.Cancel = &machine.Cancel{Ticket: m.Ticket}
	return nil
}

func fillRelease(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.LockReleaseRequest)
	if m.Fence == 0 {
		return badRequest("fence is missing: it came with the grant")
	}
	c.Release = &machine.Release{Fence: m.Fence}
	return nil
}

func fillHandOver(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.LockHandOverRequest)
	switch {
	case m.Fence == 0:
		return badRequest("fence is missing: it is that of the hold that is to be handed over")
	case m.To == 0:
		return badRequest("to is missing: it is the session of the waiter that shall have the lock")
	}
	c.HandOver = &machine.HandOver{Fence: m.Fence, To: m.To}
	return nil
}

func fillForce(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.LockForceReleaseRequest)
	if m.Fence == 0 {
		return badRequest("fence is missing: name the fence that lock.get showed")
	}
	if bad := checkText("reason", m.Reason, maxReasonBytes); bad != nil {
		return bad
	}
	c.Force = &machine.Force{Fence: m.Fence, Reason: m.Reason, Now: m.Now}
	return nil
}

func checkValue(value []byte) *coorddv1.Error {
	if len(value) > machine.MaxValueBytes {
		return refuse(coorddv1.CodeTooLarge, "value has %d bytes, at most %d are allowed", len(value), machine.MaxValueBytes)
	}
	return nil
}

// fillCampaign makes an acquire of it: an election is a lock whose hold has a value.
func fillCampaign(l *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.ElectionCampaignRequest)
	if bad := checkValue(m.Value); bad != nil {
		return bad
	}
	if bad := checkMetadata(l, m.Metadata); bad != nil {
		return bad
	}
	if bad := checkHolding(m.Holding); bad != nil {
		return bad
	}
	t, bad := termsOf(m.Wait, m.Delay, m.MaxHold)
	if bad != nil {
		return bad
	}
	c.Acquire = &machine.Acquire{Mode: machine.Exclusive, Value: m.Value, Holding: m.Holding,
		Wait: t.wait, Delay: t.delay, MaxHold: t.maxHold, Metadata: m.Metadata}
	return nil
}

func fillProclaim(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.ElectionProclaimRequest)
	if m.Fence == 0 {
		return badRequest("fence is missing: it came with the grant")
	}
	c.Proclaim = &machine.Proclaim{Fence: m.Fence, Value: m.Value}
	return checkValue(m.Value)
}

func fillBarrierWait(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.BarrierWaitRequest)
	if m.Parties == 0 || m.Parties > machine.MaxParties {
		return badRequest("parties %d is out of range: 1 to %d", m.Parties, machine.MaxParties)
	}
	wait, bad := lockWait(m.Wait)
	c.BarrierWait = &machine.BarrierWait{Parties: m.Parties, Wait: wait}
	return bad
}

// checkLatch bounds a latch's count, and what is taken from it.
func checkLatch(field string, n uint64) *coorddv1.Error {
	if n > math.MaxInt64 {
		return badRequest("%s %d is out of range: 0 to %d", field, n, int64(math.MaxInt64))
	}
	return nil
}

func fillLatchSet(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.LatchSetRequest)
	c.LatchSet = &machine.LatchSet{Count: m.Count}
	return checkLatch("count", m.Count)
}

func fillLatchCountDown(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.LatchCountDownRequest)
	c.LatchCountDown = &machine.LatchCountDown{N: m.N}
	return checkLatch("n", m.N)
}

func fillLatchWait(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	wait, bad := lockWait(pm.(*coorddv1.LatchWaitRequest).Wait)
	c.LatchWait = &machine.LatchWait{Wait: wait}
	return bad
}
