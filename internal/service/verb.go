package service

import (
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// verb is one thing that clients can ask for. It is a command (fill and reply are set) or a read (read is set).
type verb struct {
	name  string // as in the subject
	named bool   // a name follows it
	kind  machine.Kind
	// anonymous commands may come without a session.
	anonymous bool
	// noSeq commands have no seq of their own.
	noSeq bool
	// alone verbs do not go into a batch.
	alone bool

	request func() proto.Message
	// fill checks the request and puts what belongs to this verb alone into the command.
	fill func(l *Limits, m proto.Message, c *machine.Command) *coorddv1.Error
	// reply makes the answer of a command that went well.
	reply func(s *Service, c *call, r *machine.Reply) proto.Message
	// read makes the answer of a read. now is cluster time as well as this node knows it.
	read func(v *machine.View, q readQuery) (proto.Message, *coorddv1.Error)
	// big reads look at a copy, off the applier.
	big bool
}

// readQuery is what a read asks for.
type readQuery struct {
	verb, ns, name string
	request        proto.Message
	now            int64
	maxBytes       int // of the answer
}

func newOf[T any, P interface {
	*T
	proto.Message
}]() proto.Message {
	return P(new(T))
}

// batchVerb has a way of its own through the service.
var batchVerb = &verb{name: "batch", alone: true, request: newOf[coorddv1.BatchRequest]}

// keepaliveVerb renews a session, alone or beside many others in a batch.
var keepaliveVerb = &verb{name: "session.keepalive", kind: machine.KindSessionKeepalive, noSeq: true,
	request: newOf[coorddv1.SessionKeepaliveRequest], fill: fillNothing, reply: replySession}

// verbs are the verbs of one command or read each.
var verbs = []*verb{
	{name: "session.open", kind: machine.KindSessionOpen, anonymous: true, noSeq: true, alone: true,
		request: newOf[coorddv1.SessionOpenRequest], fill: fillOpen, reply: replyOpen},
	keepaliveVerb,
	{name: "session.resume", kind: machine.KindSessionResume, noSeq: true, alone: true,
		request: newOf[coorddv1.SessionResumeRequest], fill: fillResume, reply: replySession},
	{name: "session.close", kind: machine.KindSessionClose, noSeq: true,
		request: newOf[coorddv1.SessionCloseRequest], fill: fillNothing, reply: replyClose},

	{name: "session.list", request: newOf[coorddv1.SessionListRequest], read: readSessions, big: true},

	{name: "lock.acquire", named: true, kind: machine.KindLockAcquire,
		request: newOf[coorddv1.LockAcquireRequest], fill: fillAcquire, reply: replyAcquire},
	{name: "lock.acquire-all", kind: machine.KindLockAcquireAll,
		request: newOf[coorddv1.LockAcquireAllRequest], fill: fillAcquireAll, reply: replyAcquire},
	{name: "lock.cancel", named: true, kind: machine.KindLockCancel,
		request: newOf[coorddv1.LockCancelRequest], fill: fillCancel, reply: replyCancel},
	{name: "lock.release", named: true, kind: machine.KindLockRelease,
		request: newOf[coorddv1.LockReleaseRequest], fill: fillRelease, reply: replyRelease},
	{name: "lock.hand-over", named: true, kind: machine.KindLockHandOver,
		request: newOf[coorddv1.LockHandOverRequest], fill: fillHandOver, reply: replyHandOver},
	{name: "lock.why", named: true, request: newOf[coorddv1.LockWhyRequest], read: readWhy},
	{name: "lock.get", named: true, request: newOf[coorddv1.LockGetRequest], read: readLock},
	{name: "lock.list", request: newOf[coorddv1.LockListRequest], read: readLocks, big: true},

	{name: "election.campaign", named: true, kind: machine.KindLockAcquire,
		request: newOf[coorddv1.ElectionCampaignRequest], fill: fillCampaign, reply: replyAcquire},
	{name: "election.observe", named: true, request: newOf[coorddv1.ElectionObserveRequest], read: readLeader},
	{name: "election.proclaim", named: true, kind: machine.KindElectionProclaim,
		request: newOf[coorddv1.ElectionProclaimRequest], fill: fillProclaim, reply: replyProclaim},
	{name: "election.resign", named: true, kind: machine.KindLockRelease,
		request: newOf[coorddv1.LockReleaseRequest], fill: fillRelease, reply: replyRelease},
	{name: "election.hand-over", named: true, kind: machine.KindLockHandOver,
		request: newOf[coorddv1.LockHandOverRequest], fill: fillHandOver, reply: replyHandOver},

	{name: "barrier.wait", named: true, kind: machine.KindBarrierWait,
		request: newOf[coorddv1.BarrierWaitRequest], fill: fillBarrierWait, reply: replyAcquire},
	{name: "latch.set", named: true, kind: machine.KindLatchSet,
		request: newOf[coorddv1.LatchSetRequest], fill: fillLatchSet, reply: replyLatch},
	{name: "latch.count-down", named: true, kind: machine.KindLatchCountDown,
		request: newOf[coorddv1.LatchCountDownRequest], fill: fillLatchCountDown, reply: replyLatch},
	{name: "latch.wait", named: true, kind: machine.KindLatchWait,
		request: newOf[coorddv1.LatchWaitRequest], fill: fillLatchWait, reply: replyAcquire},

	{name: "id.create", named: true, kind: machine.KindSeqCreate,
		request: newOf[coorddv1.SequenceCreateRequest], fill: fillCreate, reply: replySequence},
	{name: "id.alloc", named: true, kind: machine.KindSeqAlloc, anonymous: true,
		request: newOf[coorddv1.SequenceAllocRequest], fill: fillAlloc, reply: replyRange},
	{name: "id.advance", named: true, kind: machine.KindSeqAdvance,
		request: newOf[coorddv1.SequenceAdvanceRequest], fill: fillAdvance, reply: replySequence},
	{name: "id.delete", named: true, kind: machine.KindSeqDelete,
		request: newOf[coorddv1.SequenceRequest], fill: fillNothing, reply: replySequence},
	{name: "id.get", named: true, request: newOf[coorddv1.SequenceRequest], read: readSequence},
	{name: "id.list", request: newOf[coorddv1.SequenceListRequest], read: readSequences, big: true},
}

// forceVerb is the operators' command; its subject is not the clients'.
var forceVerb = &verb{name: "lock.force-release", named: true, kind: machine.KindLockForceRelease, anonymous: true, noSeq: true, alone: true,
	request: newOf[coorddv1.LockForceReleaseRequest], fill: fillForce, reply: replyForce}

// The reads that every node answers from what it has.
var (
	staleGet  = &verb{name: "stale.lock.get", named: true, request: newOf[coorddv1.LockGetRequest], read: readLock, alone: true}
	staleList = &verb{name: "stale.lock.list", request: newOf[coorddv1.LockListRequest], read: readLocks, big: true, alone: true}
)

var verbByName = func() map[string]*verb {
	m := make(map[string]*verb, len(verbs))
	for _, v := range verbs {
		m[v.name] = v
	}
	return m
}()

// Verbs returns the names of all verbs that a node answers and counts, for metrics.
func Verbs() []string {
	var names []string
	for _, v := range verbs {
		names = append(names, v.name)
	}
	for _, v := range adminVerbs() {
		names = append(names, v.name)
	}
	return append(names, batchVerb.name, forceVerb.name, staleGet.name, staleList.name)
}
