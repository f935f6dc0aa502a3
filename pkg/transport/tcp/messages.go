package tcp

import (
	"bytes"
	"context"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/internal/queue"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// The bounds on replies that wait for one caller. Beyond them the connection ends, and the caller asks again.
const (
	maxReplies    = 4096
	maxReplyBytes = 32 << 20
)

// Request asks a member and waits for its answer.
func (t *Transport) Request(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error) {
	return t.client.Request(ctx, to, body)
}

// Notify queues a one-way message.
func (t *Transport) Notify(to raft.MemberID, body []byte) error {
	err := t.client.Notify(to, body)
	if err != nil {
		if r := (*t.routes.Load())[to]; r != nil {
			r.lose(1)
		}
	}
	return err
}

// idle reports whether a connection for messages has had nothing to do for long.
func (s *session) idle() bool {
	if s.link.outbox == nil {
		return false
	}
	if s.link.outbox.Busy() {
		s.used = time.Now()
	}
	return time.Since(s.used) >= s.link.route.t.cfg.MessagesIdle
}

// flushMessages writes the requests and notifications that wait, with a ping in front if it is time for one.
func (s *session) flushMessages(ping bool) error {
	l := s.link
	s.buffer = s.buffer[:0]
	if ping {
		s.buffer = s.appendPing(s.buffer)
	}
	parcels := l.outbox.Take(nil, drainBytes)
	if len(parcels) > 0 {
		s.used = time.Now()
	}
	for i := range parcels {
		if p := &parcels[i]; p.Request {
			s.buffer = wire.AppendRequest(s.buffer, &wire.Request{ID: p.ID, Body: p.Body})
		} else {
			s.buffer = wire.AppendNotify(s.buffer, p.Body)
		}
	}
	err := s.write(s.buffer)
	if cap(s.buffer) > keepBytes {
		s.buffer = nil
	}
	if err != nil {
		for i := range parcels {
			if !parcels[i].Request { // requests go again
				l.route.lose(1)
			}
		}
	}
	return err
}

// newReplies makes the queue before a caller that asks.
func newReplies() *queue.Queue[[]byte] {
	return queue.New[[]byte](queue.DropNewest, maxReplies, maxReplyBytes)
}

// request takes a request.
func (in *inbound) request(frame wire.Frame) error {
	r, err := wire.DecodeRequest(owned(frame))
	if err != nil {
		return err
	}
	in.t.server.Request(in.caller, r, func(reply wire.Reply) { in.reply(wire.AppendReply(nil, &reply)) })
	return nil
}

// notify takes a notification.
func (in *inbound) notify(frame wire.Frame) error {
	body, err := wire.DecodeNotify(owned(frame))
	if err != nil {
		return err
	}
	if !in.t.server.Notify(in.caller.Member, body) {
		in.t.cfg.Logger.Debug("notification of a peer was dropped, too many are handled", "peer", in.caller.Member.String())
	}
	return nil
}

// reply queues a whole frame for the caller. One that does not take its answers loses the connection.
func (in *inbound) reply(frame []byte) {
	if in.replies.Push(frame, len(frame)) > 0 {
		in.end()
	}
}

// answer writes what reply queued, until the connection ends.
func (in *inbound) answer() {
	defer in.end()
	label := transport.Peer{ID: in.caller.Member, Name: in.caller.Name}.Label()
	var batch [][]byte
	for {
		select {
		case <-in.ended:
			return
		case <-in.replies.Wake():
		}
		batch = in.replies.Drain(batch[:0], drainBytes)
		for _, frame := range batch {
			if in.t.write(in.conn, frame, label) != nil {
				return
			}
		}
		clear(batch)
	}
}

// owned returns a frame's body in memory of its own.
func owned(frame wire.Frame) []byte {
	if frame.Owned {
		return frame.Body
	}
	return bytes.Clone(frame.Body)
}
