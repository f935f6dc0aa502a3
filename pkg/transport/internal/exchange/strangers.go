package exchange

import (
	"context"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// The bounds on announcements. A join needs one.
const (
	maxStrangers     = 8   // handled at the same time
	strangersAtOnce  = 20  // from one address, after a while without any
	strangersASecond = 10  // from one address, in the long run
	maxAddresses     = 256 // that are remembered; when there are more, all are forgotten
	// announceLimit bounds how long a handler may take for somebody who might be gone without a word.
	announceLimit = time.Minute
)

// strangers counts who announces itself.
type strangers struct {
	mu      sync.Mutex
	running int
	buckets map[string]*bucket // by address, without the port
}

// bucket is a token bucket.
type bucket struct {
	tokens float64
	at     time.Duration
}

// admit takes room for an announcement, if the address may have it.
func (s *strangers) admit(address string, now time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[address]
	if b == nil {
		if s.buckets == nil || len(s.buckets) >= maxAddresses {
			s.buckets = map[string]*bucket{}
		}
		b = &bucket{tokens: strangersAtOnce, at: now}
		s.buckets[address] = b
	}
	b.tokens = min(strangersAtOnce, b.tokens+strangersASecond*(now-b.at).Seconds())
	b.at = now
	if b.tokens < 1 || s.running >= maxStrangers {
		return false
	}
	b.tokens--
	s.running++
	return true
}

// leave gives the room back.
func (s *strangers) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

// Announce answers an announcement on the calling goroutine, which the transport waits for. The address is that of the
// caller's connection, without the port; the context ends when the caller has gone. false: there is nothing to answer.
func (s *Server) Announce(ctx context.Context, address string, from transport.Identity, body []byte) (status wire.Status, answer []byte, ok bool) {
	if !s.strangers.admit(address, s.now()) {
		return wire.StatusBusy, nil, s.ctx.Err() == nil
	}
	defer s.strangers.leave()
	ctx, cancel := context.WithTimeout(ctx, announceLimit)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if s.ctx.Err() != nil {
		return 0, nil, false
	}
	result, err := s.handler.Announced(ctx, from, body)
	if ctx.Err() != nil {
		return 0, nil, false
	}
	a := answerOf(result, err)
	return wire.ReplyOf(transport.RequestID{}, a).Status, a.Body, true
}

// Announcing repeats an announcement until the other side has room to begin with it. attempt is one connection.
func Announcing(ctx context.Context, body []byte, attempt func(context.Context) (wire.Status, []byte, error)) ([]byte, error) {
	if len(body) > transport.MaxAnnounceBytes {
		return nil, transport.ErrTooLarge
	}
	for pause := busyPause; ; pause = min(2*pause, maxBusyPause) {
		status, answer, err := attempt(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			return nil, err
		case status == wire.StatusDone:
			return answer, nil
		case status == wire.StatusFailed:
			return nil, &transport.RemoteError{Text: string(answer)}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}
