package tcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

const (
	// drainBytes is how much is taken out of a queue at once.
	drainBytes = 1 << 20
	// flushBytes is how much is encoded before it is written.
	flushBytes = 256 << 10
	// keepBytes is the largest buffer that is kept for the next batch.
	keepBytes = 1 << 20
)

// session is one connection that we dialled and whose handshake is done.
type session struct {
	link    *link
	conn    net.Conn
	release func() bool // undoes the tie between the context and the connection

	buffer []byte
	batch  []raft.Message
	used   time.Time     // when a message was last sent or awaited; of the class of messages alone
	stamp  atomic.Uint64 // of the last ping; 0: its pong has come
}

// run sends what is queued until the connection or the context ends, or the transport closes.
func (s *session) run(ctx context.Context) error {
	t := s.link.route.t
	heard := make(chan error, 1)
	t.running.Go(func() { heard <- s.listen() })
	defer func() {
		s.release()
		hangUp(s.conn)
		<-heard
	}()
	s.used = time.Now()
	ticker := time.NewTicker(t.cfg.PingInterval)
	defer ticker.Stop()
	if err := s.flush(true); err != nil {
		return err
	}
	for {
		ping := false
		select {
		case <-s.link.wake():
		case <-ticker.C:
			ping = true
			if s.idle() {
				return errIdle
			}
		case err := <-heard:
			heard <- err
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.soft.Done():
			for s.link.waiting() > 0 {
				if err := s.flush(false); err != nil {
					return err
				}
			}
			return ErrClosed
		}
		if err := s.flush(ping); err != nil {
			return err
		}
	}
}

// flush writes everything that waits, with a ping in front if it is time for one.
func (s *session) flush(ping bool) error {
	l, limit := s.link, s.link.route.t.cfg.MaxFrameBytes
	if l.outbox != nil {
		return s.flushMessages(ping)
	}
	s.buffer = s.buffer[:0]
	if ping {
		s.buffer = s.appendPing(s.buffer)
	}
	s.batch = l.queue.Drain(s.batch[:0], drainBytes)
	defer func() {
		clear(s.batch)
		if cap(s.buffer) > keepBytes {
			s.buffer = nil
		}
	}()
	for i := range s.batch {
		start := len(s.buffer)
		s.buffer = wire.AppendMessageFrame(s.buffer, &s.batch[i])
		if size := len(s.buffer) - start - wire.HeaderBytes; size > limit {
			s.buffer = s.buffer[:start]
			l.tooLarge(&s.batch[i], size)
		}
		if len(s.buffer) >= flushBytes {
			if err := s.write(s.buffer); err != nil {
				l.route.lose(len(s.batch) - i)
				return err
			}
			s.buffer = s.buffer[:0]
		}
	}
	if err := s.write(s.buffer); err != nil {
		l.route.lose(len(s.batch))
		return err
	}
	if l.class == transport.Bulk && l.queue.Len() == 0 {
		l.told.Store(false) // the peer has caught up: the next overflow is another failure
	}
	return nil
}

// tooLarge drops a message that the peer would refuse, which would end the connection.
func (l *link) tooLarge(m *raft.Message, size int) {
	t := l.route.t
	l.route.lose(1)
	l.unreachable()
	if t.notices.changed("size "+l.route.peer.Load().ID.String(), m.Type.String()) {
		t.cfg.Logger.Error("message beyond the largest frame was dropped", "peer", l.route.peer.Load().Label(),
			"type", m.Type.String(), "entries", len(m.Entries), "bytes", size, "limit", t.cfg.MaxFrameBytes)
	}
}

// appendPing appends a ping. The control link's tells the newest mark.
func (s *session) appendPing(dst []byte) []byte {
	t := s.link.route.t
	p := wire.Ping{Stamp: uint64(time.Since(t.started)) | 1}
	if s.link.class == transport.Control {
		id := t.handler.Identity()
		p.Slot, p.Mark = id.MarkSlot, id.Mark
	}
	s.stamp.Store(p.Stamp)
	return wire.AppendPing(dst, p)
}

// write sends bytes to the peer.
func (s *session) write(b []byte) error {
	return s.link.route.t.write(s.conn, b, s.link.route.peer.Load().Label())
}

// write gives the bytes to the kernel block by block, each with a deadline: a peer that takes little is
// slow, one that takes nothing is dead. So a deadline that passes behind a part of the block starts anew; over TLS a
// record that is not taken in time ends the connection all the same. The label is under whom it is counted; empty: under
// nobody, since strangers must not become labels.
func (t *Transport) write(conn net.Conn, b []byte, label string) error {
	cfg := &t.cfg
	for total := len(b); len(b) > 0; {
		block := b[:min(len(b), cfg.BlockSize)]
		conn.SetWriteDeadline(time.Now().Add(cfg.RequestTimeout))
		taken, err := conn.Write(block)
		if err != nil && (taken == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return fmt.Errorf("send: %w", err)
		}
		b = b[taken:]
		if len(b) == 0 && label != "" {
			cfg.Observer.PeerSent(label, transportLabel, total)
		}
	}
	return nil
}

// listen takes the answers to our pings and requests; nothing else comes on a connection that we dialled.
func (s *session) listen() error {
	defer hangUp(s.conn)
	t := s.link.route.t
	patient := &patientConn{conn: s.conn, patience: t.cfg.IdleTimeout}
	limit := wire.HandshakeLimit
	if s.link.outbox != nil {
		limit = wire.BodyLimit
	}
	reader := wire.NewReader(bufio.NewReaderSize(patient, 1<<10), limit)
	for {
		frame, err := reader.Next()
		if err == nil {
			t.cfg.Observer.PeerReceived(s.link.route.peer.Load().Label(), transportLabel, frame.Bytes())
			err = s.take(frame)
		}
		if err != nil {
			if wire.Broken(err) {
				t.refuse("refused "+s.link.route.peer.Load().ID.String(), refusalOf(err, s.conn.RemoteAddr().String()))
			}
			return closedBy(err)
		}
	}
}

// take handles one frame that came back.
func (s *session) take(frame wire.Frame) error {
	t := s.link.route.t
	switch {
	case frame.Kind == wire.KindPong:
		stamp, err := wire.DecodePong(frame.Body)
		if err != nil {
			return err
		}
		if s.stamp.CompareAndSwap(stamp, 0) && s.link.class == transport.Control {
			s.link.route.measured(time.Since(t.started) - time.Duration(stamp))
		}
		return nil
	case frame.Kind == wire.KindReply && s.link.outbox != nil:
		reply, err := wire.DecodeReply(owned(frame))
		if err != nil {
			return err
		}
		s.link.outbox.Reply(reply)
		return nil
	}
	return fmt.Errorf("%w: frame of kind %d comes back on the connection of class %s", wire.ErrMalformed, frame.Kind, s.link.class)
}

// closedBy says in words what the end of a stream is.
func closedBy(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("closed by peer")
	}
	return err
}

// patientConn reads with a deadline that starts anew whenever something comes.
type patientConn struct {
	conn     net.Conn
	patience time.Duration
}

// Read waits for the next bytes.
func (p *patientConn) Read(b []byte) (int, error) {
	p.conn.SetReadDeadline(time.Now().Add(p.patience))
	return p.conn.Read(b)
}
