package exchange

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// The pauses before a request that was sent back as one too many goes again.
const (
	busyPause    = 5 * time.Millisecond
	maxBusyPause = 250 * time.Millisecond
)

// maxSilences bounds how far the pause between two repeats grows, as a multiple of the first one.
const maxSilences = 16

// Client is the asking side: an Outbox for each peer. It is safe for concurrent use.
type Client struct {
	silence time.Duration
	run     [8]byte // random: another run of the same node must not use this one's IDs again
	counter atomic.Uint64

	mu     sync.Mutex
	peers  map[raft.MemberID]*Outbox
	closed bool
}

// NewClient makes a client. A request that has no answer after silence goes again.
func NewClient(silence time.Duration) *Client {
	c := &Client{silence: silence, peers: map[raft.MemberID]*Outbox{}}
	rand.Read(c.run[:])
	return c
}

// Open returns the outbox of a peer, which it makes if there is none.
func (c *Client) Open(id raft.MemberID) *Outbox {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.peers[id]
	if o == nil {
		o = newOutbox()
		if c.closed {
			o.end(transport.ErrClosed)
		}
		c.peers[id] = o
	}
	return o
}

// Shut ends the requests to a peer that is none any more.
func (c *Client) Shut(id raft.MemberID) {
	c.mu.Lock()
	o := c.peers[id]
	delete(c.peers, id)
	c.mu.Unlock()
	if o != nil {
		o.end(transport.ErrUnknownPeer)
	}
}

// Close ends all requests. Notifications that wait stay for the transport to take.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, o := range c.peers {
		o.end(transport.ErrClosed)
	}
}

// outbox finds the outbox of a peer.
func (c *Client) outbox(to raft.MemberID) (*Outbox, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, transport.ErrClosed
	}
	o := c.peers[to]
	if o == nil {
		return nil, transport.ErrUnknownPeer
	}
	return o, nil
}

// id makes the ID of a request.
func (c *Client) id() (id transport.RequestID) {
	copy(id[:8], c.run[:])
	binary.LittleEndian.PutUint64(id[8:], c.counter.Add(1))
	return id
}

// Request is Messenger.Request.
func (c *Client) Request(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error) {
	if len(body) > transport.MaxBodyBytes {
		return nil, fmt.Errorf("request of %d bytes to member %s: %w", len(body), to, transport.ErrTooLarge)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("request to member %s: %w", to, context.Cause(ctx))
	}
	o, err := c.outbox(to)
	if err != nil {
		return nil, fmt.Errorf("request to member %s: %w", to, err)
	}
	k := o.begin(c.id(), bytes.Clone(body))
	defer o.finish(k)
	answer, err := c.await(ctx, o, k)
	if err != nil {
		if _, remote := err.(*transport.RemoteError); remote {
			return nil, err
		}
		return nil, fmt.Errorf("request to member %s: %w", to, err)
	}
	return answer, nil
}

// await has a request repeated until it is answered or nobody waits for it any more.
func (c *Client) await(ctx context.Context, o *Outbox, k *call) ([]byte, error) {
	silence, pause := c.silence, busyPause
	again := time.NewTimer(silence)
	defer again.Stop()
	for {
		select {
		case r := <-k.replies:
			switch r.Status {
			case wire.StatusDone:
				return r.Body, nil
			case wire.StatusFailed:
				return nil, &transport.RemoteError{Text: string(r.Body)}
			}
			again.Reset(pause)
			pause = min(2*pause, maxBusyPause)
		case <-again.C:
			o.again(k)
			silence = min(2*silence, maxSilences*c.silence)
			again.Reset(silence)
		case <-o.ended:
			return nil, o.cause
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Notify is Messenger.Notify.
func (c *Client) Notify(to raft.MemberID, body []byte) error {
	err := transport.ErrTooLarge
	if len(body) <= transport.MaxBodyBytes {
		var o *Outbox
		if o, err = c.outbox(to); err == nil {
			err = o.notify(bytes.Clone(body))
		}
	}
	if err != nil {
		return fmt.Errorf("notification of %d bytes to member %s: %w", len(body), to, err)
	}
	return nil
}
