package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

// Session is a lease that holds locks: they are all lost when it ends. The client renews it in the background.
type Session struct {
	c          *Client
	cfg        config
	id         uint64
	secret     []byte
	generation uint64
	ttl        time.Duration
	lease      lease

	ctx    context.Context // ends with the session; its cause is Err
	cancel context.CancelCauseFunc
	done   chan struct{}
	wg     sync.WaitGroup

	renewal renewal     // guarded by the client's renewals
	busy    atomic.Bool // its last renewal was refused for the moment
	cut     atomic.Bool // the answer to its last renewal lacked a part

	events    *eventQueue
	sub       *nats.Subscription
	sequences *sequenceSet

	mu         sync.Mutex
	err        error // why it ended
	closing    bool  // session.close was, or need not be, sent
	window     window
	queue      []*call // waiting for their turn, oldest first
	flights    int     // messages under way
	noBatch    bool    // batch is not permitted: single messages for good
	tickets    map[uint64]*ticket
	holds      map[uint64][]*Lock // by fence; several of a reentrant one
	strays     map[uint64]stray   // by the ticket's seq
	eventsSeen uint64
	untold     uint64      // last event that an incomplete answer counted; 0: none
	expiry     clock.Timer // fires when the lease ends
}

// NewSession opens a session of its own beside the client's default one. The options change the client's; a
// connection's options can't be changed. ctx bounds the opening alone.
func (c *Client) NewSession(ctx context.Context, opts ...Option) (*Session, error) {
	cfg, err := c.cfg.with(opts)
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	return c.open(ctx, cfg)
}

func (c *Client) open(ctx context.Context, cfg config) (*Session, error) {
	secret, nonce := make([]byte, 16), make([]byte, 16)
	rand.Read(secret)
	rand.Read(nonce)
	req := &coorddv1.SessionOpenRequest{Ttl: durationpb.New(cfg.ttl), Owner: cfg.owner, Metadata: cfg.metadata,
		Nonce: nonce, Secret: secret, Cluster: c.clusterID()}
	var rep coorddv1.SessionOpenReply
	sent, err := c.ask(ctx, cfg, "session.open", "", req, &rep)
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	c.learnCluster(rep.GetCluster())
	s := c.newSession(cfg, rep.GetSession(), secret, 0, rep.GetTtl().AsDuration(), newWindow(1))
	if !s.lease.renew(sent, rep.GetNow(), rep.GetDeadline()) {
		s.farewell()
		return nil, fmt.Errorf("open a session: the answer came after its end: %w", ErrSessionExpired)
	}
	return s, s.begin()
}

func (c *Client) newSession(cfg config, id uint64, secret []byte, generation uint64, ttl time.Duration, w window) *Session {
	s := &Session{c: c, cfg: cfg, id: id, secret: secret, generation: generation, ttl: ttl, window: w,
		done: make(chan struct{}), events: newEventQueue(),
		tickets: make(map[uint64]*ticket), holds: make(map[uint64][]*Lock), strays: make(map[uint64]stray)}
	if s.ttl <= 0 {
		s.ttl = cfg.ttl
	}
	s.lease.clock, s.lease.drift = c.clock, cfg.drift
	s.sequences = newSequenceSet(c, cfg, func(context.Context) (*Session, error) { return s, s.Err() })
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// begin subscribes to the session's events and starts renewing it.
func (s *Session) begin() error {
	sub, err := s.c.wire.nc.Subscribe(eventSubject(s.cfg.namespace, s.id), s.receive)
	if err != nil {
		s.farewell()
		return fmt.Errorf("subscribe to the session's events: %w", err)
	}
	s.sub = sub
	if !s.c.adopt(s) {
		_ = sub.Unsubscribe()
		s.farewell()
		return ErrClosed
	}
	s.mu.Lock()
	s.expiry = s.c.clock.AfterFunc(s.lease.remaining(), func() { _ = s.Err() })
	ended := s.err != nil
	if ended { // before there was a timer to stop
		s.expiry.Stop()
	}
	s.mu.Unlock()
	s.c.renewals.add(s)
	return nil
}

// ID returns the session's number in its cluster.
func (s *Session) ID() uint64 { return s.id }

// Done is closed when the session has ended; Err then tells why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns nil while the session surely lives. It looks at the clock itself, and never goes back to nil.
// Otherwise it matches [ErrSessionExpired], or [ErrClosed] after Close.
func (s *Session) Err() error {
	if s.lease.remaining() > 0 || canary.Broken(canary.ClientChecksAtUse) {
		select {
		case <-s.done:
		default:
			return nil
		}
	} else {
		s.end(s.lease.reason(), false)
	}
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Remaining returns for how long the session surely lives if nothing renews it; 0 after its end.
func (s *Session) Remaining() time.Duration {
	if s.Err() != nil {
		return 0
	}
	return s.lease.remaining()
}

// end ends the session on this side: its locks' contexts, its waiting calls, its background work. gone says
// that the service has ended it too; otherwise it is told to. The first reason stands.
func (s *Session) end(why error, gone bool) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = why
	tellService := !gone && !s.closing
	s.closing = true
	if s.expiry != nil {
		s.expiry.Stop()
	}
	var locks []*Lock
	for _, all := range s.holds {
		locks = append(locks, all...)
	}
	for _, l := range locks {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	clear(s.holds)
	calls := s.queue
	s.queue = nil
	for _, t := range s.tickets {
		t.endLocked(why)
	}
	clear(s.tickets)
	s.mu.Unlock()

	for _, l := range locks {
		if l.end(endOfHold(why)) {
			close(l.released) // with the session: nobody else will
		}
	}
	close(s.done) // after the locks: who sees the session ended sees them ended
	s.cancel(why)
	for _, c := range calls {
		c.finish(nil, why)
	}
	if s.sub != nil {
		_ = s.sub.Unsubscribe() // the connection may be closed already
	}
	s.events.close(Event{Kind: EventSessionExpired, Reason: why.Error()}, !errors.Is(why, ErrClosed))
	if tellService {
		s.cfg.log.Warn("the session is lost", "session", s.id, "error", why)
		s.farewell()
	}
	s.c.renewals.remove(s)
	s.c.disown(s)
}

// farewell tells the service in the background that a session which nobody will use again may end: nothing
// of it is ever renewed, so if this does not arrive the session ends by itself.
func (s *Session) farewell() {
	s.c.background(2*s.ttl, func(ctx context.Context) {
		if err := s.sendClose(ctx); err != nil {
			s.cfg.log.Debug("close a lost session", "session", s.id, "error", err)
		}
	})
}

func (s *Session) sendClose(ctx context.Context) error {
	body, err := proto.Marshal(&coorddv1.SessionCloseRequest{Session: s.id, Secret: s.secret, Generation: s.generation, Cluster: s.c.clusterID()})
	if err != nil {
		return err
	}
	out, err := s.c.wire.do(ctx, &request{subject: subjectOf(s.cfg.namespace, "session.close", ""), body: func() ([]byte, error) { return body, nil }})
	if err == nil || sessionGone(err) {
		return nil
	}
	if codeOf(err) != "" {
		return err
	}
	return s.c.wire.explain(out, err, true)
}

// Close releases everything that the session holds, in one step, and ends it. Its locks' contexts end before
// the service is told. If that is not confirmed before ctx, or the client's time-out, ends, the error matches
// [ErrOutcomeUnknown], and the client goes on trying in the background while it is open. A session that has
// ended already is closed: nil.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.err != nil || s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	s.mu.Unlock()
	s.end(fmt.Errorf("session: %w", ErrClosed), false)
	s.wg.Wait() // what was under way does not arrive after the close

	ctx, cancel := clock.WithTimeout(ctx, s.c.clock, s.cfg.timeout, errCallTimeout)
	defer cancel()
	err := s.sendClose(ctx)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, ErrNoLeader) {
		s.farewell()
	}
	return fmt.Errorf("close the session: %w", err)
}

// background runs f unless the session has ended. f must end soon after the session does.
func (s *Session) background(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.wg.Go(f)
	}
}

// Locks returns the locks that the session holds: after [Client.ResumeSession], those taken over. The order is
// that of their fences.
func (s *Session) Locks() []*Lock {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Lock, 0, len(s.holds))
	for _, all := range s.holds {
		out = append(out, all...)
	}
	slices.SortFunc(out, func(a, b *Lock) int {
		if a.fence < b.fence {
			return -1
		}
		return 1
	})
	return out
}
