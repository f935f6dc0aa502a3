package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// errNoTransport says that there is nobody to talk to.
var errNoTransport = fmt.Errorf("node: no transport: %w", transport.ErrUnknownPeer)

// Request sends body, of at most [MaxBodyBytes], to OnRequest of another member (or of this one) and returns its
// answer, or a *transport.RemoteError with the text of its error. It goes again after a broken connection until the
// context ends, and is carried out once (see transport.Messenger). A member that is not of this cluster is
// transport.ErrUnknownPeer.
func (n *Node) Request(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error) {
	if to == n.cfg.ID {
		answer, err := n.userRequest(ctx, to, body)
		if err != nil {
			return nil, &transport.RemoteError{Text: err.Error()}
		}
		return answer, nil
	}
	return n.request(ctx, to, frameUser, body)
}

// MaxBodyBytes is the size of the largest message between members.
const MaxBodyBytes = transport.MaxBodyBytes - 1

func (n *Node) request(ctx context.Context, to raft.MemberID, kind frameKind, body []byte) ([]byte, error) {
	if n.cfg.Transport == nil {
		return nil, errNoTransport
	}
	return n.cfg.Transport.Request(ctx, to, framed(kind, body))
}

// RequestLeader is Request to the leader, this member included. Where none is known it waits for one, until the context
// ends. Whether the one that was asked still leads when the answer arrives is for OnRequest to say.
func (n *Node) RequestLeader(ctx context.Context, body []byte) ([]byte, error) {
	leader, err := n.awaitLeader(ctx)
	if err != nil {
		return nil, err
	}
	return n.Request(ctx, leader, body)
}

// Notify sends body to OnNotify of another member (or of this one), once. It does not wait, and the message may be lost.
func (n *Node) Notify(to raft.MemberID, body []byte) error {
	switch {
	case to == n.cfg.ID:
		if n.cfg.OnNotify != nil {
			go n.cfg.OnNotify(to, append([]byte(nil), body...))
		}
		return nil
	case n.cfg.Transport == nil:
		return errNoTransport
	}
	return n.cfg.Transport.Notify(to, framed(frameUser, body))
}

// awaitLeader returns who leads, once somebody does.
func (n *Node) awaitLeader(ctx context.Context) (raft.MemberID, error) {
	if id := n.view.Load().soft.Leader; id != 0 {
		return id, nil
	}
	events, unsubscribe := n.Events()
	defer unsubscribe()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return 0, ErrStopped
			}
			if e.Leader != 0 {
				return e.Leader, nil
			}
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for a leader: %w", errors.Join(&NotLeaderError{}, ctx.Err()))
		case <-n.halted:
			return 0, ErrStopped
		}
	}
}

func (n *Node) userRequest(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error) {
	if n.cfg.OnRequest == nil {
		return nil, transport.ErrNoHandler
	}
	return n.cfg.OnRequest(ctx, from, body)
}

// Requested implements transport.MessageHandler.
func (h handler) Requested(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, errFrame
	}
	switch kind, body := frameKind(body[0]), body[1:]; kind {
	case frameUser:
		return h.n.userRequest(ctx, from, body)
	case frameChunk:
		return h.n.into.take(from, body)
	case frameAnnounce:
		return h.n.announcedByMember(ctx, body)
	case frameOrder:
		return h.n.ordered(ctx, from, body)
	default:
		return nil, fmt.Errorf("%w: kind %d", errFrame, kind)
	}
}

// Notified implements transport.MessageHandler.
func (h handler) Notified(from raft.MemberID, body []byte) {
	if len(body) > 0 && frameKind(body[0]) == frameUser && h.n.cfg.OnNotify != nil {
		h.n.cfg.OnNotify(from, body[1:])
	}
}
