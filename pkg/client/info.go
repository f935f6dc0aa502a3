package client

import (
	"context"
	"fmt"
	"iter"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/fence"
)

// Mode is how a lock is held.
type Mode = fence.Mode

// The modes.
const (
	Exclusive = fence.ModeExclusive
	Shared    = fence.ModeShared
	Permits   = fence.ModeSemaphore
)

// LockInfo is a lock as others see it. Times are cluster time: nanoseconds since the cluster's birth.
type LockInfo struct {
	Name       string
	State      string // FREE, HELD, or DELAYED: nobody holds it, and nobody may yet
	Holders    []HolderInfo
	Queue      []WaiterInfo // the first ones
	Waiting    int          // all of them
	DelayedFor time.Duration
	Limit      int // of a semaphore; 0: it is a lock
	InUse      int // permits of a semaphore
}

// HolderInfo is one hold.
type HolderInfo struct {
	Session   string
	Owner     string
	Fence     uint64
	Mode      Mode
	Count     int // permits of a semaphore, or entries of a reentrant lock
	Since     time.Duration
	ExpiresIn time.Duration // until its session ends unless it is renewed
	Until     time.Duration // the end that MaxHold gave it; 0: none
	Delayed   bool          // taken away, and still in the way
	Metadata  map[string]string
	Value     []byte // of an election
}

// WaiterInfo is one who waits.
type WaiterInfo struct {
	Session string
	Owner   string
	Ticket  uint64
	Mode    Mode
	Count   int // permits of a semaphore
	Since   time.Duration
	Names   []string // of LockAll
}

func lockInfo(l *coorddv1.Lock) LockInfo {
	info := LockInfo{Name: l.GetName(), State: l.GetState().String(), Waiting: int(l.GetWaiting()), DelayedFor: l.GetDelayedFor().AsDuration(),
		Limit: int(l.GetLimit()), InUse: int(l.GetInUse())}
	for _, h := range l.GetHolders() {
		info.Holders = append(info.Holders, HolderInfo{Session: idText(h.GetSession()), Owner: h.GetOwner(), Fence: h.GetFence(), Mode: Mode(h.GetMode().String()),
			Count: int(h.GetCount()), Since: time.Duration(h.GetSince()), ExpiresIn: h.GetExpiresIn().AsDuration(), Until: time.Duration(h.GetUntil()),
			Delayed: h.GetDelayed(), Metadata: h.GetMetadata(), Value: h.GetValue()})
	}
	for _, w := range l.GetQueue() {
		info.Queue = append(info.Queue, WaiterInfo{Session: idText(w.GetSession()), Owner: w.GetOwner(), Ticket: w.GetTicket(), Mode: Mode(w.GetMode().String()),
			Count: int(w.GetCount()), Since: time.Duration(w.GetSince()), Names: w.GetNames()})
	}
	return info
}

// LockInfo returns a lock as it is, by a linearizable read. A lock that nobody uses is FREE: there is no other.
func (c *Client) LockInfo(ctx context.Context, name string) (LockInfo, error) {
	if err := checkName("lock", name); err != nil {
		return LockInfo{}, err
	}
	var rep coorddv1.LockGetReply
	if _, err := c.ask(ctx, c.cfg, "lock.get", name, &coorddv1.LockGetRequest{Cluster: c.clusterID()}, &rep); err != nil {
		return LockInfo{}, fmt.Errorf("lock %q: %w", name, err)
	}
	return lockInfo(rep.GetLock()), nil
}

// LockHistory explains the state of a lock.
type LockHistory struct {
	Lock        LockInfo
	Timeline    []Transition // the last ones that are remembered, oldest first
	Explanation []string     // for people, a sentence each
}

// Why returns a lock as it is, and how that came.
func (c *Client) Why(ctx context.Context, name string) (LockHistory, error) {
	rep, err := c.why(ctx, c.cfg, name)
	if err != nil {
		return LockHistory{}, err
	}
	h := LockHistory{Lock: lockInfo(rep.GetLock()), Explanation: rep.GetExplanation()}
	for _, t := range rep.GetTimeline() {
		h.Timeline = append(h.Timeline, transitionOf(name, t))
	}
	return h, nil
}

func (c *Client) why(ctx context.Context, cfg config, name string) (*coorddv1.LockWhyReply, error) {
	if err := checkName("lock", name); err != nil {
		return nil, err
	}
	rep := new(coorddv1.LockWhyReply)
	if _, err := c.ask(ctx, cfg, "lock.why", name, &coorddv1.LockWhyRequest{Cluster: c.clusterID()}, rep); err != nil {
		return nil, fmt.Errorf("lock %q: %w", name, err)
	}
	return rep, nil
}

// listPage is how many are asked for at once.
const listPage = 500

// ListLocks tells the locks that are held or waited for and whose names begin with prefix, in the order of the names. Each
// page is one read: what changes meanwhile may be told as it was or as it is. An error is the last thing that is told.
func (c *Client) ListLocks(ctx context.Context, prefix string) iter.Seq2[LockInfo, error] {
	return pages(func(token string) ([]*coorddv1.Lock, string, error) {
		var rep coorddv1.LockListReply
		req := &coorddv1.LockListRequest{Prefix: prefix, PageSize: listPage, PageToken: token, Cluster: c.clusterID()}
		if _, err := c.ask(ctx, c.cfg, "lock.list", "", req, &rep); err != nil {
			return nil, "", fmt.Errorf("list the locks: %w", err)
		}
		return rep.GetLocks(), rep.GetNextPageToken(), nil
	}, lockInfo)
}

// SessionInfo is a session as others see it.
type SessionInfo struct {
	Session     string
	Owner       string
	TTL         time.Duration
	ExpiresIn   time.Duration // unless it is renewed
	Generation  uint64        // how often it was resumed
	Holds, Wait int
	Metadata    map[string]string
}

// ListSessions tells the sessions whose owners begin with owner, in the order of their numbers; else as [Client.ListLocks].
func (c *Client) ListSessions(ctx context.Context, owner string) iter.Seq2[SessionInfo, error] {
	return pages(func(token string) ([]*coorddv1.SessionInfo, string, error) {
		var rep coorddv1.SessionListReply
		req := &coorddv1.SessionListRequest{Owner: owner, PageSize: listPage, PageToken: token, Cluster: c.clusterID()}
		if _, err := c.ask(ctx, c.cfg, "session.list", "", req, &rep); err != nil {
			return nil, "", fmt.Errorf("list the sessions: %w", err)
		}
		return rep.GetSessions(), rep.GetNextPageToken(), nil
	}, func(s *coorddv1.SessionInfo) SessionInfo {
		return SessionInfo{Session: idText(s.GetSession()), Owner: s.GetOwner(), TTL: s.GetTtl().AsDuration(), ExpiresIn: s.GetExpiresIn().AsDuration(),
			Generation: s.GetGeneration(), Holds: int(s.GetHolds()), Wait: int(s.GetWaits()), Metadata: s.GetMetadata()}
	})
}

// pages tells what get returns page by page.
func pages[P, T any](get func(token string) ([]P, string, error), of func(P) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for token := ""; ; {
			page, next, err := get(token)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, x := range page {
				if !yield(of(x), nil) {
					return
				}
			}
			if token = next; token == "" {
				return
			}
		}
	}
}
