package tcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/internal/queue"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// inboundKey is what there is one connection for.
type inboundKey struct {
	member raft.MemberID
	class  transport.Class
}

// inbound is a connection that a peer dialled and that was admitted.
type inbound struct {
	t      *Transport
	conn   net.Conn
	caller transport.Identity
	class  transport.Class
	slot   uint64 // of the newest mark that the caller told
	pong   []byte
	// replies are whole frames for the caller; only a connection for messages has them.
	replies *queue.Queue[[]byte]
	ended   chan struct{} // closed when the connection is not read any more
}

// end closes the connection; its goroutines go by themselves.
func (in *inbound) end() { hangUp(in.conn) }

// acceptAll takes connections until the listener is closed.
func (t *Transport) acceptAll(listener net.Listener) {
	pause := 5 * time.Millisecond
	for {
		conn, err := listener.Accept()
		if err != nil {
			if t.soft.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, as a rule: that passes.
			if t.notices.changed("accept", err.Error()) {
				t.cfg.Logger.Error("cannot accept connections of peers, trying on", "error", err)
			}
			select {
			case <-time.After(pause):
			case <-t.soft.Done():
				return
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		entry := t.pending.add(conn)
		t.running.Go(func() { t.welcome(conn, entry) })
	}
}

// welcome shakes hands with a caller and, if it is admitted, reads from it until the connection ends.
func (t *Transport) welcome(conn net.Conn, entry *pendingEntry) {
	defer hangUp(conn)
	defer context.AfterFunc(t.hard, func() { hangUp(conn) })()
	tune(conn, &t.cfg)
	conn.SetDeadline(time.Now().Add(t.cfg.HandshakeTimeout))
	in, version := t.admit(conn, entry)
	evicted := !t.pending.remove(entry)
	if in == nil || evicted {
		return
	}
	if !t.register(in) {
		return
	}
	defer t.unregister(in)
	if !in.accept(version) {
		return
	}
	if in.class == transport.Messages {
		in.replies, in.ended = newReplies(), make(chan struct{})
		defer close(in.ended)
		t.running.Go(in.answer)
	}
	if in.class == transport.Control {
		// It lives, so it can be dialled now.
		if r := (*t.routes.Load())[in.caller.Member]; r != nil {
			for _, l := range r.links {
				l.poke()
			}
		}
	}
	in.read()
}

// admit reads the hello and judges it; nil: the caller is not taken.
func (t *Transport) admit(conn net.Conn, entry *pendingEntry) (*inbound, uint16) {
	// Unbuffered: until the caller is known it costs one small frame of memory.
	frame, err := wire.NewReader(conn, wire.HandshakeLimit).Next()
	if err == nil && frame.Kind == wire.KindAnnounce {
		t.hear(conn, frame, entry)
		return nil, 0
	}
	if err == nil && frame.Kind != wire.KindHello {
		err = fmt.Errorf("%w: the first frame is of kind %d", wire.ErrMalformed, frame.Kind)
	}
	var hello wire.Hello
	if err == nil {
		hello, err = wire.DecodeHello(frame.Body)
	}
	remote := remoteHost(conn)
	switch {
	case err == nil:
	case errors.Is(err, wire.ErrVersion):
		t.turnAway(conn, remote, hello.Self.Member, &transport.Refusal{Kind: transport.RejectProtocol, Text: err.Error()})
		return nil, 0
	case wire.Broken(err):
		t.refuse(noticeKey(remote, 0, transport.RejectFrame), refusalOf(err, remote))
		return nil, 0
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.refuse(noticeKey(remote, 0, transport.RejectTimeout), &transport.Refusal{Kind: transport.RejectTimeout,
			Text: fmt.Sprintf("%s did not introduce itself within %s", remote, t.cfg.HandshakeTimeout)})
		return nil, 0
	default: // it went away, as port scans and health checks do
		t.cfg.Logger.Trace("caller left before its handshake", "address", remote, "error", err)
		return nil, 0
	}
	ours := t.handler.Identity()
	hello.Self.Address = hello.Address
	if r := transport.Admit(ours, hello.Self, hello.Expected, t.list()); r != nil {
		t.turnAway(conn, remote, hello.Self.Member, r)
		if hello.Expected == ours.Member {
			t.handler.TurnedAway(hello.Self, r)
		}
		return nil, 0
	}
	version, _ := wire.Choose(hello.MinVersion, hello.MaxVersion)
	t.notices.forget(noticeKey(remote, hello.Self.Member, ""))
	in := &inbound{t: t, conn: conn, caller: hello.Self, class: hello.Class, slot: hello.Self.MarkSlot}
	// Before the answer: once the caller counts on us we must know what it knows of us.
	t.handler.Seen(hello.Self, hello.Witnessed.Of(ours.Incarnation))
	return in, version
}

// turnAway answers a caller with the refusal, and counts and logs it.
func (t *Transport) turnAway(conn net.Conn, remote string, member raft.MemberID, r *transport.Refusal) {
	known := raft.MemberID(0) // what strangers claim must not fill the log
	for _, p := range t.list() {
		if p.ID == member {
			known = member
		}
	}
	t.refuse(noticeKey(remote, known, r.Kind), r)
	conn.Write(wire.AppendRefuse(nil, &wire.Refuse{MinVersion: wire.MinVersion, MaxVersion: wire.MaxVersion, Kind: r.Kind, Text: r.Text}))
}

// accept answers the hello.
func (in *inbound) accept(version uint16) bool {
	answer := wire.AppendAccept(nil, &wire.Accept{Version: version, Self: in.t.handler.Identity(),
		Witnessed: in.t.handler.Witness(in.caller.Member)})
	if _, err := in.conn.Write(answer); err != nil {
		return false
	}
	in.conn.SetDeadline(time.Time{})
	return true
}

// register makes this the connection of its caller and class; an older one goes.
func (t *Transport) register(in *inbound) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.soft.Err() != nil || !t.admits(in.caller) { // the peers may have changed since the caller was judged
		return false
	}
	key := inboundKey{in.caller.Member, in.class}
	if old := t.inbound[key]; old != nil {
		old.end()
	}
	t.inbound[key] = in
	return true
}

// unregister forgets the connection.
func (t *Transport) unregister(in *inbound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := inboundKey{in.caller.Member, in.class}
	if t.inbound[key] == in {
		delete(t.inbound, key)
	}
}

// read takes messages and pings until the connection ends.
func (in *inbound) read() {
	t := in.t
	label := transport.Peer{ID: in.caller.Member, Name: in.caller.Name}.Label()
	begin := time.Now()
	patient := &patientConn{conn: in.conn, patience: t.cfg.IdleTimeout}
	limit := t.cfg.MaxFrameBytes
	if in.class == transport.Messages {
		limit = wire.BodyLimit
	}
	reader := wire.NewReader(bufio.NewReaderSize(patient, t.cfg.BlockSize), limit)
	for {
		frame, err := reader.Next()
		if err == nil {
			t.cfg.Observer.PeerReceived(label, transportLabel, frame.Bytes())
			err = in.take(frame)
		}
		if err == nil {
			continue
		}
		var r *transport.Refusal
		if !errors.As(err, &r) && wire.Broken(err) {
			r = refusalOf(err, label)
		}
		if r == nil {
			t.cfg.Logger.Debug("connection of peer ended", "peer", label, "class", in.class.String(), "error", closedBy(err))
			return
		}
		key := "stream " + in.caller.Member.String()
		if time.Since(begin) >= time.Minute {
			t.notices.forget(key) // it went well for a while: this is another fault
		}
		t.refuse(key+" "+string(r.Kind), r)
		return
	}
}

// take handles one frame.
func (in *inbound) take(frame wire.Frame) error {
	switch messages := in.class == transport.Messages; {
	case messages && frame.Kind == wire.KindRequest:
		return in.request(frame)
	case messages && frame.Kind == wire.KindNotify:
		return in.notify(frame)
	case !messages && frame.Kind == wire.KindMessage:
		m, err := frame.Message()
		if err != nil {
			return err
		}
		if m.From != in.caller.Member || m.To != in.t.self {
			return &transport.Refusal{Kind: transport.RejectMember, Text: fmt.Sprintf(
				"member %s sent a message from %s to %s on its connection to %s", in.caller.Member, m.From, m.To, in.t.self)}
		}
		m.Incarnation = in.caller.Incarnation
		in.t.handler.Receive(m)
		return nil
	case frame.Kind == wire.KindPing:
		ping, err := wire.DecodePing(frame.Body)
		if err != nil {
			return err
		}
		if err := in.answerPing(ping.Stamp); err != nil {
			return fmt.Errorf("answer a ping: %w", err)
		}
		if ping.Slot > in.slot {
			in.slot = ping.Slot
			news := in.caller
			news.MarkSlot, news.Mark = ping.Slot, ping.Mark
			in.t.handler.Seen(news, transport.Witnessed{})
		}
		return nil
	}
	return fmt.Errorf("%w: frame of kind %d on the connection of class %s", wire.ErrMalformed, frame.Kind, in.class)
}

// answerPing answers at once; where replies are sent too, in their order.
func (in *inbound) answerPing(stamp uint64) error {
	if in.replies != nil {
		in.reply(wire.AppendPong(nil, stamp))
		return nil
	}
	in.pong = wire.AppendPong(in.pong[:0], stamp)
	in.conn.SetWriteDeadline(time.Now().Add(in.t.cfg.RequestTimeout))
	_, err := in.conn.Write(in.pong)
	return err
}

// remoteHost is the address of a caller without its port.
func remoteHost(conn net.Conn) string {
	address := conn.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
