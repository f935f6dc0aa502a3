package client

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client/internal/clock"
)

// wire sends messages over the NATS connection and brings answers to whoever waits for them. All answers come
// to one private inbox; the last part of its subject names the exchange and the try, so that a late answer to
// an earlier try counts as well, and is known to be one.
type wire struct {
	nc    *nats.Conn
	own   bool // made by Connect: may be forced to another server
	log   hclog.Logger
	clock clock.Clock

	inbox  string // with the dot
	sub    *nats.Subscription
	status chan nats.Status
	wg     sync.WaitGroup

	mu        sync.Mutex
	last      uint64
	exchanges map[uint64]*exchange
	again     chan struct{} // closed and replaced when the connection is there again
	onAgain   func()
	checking  bool // a health check is under way
	stopped   bool
	done      chan struct{} // closed when the wire stops

	answered atomic.Bool // coordd has answered something on this connection
	desert   desert
}

// exchange is one question, perhaps sent several times.
type exchange struct {
	id      uint64
	subject string
	answers chan answer // bounded: of many repeats the first few answers do
	sent    []instant   // of each try; used by the asking goroutine alone
}

// answer is one message that came back.
type answer struct {
	msg    *nats.Msg
	try    int
	denied bool // NATS refused the message; msg is nil
}

func newWire(nc *nats.Conn, own bool, log hclog.Logger, clk clock.Clock) *wire {
	return &wire{nc: nc, own: own, log: log, clock: clk, exchanges: make(map[uint64]*exchange), again: make(chan struct{}), done: make(chan struct{})}
}

// start subscribes to the inbox and begins to watch the connection.
func (w *wire) start() error {
	w.inbox = w.nc.NewInbox() + "."
	sub, err := w.nc.Subscribe(w.inbox+"*", w.receive)
	if err != nil {
		return fmt.Errorf("subscribe to the inbox: %w", err)
	}
	// The inbox must not drop what others wait for; its size is bounded by what was asked.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("subscribe to the inbox: %w", err)
	}
	w.sub = sub
	w.status = w.nc.StatusChanged(nats.CONNECTED)
	w.wg.Go(w.watch)
	return nil
}

// stop ends the wire's goroutines and, if the connection is its own, the connection.
func (w *wire) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	clock.Tell(w.clock, clock.Closed)
	close(w.done)
	_ = w.sub.Unsubscribe() // the connection may be closed already
	w.nc.RemoveStatusListener(w.status)
	if w.own {
		w.nc.Close()
	}
	w.wg.Wait()
}

// watch wakes everybody who waits for an answer when the connection is there again: what was asked over the
// old one is lost.
func (w *wire) watch() {
	for range w.status {
		w.log.Debug("connected to NATS again", "server", w.nc.ConnectedUrlRedacted())
		w.desert.heard.Store(int64(w.clock.Now().Mono)) // the new server has its own chance
		w.desert.leaveAt.Store(0)
		w.mu.Lock()
		close(w.again)
		w.again = make(chan struct{})
		f := w.onAgain
		w.mu.Unlock()
		if f != nil {
			f()
		}
	}
}

// reconnected returns a channel that is closed at the next reconnect.
func (w *wire) reconnected() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.again
}

func (w *wire) open(subject string) *exchange {
	x := &exchange{subject: subject, answers: make(chan answer, 4)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	x.id = w.last
	w.exchanges[x.id] = x
	return x
}

func (w *wire) forget(x *exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.exchanges, x.id)
	for len(x.answers) > 0 { // deliver needs the mutex: none comes after these
		<-x.answers
		clock.Tell(w.clock, clock.Taken)
	}
}

// publish sends one more try of x.
func (w *wire) publish(x *exchange, body []byte) error {
	reply := w.inbox + strconv.FormatUint(x.id, 36) + "-" + strconv.FormatInt(int64(len(x.sent)), 36)
	x.sent = append(x.sent, w.clock.Now()) // before it leaves: a lease counts from here
	err := w.nc.PublishRequest(x.subject, reply, body)
	if err == nil {
		clock.Tell(w.clock, clock.Sent)
	}
	return err
}

// receive runs on the inbox's goroutine.
func (w *wire) receive(m *nats.Msg) {
	defer clock.Tell(w.clock, clock.Received)
	ids, tries, ok := strings.Cut(strings.TrimPrefix(m.Subject, w.inbox), "-")
	id, err1 := strconv.ParseUint(ids, 36, 64)
	try, err2 := strconv.ParseInt(tries, 36, 32)
	if !ok || err1 != nil || err2 != nil {
		w.log.Debug("dropped a message with an odd subject", "subject", m.Subject)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.exchanges[id]; x != nil {
		w.deliverLocked(x, answer{msg: m, try: int(try)})
	}
}

func (w *wire) deliverLocked(x *exchange, a answer) {
	select {
	case x.answers <- a:
		clock.Tell(w.clock, clock.Waits)
	default: // an earlier one is there already
	}
}

// asyncError is called by NATS with what it can't tell anybody else.
func (w *wire) asyncError(nc *nats.Conn, sub *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, x := range w.exchanges {
			if deniesPublish(err, x.subject) {
				w.deliverLocked(x, answer{denied: true})
			}
		}
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	w.log.Warn("NATS reported an error", "error", err, "subject", subject)
}

func deniesPublish(err error, subject string) bool {
	return strings.Contains(strings.ToLower(err.Error()), strings.ToLower(`publish to "`+subject+`"`))
}

// denied says whether NATS refused to carry messages on the subject. It is asked after a time-out, for
// connections whose error handler is the caller's.
func (w *wire) denied(subject string) bool {
	err := w.nc.LastError()
	return errors.Is(err, nats.ErrPermissionViolation) && deniesPublish(err, subject)
}

// noResponders says whether nobody listens on the subject: no leader.
func noResponders(m *nats.Msg) bool { return len(m.Data) == 0 && m.Header.Get("Status") == "503" }

// replyError returns the error that the service answered, nil for a success.
func replyError(m *nats.Msg) *coorddv1.Error {
	if m.Header == nil || m.Header.Get(coorddv1.ErrorCodeHeader) == "" {
		return nil
	}
	var r coorddv1.ErrorReply
	if err := unmarshal(m.Data, &r); err != nil || r.GetError().GetCode() == "" {
		return coorddv1.NewError(coorddv1.CodeInternal, "the answer is an error that can't be read: "+m.Header.Get(coorddv1.ErrorHeader))
	}
	return r.GetError()
}

// unmarshal reads JSON or protobuf, by the first byte.
func unmarshal(data []byte, m proto.Message) error {
	if len(data) > 0 && data[0] == '{' {
		return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, m)
	}
	return proto.Unmarshal(data, m)
}

// healthTimeout is how long the NATS server has for a PONG when it is suspected to be stopped.
const healthTimeout = 500 * time.Millisecond

// suspect checks the NATS server, which has let several tries go unanswered, and moves the connection to
// another one if this one is mute: a stopped process keeps its connections open.
func (w *wire) suspect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.own || w.checking || w.stopped {
		return
	}
	w.checking = true
	w.wg.Go(func() {
		w.checkHealth()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.checking = false
	})
}

func (w *wire) checkHealth() {
	if err := w.nc.FlushTimeout(healthTimeout); !errors.Is(err, nats.ErrTimeout) {
		return
	}
	w.log.Info("the NATS server does not answer; trying another one", "server", w.nc.ConnectedUrlRedacted())
	if err := w.nc.ForceReconnect(); err != nil {
		w.log.Debug("reconnect", "error", err)
	}
}
