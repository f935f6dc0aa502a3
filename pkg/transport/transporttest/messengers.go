package transporttest

import (
	"bytes"
	"context"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// messengers is the part of a Recorder that takes requests, notifications and announcements. Without a function that
// says otherwise it answers with what it was sent.
type messengers struct {
	requests  [][]byte
	notices   [][]byte
	strangers []transport.Identity
	refusals  map[raft.MemberID][]transport.Refusal
	turned    map[raft.MemberID]transport.Rejection // who was turned away, and why at last
	// Called without the lock.
	onRequest  func(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error)
	onNotice   func(from raft.MemberID, body []byte)
	onAnnounce func(ctx context.Context, from transport.Identity, body []byte) ([]byte, error)
}

// Requested keeps the body and answers.
func (r *Recorder) Requested(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error) {
	r.mu.Lock()
	answer := r.onRequest
	r.calls++
	r.requests = append(r.requests, bytes.Clone(body))
	r.mu.Unlock()
	if answer == nil {
		return body, nil
	}
	return answer(ctx, from, body)
}

// Notified keeps the body.
func (r *Recorder) Notified(from raft.MemberID, body []byte) {
	r.mu.Lock()
	hook := r.onNotice
	r.calls++
	r.notices = append(r.notices, bytes.Clone(body))
	r.mu.Unlock()
	if hook != nil {
		hook(from, body)
	}
}

// Announced keeps who it was and answers.
func (r *Recorder) Announced(ctx context.Context, from transport.Identity, body []byte) ([]byte, error) {
	r.mu.Lock()
	answer := r.onAnnounce
	r.calls++
	r.strangers = append(r.strangers, from)
	r.mu.Unlock()
	if answer == nil {
		return body, nil
	}
	return answer(ctx, from, body)
}

// Refused keeps the refusal.
func (r *Recorder) Refused(by raft.MemberID, refusal *transport.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.refusals == nil {
		r.refusals = map[raft.MemberID][]transport.Refusal{}
	}
	r.refusals[by] = append(r.refusals[by], *refusal)
}

// OnRequest has f answer requests from now on; it may block.
func (r *Recorder) OnRequest(f func(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onRequest = f
}

// OnNotice has f called with each notification from now on; it may block.
func (r *Recorder) OnNotice(f func(from raft.MemberID, body []byte)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onNotice = f
}

// OnAnnounce has f answer announcements from now on; it may block.
func (r *Recorder) OnAnnounce(f func(ctx context.Context, from transport.Identity, body []byte) ([]byte, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onAnnounce = f
}

// Requests returns the bodies of the requests, in the order of the calls.
func (r *Recorder) Requests() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.requests...)
}

// Notices returns the bodies of the notifications, in the order of the calls.
func (r *Recorder) Notices() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.notices...)
}

// Strangers returns who announced itself, in the order of the calls.
func (r *Recorder) Strangers() []transport.Identity {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]transport.Identity(nil), r.strangers...)
}

// Refusals returns the refusals by a peer.
func (r *Recorder) Refusals(by raft.MemberID) []transport.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]transport.Refusal(nil), r.refusals[by]...)
}

// TurnedAway keeps whom this node refused.
func (r *Recorder) TurnedAway(caller transport.Identity, refusal *transport.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.turned == nil {
		r.turned = map[raft.MemberID]transport.Rejection{}
	}
	r.turned[caller.Member] = refusal.Kind
}

// TurnedAwayFor is why a caller was refused at last; empty: it was not.
func (r *Recorder) TurnedAwayFor(caller raft.MemberID) transport.Rejection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turned[caller]
}
