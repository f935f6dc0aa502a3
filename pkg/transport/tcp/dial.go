package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// connect dials a peer and shakes hands. The context's end closes the connection, also later.
func (l *link) connect(ctx context.Context, peer transport.Peer) (*session, error) {
	t := l.route.t
	// Nobody is dialled any more once the transport closes; a connection that stands may go on.
	dialling, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.soft, cancel)()

	conn, err := t.dial(dialling, peer.Address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", peer.Address, err)
	}
	tune(conn, &t.cfg)
	release := context.AfterFunc(ctx, func() { hangUp(conn) })
	abort := context.AfterFunc(t.soft, func() { hangUp(conn) })
	s, err := l.shake(conn, peer)
	if !abort() && err == nil {
		err = ErrClosed
	}
	if err != nil {
		release()
		hangUp(conn)
		return nil, err
	}
	s.release = release
	return s, nil
}

// shake says hello and judges the answer.
func (l *link) shake(conn net.Conn, peer transport.Peer) (*session, error) {
	t := l.route.t
	ours := t.handler.Identity()
	hello := wire.AppendHello(nil, &wire.Hello{
		MinVersion: wire.MinVersionOf(l.class), MaxVersion: wire.MaxVersion, Class: l.class, Expected: peer.ID,
		Self: ours, Address: t.advertised(), Witnessed: t.handler.Witness(peer.ID),
	})
	// A peer that is silent for IdleTimeout is as good as dead, now as later.
	conn.SetDeadline(time.Now().Add(min(t.cfg.IdleTimeout, t.cfg.HandshakeTimeout)))
	if _, err := conn.Write(hello); err != nil {
		return nil, fmt.Errorf("say hello to %s: %w", peer.Address, err)
	}
	frame, err := wire.NewReader(conn, wire.HandshakeLimit).Next()
	if err == nil {
		return l.judge(conn, frame, ours, peer)
	}
	if wire.Broken(err) {
		t.refuse("refused "+peer.ID.String(), &transport.Refusal{Kind: transport.RejectFrame,
			Text: fmt.Sprintf("%s does not speak our protocol: %s", peer.Address, err)})
	}
	return nil, fmt.Errorf("wait for the answer of %s: %w", peer.Address, err)
}

// judge takes the answer to a hello.
func (l *link) judge(conn net.Conn, frame wire.Frame, ours transport.Identity, peer transport.Peer) (*session, error) {
	t := l.route.t
	key := "refused " + peer.ID.String()
	switch frame.Kind {
	case wire.KindAccept:
		accept, err := wire.DecodeAccept(frame.Body)
		if err != nil {
			return nil, t.refuse(key, refusalOf(err, peer.Address))
		}
		if r := transport.Confirm(ours, accept.Self, peer); r != nil {
			return nil, t.refuse(key, r)
		}
		l.route.met(accept.Self.Incarnation)
		t.handler.Seen(accept.Self, accept.Witnessed.Of(ours.Incarnation))
		conn.SetDeadline(time.Time{})
		return &session{link: l, conn: conn}, nil
	case wire.KindRefuse:
		refuse, err := wire.DecodeRefuse(frame.Body)
		if err != nil {
			return nil, t.refuse(key, refusalOf(err, peer.Address))
		}
		// Counted by the side that refuses.
		if t.notices.changed(key, string(refuse.Kind)+" "+refuse.Text) {
			t.cfg.Logger.Error("refused by peer", "peer", peer.Label(), "address", peer.Address, "kind", string(refuse.Kind), "reason", refuse.Text)
		}
		refusal := &transport.Refusal{Kind: refuse.Kind, Text: refuse.Text}
		t.handler.Refused(peer.ID, refusal)
		return nil, refusal
	}
	return nil, t.refuse(key, refusalOf(fmt.Errorf("%w: frame of kind %d answers a hello", wire.ErrMalformed, frame.Kind), peer.Address))
}

// refusalOf turns an error of the codec into a refusal.
func refusalOf(err error, address string) *transport.Refusal {
	kind := transport.RejectFrame
	if errors.Is(err, wire.ErrVersion) {
		kind = transport.RejectProtocol
	}
	return &transport.Refusal{Kind: kind, Text: fmt.Sprintf("%s: %s", address, err)}
}

// refuse counts a refusal of ours and logs it once, until another one comes under the same key.
func (t *Transport) refuse(key string, r *transport.Refusal) error {
	t.cfg.Observer.PeerRejected(r.Kind)
	news := string(r.Kind)
	if r.Kind != transport.RejectFrame { // what exactly is wrong with garbage differs each time
		news += " " + r.Text
	}
	if t.notices.changed(key, news) {
		t.cfg.Logger.Error("peer refused", "kind", string(r.Kind), "reason", r.Text)
	}
	return r
}

// dial resolves an address and tries what it stands for, one after the other.
func (t *Transport) dial(ctx context.Context, address string) (net.Conn, error) {
	if address == "" {
		return nil, errors.New("no address known")
	}
	if t.cfg.Dial != nil {
		ctx, cancel := context.WithTimeout(ctx, t.cfg.ConnectTimeout)
		defer cancel()
		return t.cfg.Dial(ctx, "tcp", address)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	// A slow name server is not a slow peer: it has a deadline of its own.
	resolving, cancel := context.WithTimeout(ctx, t.cfg.HandshakeTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(resolving, "ip", host)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: t.cfg.ConnectTimeout, Control: controlTTL(t.cfg.IPTTL)}
	for _, addr := range addrs {
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(addr.Unmap().String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}
