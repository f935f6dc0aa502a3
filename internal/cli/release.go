package cli

import (
	"context"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func isPrintableName(name string) bool {
	if !utf8.ValidString(name) {
		return false
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// forceRelease takes a lock away. It names the fence that was seen, so that a repeat never takes the lock
// away from the next holder.
func (c *clientFlags) forceRelease(ctx context.Context, nc *nats.Conn, name string, fence uint64, reason string, now bool) (proto.Message, error) {
	if fence == 0 {
		var r coorddv1.LockGetReply
		if err := c.request(ctx, nc, c.subject("lock.get", name), &coorddv1.LockGetRequest{}, &r); err != nil {
			return nil, err
		}
		holders := r.GetLock().GetHolders()
		switch len(holders) {
		case 0:
			number, _ := codeProperties(coorddv1.CodeNotHeld)
			return nil, &failure{exit: exitError, err: fmt.Errorf("lock %q is not held by anybody", name),
				body: &errorBody{Code: coorddv1.CodeNotHeld, Number: number}}
		case 1:
			fence = holders[0].GetFence()
		default:
			return nil, usagef("lock %q has %d holders; say which one with --fence (`coordd lock get` shows them)", name, len(holders))
		}
	}
	reply := &coorddv1.LockReleaseReply{}
	subject := "coord.admin.v1.lock.force-release." + c.namespace + "." + nameToken(name)
	return reply, c.request(ctx, nc, subject, &coorddv1.LockForceReleaseRequest{Fence: fence, Reason: reason, Now: now}, reply)
}

// releaseHold releases a hold of a session that somebody else opened.
func (c *clientFlags) releaseHold(ctx context.Context, nc *nats.Conn, verb, name string, h *holdFlags, secret []byte) (proto.Message, error) {
	r := &coorddv1.LockReleaseReply{}
	return r, c.inForeignSession(ctx, nc, verb, name, r, func(seq uint64) proto.Message {
		return &coorddv1.LockReleaseRequest{Session: h.session, Secret: secret, Generation: h.generation, Seq: seq, Ack: 1, Fence: h.fence}
	})
}

// inForeignSession sends a request in a session that somebody else opened and whose used seqs are not known
// here. Every request needs one that the session has not used: below the session's floor it is
// REQUEST_STALE, used it is REQUEST_REUSED, too far above it is WINDOW_FULL, and none of these does
// anything. So one is searched for: upwards by doubling, then between the bounds. The session's own count
// goes on below it, because ack, which req must set to 1, stays where it was.
func (c *clientFlags) inForeignSession(ctx context.Context, nc *nats.Conn, verb, name string, reply proto.Message, req func(seq uint64) proto.Message) error {
	// The window is 1,024 wide: half of it leaves a fresh session's own requests room on both sides.
	low, high := uint64(0), uint64(0) // stale at low; beyond the window at high, 0: not known
	for seq, tries := uint64(512), 0; tries < 200; tries++ {
		err := c.requestUnless(ctx, nc, c.subject(verb, name), req(seq), reply, coorddv1.CodeWindowFull)
		switch codeOf(err) {
		case coorddv1.CodeRequestStale:
			low = seq
		case coorddv1.CodeWindowFull:
			high = seq
		case coorddv1.CodeRequestReused:
			seq++
			continue
		default:
			return err
		}
		switch {
		case high == 0:
			seq = 2 * low
		case high <= low+1:
			return fmt.Errorf("%q: the session changes faster than a free seq could be found", name)
		default:
			seq = low + (high-low)/2
		}
	}
	return fmt.Errorf("%q: no free seq of the session was found", name)
}

// codeOf returns the contract's code of an error, "" if it has none.
func codeOf(err error) string {
	var f *failure
	if errors.As(err, &f) && f.body != nil {
		return f.body.Code
	}
	return ""
}
