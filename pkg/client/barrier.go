package client

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// Barrier is where several parties wait for each other.
type Barrier struct {
	by   caller
	name string
	n    int
}

// Barrier returns the barrier of that name for n parties, used in the client's default session. No request is sent.
func (c *Client) Barrier(name string, n int) *Barrier { return &Barrier{c, name, n} }

// Barrier returns the barrier of that name for n parties, used in this session. No request is sent.
func (s *Session) Barrier(name string, n int) *Barrier { return &Barrier{s, name, n} }

// Wait waits until n calls wait here, in whatever processes; then all of them return nil, and the barrier begins anew. One
// whose ctx or session ends meanwhile does not count any more. All must name the same n: else the code is LIMIT_MISMATCH.
func (b *Barrier) Wait(ctx context.Context) error {
	if b.n < 1 {
		return localError(coorddv1.CodeBadRequest, "barrier %q for %d parties: it must be at least 1", b.name, b.n)
	}
	return pass(ctx, b.by, &want{noun: "barrier", verb: "barrier.wait", name: b.name, request: func([]uint64) proto.Message {
		return &coorddv1.BarrierWaitRequest{Parties: uint64(b.n)}
	}})
}

// pass waits until it may pass.
func pass(ctx context.Context, by caller, w *want) error {
	if err := checkName(w.noun, w.name); err != nil {
		return err
	}
	w.passage = true
	_, err := obtain(ctx, by, w)
	return err
}

// Latch is a countdown that many wait for. It opens when its count comes to 0, once and for all.
type Latch struct {
	by   caller
	name string
}

// Latch returns the latch of that name, used in the client's default session. No request is sent.
func (c *Client) Latch(name string) *Latch { return &Latch{c, name} }

// Latch returns the latch of that name, used in this session. No request is sent.
func (s *Session) Latch(name string) *Latch { return &Latch{s, name} }

// Set makes the latch, or sets its count. 0 lets all pass who wait, and forgets the latch.
func (l *Latch) Set(ctx context.Context, n int) error {
	if n < 0 {
		return localError(coorddv1.CodeBadRequest, "count %d of latch %q is negative", n, l.name)
	}
	return l.change(ctx, "latch.set", &coorddv1.LatchSetRequest{Count: uint64(n)})
}

// CountDown takes n from the count, but not below 0. At 0 all pass who wait, or will.
func (l *Latch) CountDown(ctx context.Context, n int) error {
	if n < 1 {
		return localError(coorddv1.CodeBadRequest, "count latch %q down by %d: it must be at least 1", l.name, n)
	}
	return l.change(ctx, "latch.count-down", &coorddv1.LatchCountDownRequest{N: uint64(n)})
}

// Wait waits until the latch is open. If nobody has set it yet it waits for that too.
func (l *Latch) Wait(ctx context.Context) error {
	return pass(ctx, l.by, &want{noun: "latch", verb: "latch.wait", name: l.name, request: func([]uint64) proto.Message {
		return &coorddv1.LatchWaitRequest{}
	}})
}

func (l *Latch) change(ctx context.Context, verb string, req proto.Message) error {
	w := &want{noun: "latch", name: l.name}
	if err := checkName(w.noun, w.name); err != nil {
		return err
	}
	return l.by.through(ctx, w, func(s *Session) (bool, error) {
		var rep coorddv1.LatchReply
		if err := s.execute(ctx, verb, l.name, req, &rep); err != nil {
			return isUnknown(err), fmt.Errorf("%v: %w", w, err)
		}
		return false, nil
	})
}
