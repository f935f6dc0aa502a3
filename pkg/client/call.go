package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// errCallTimeout is the cause of a context that WithTimeout ended.
var errCallTimeout = errors.New("the client's time-out")

// call is one command of a session, from the moment it is asked for until it is answered. Fields below done
// are guarded by the session's mutex until done is closed.
type call struct {
	verb, name string
	raw        []byte  // the request without its envelope
	ticket     *ticket // of an acquire
	answered   func()  // called once after done is closed; nil: nothing
	done       chan struct{}

	seq       uint64 // 0: not sent yet
	delivered int    // tries that the service may have executed
	trouble   error  // why there is no answer yet
	gone      bool   // nobody waits for it any more
	alone     bool   // not to go into a batch
	over      bool
	reply     []byte
	err       error
}

func newCall(verb, name string, req proto.Message) (*call, error) {
	raw, err := proto.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", verb, err)
	}
	return &call{verb: verb, name: name, raw: raw, done: make(chan struct{})}, nil
}

// finish ends the call with an answer or an error; only the first one counts. The session's mutex must not be
// held.
func (c *call) finish(reply []byte, err error) {
	if c.over {
		return
	}
	c.over, c.reply, c.err = true, reply, err
	close(c.done)
	if c.answered != nil {
		c.answered()
	}
}

// submit queues calls, to go together if they may. They are finished at once if the session has ended.
func (s *Session) submit(calls ...*call) {
	err := s.Err()
	s.mu.Lock()
	if err == nil {
		err = s.err
	}
	if err != nil {
		s.mu.Unlock()
		for _, c := range calls {
			c.finish(nil, err)
		}
		return
	}
	s.queue = append(s.queue, calls...)
	s.launchLocked()
	s.mu.Unlock()
}

// execute has a command executed and reads its answer into rep.
func (s *Session) execute(ctx context.Context, verb, name string, req, rep proto.Message) error {
	c, err := newCall(verb, name, req)
	if err != nil {
		return err
	}
	s.submit(c)
	if err := s.wait(ctx, c); err != nil {
		return err
	}
	if err := unmarshal(c.reply, rep); err != nil {
		return fmt.Errorf("the answer to %s can't be read: %w", verb, err)
	}
	return nil
}

// wait waits until the call is answered, ctx ends or the client's time-out has passed. In the latter cases
// the call is abandoned.
func (s *Session) wait(ctx context.Context, c *call) error {
	timer := s.c.clock.NewTimer(s.cfg.timeout)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.err
	case <-timer.C():
		return s.abandon(c, nil)
	case <-ctx.Done():
		return s.abandon(c, ended(ctx))
	}
}

// ended returns why ctx ended: its error, and its cause if that is another one.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || cause == err {
		return err
	}
	return chain(err, cause)
}

// abandon says that nobody waits for the call any more and returns what its caller is told. A call that was
// not sent yet never will be.
func (s *Session) abandon(c *call, why error) error {
	s.mu.Lock()
	select {
	case <-c.done: // answered just now
		s.mu.Unlock()
		return c.err
	default:
	}
	c.gone = true
	out := outcome{delivered: c.delivered, trouble: c.trouble}
	if i := slices.Index(s.queue, c); i >= 0 && c.seq == 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	if out.trouble == nil {
		out.trouble = ErrTimeout
	}
	s.mu.Unlock()
	return s.c.wire.explain(out, why, true)
}

// envelopeLocked returns what the commands of a session have in common, as of now.
func (s *Session) envelopeLocked() *coorddv1.SequenceRequest {
	return &coorddv1.SequenceRequest{Session: s.id, Secret: s.secret, Generation: s.generation, Ack: s.window.floor,
		Cluster: s.c.clusterID(), EventsSeen: s.eventsSeen}
}

// single encodes a message of one command. The envelope has the same field numbers in every command, and
// protobuf joins messages by joining their bytes: so the request itself is encoded once, and each try puts
// a fresh envelope before it.
func (s *Session) single(c *call) ([]byte, error) {
	s.mu.Lock()
	e := s.envelopeLocked()
	e.Seq = c.seq
	s.mu.Unlock()
	buf, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 0, 96+len(c.raw)), e)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.verb, err)
	}
	return append(buf, c.raw...), nil
}

// batch encodes a message of several commands.
func (s *Session) batch(calls []*call) ([]byte, error) {
	s.mu.Lock()
	e := s.envelopeLocked()
	s.mu.Unlock()
	req := &coorddv1.BatchRequest{Session: e.Session, Secret: e.Secret, Generation: e.Generation, Ack: e.Ack,
		Cluster: e.Cluster, EventsSeen: e.EventsSeen, Commands: make([]*coorddv1.BatchCommand, len(calls))}
	for i, c := range calls {
		req.Commands[i] = &coorddv1.BatchCommand{Seq: c.seq, Verb: c.verb, Name: c.name, Raw: c.raw}
	}
	buf, err := proto.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode a batch: %w", err)
	}
	return buf, nil
}
