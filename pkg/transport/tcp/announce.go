package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/internal/exchange"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// Announce says who this node is to whatever listens at an address.
func (t *Transport) Announce(ctx context.Context, address string, body []byte) ([]byte, error) {
	t.mu.Lock()
	started := t.handler != nil
	t.mu.Unlock()
	answer, err := exchange.Announcing(ctx, body, func(ctx context.Context) (wire.Status, []byte, error) {
		if !started || t.soft.Err() != nil {
			return 0, nil, ErrClosed
		}
		return t.announce(ctx, address, body)
	})
	if remote := (*transport.RemoteError)(nil); err != nil && !errors.As(err, &remote) {
		return nil, fmt.Errorf("announce to %s: %w", address, err)
	}
	return answer, err
}

// announce is one connection.
func (t *Transport) announce(ctx context.Context, address string, body []byte) (wire.Status, []byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.soft, cancel)()
	conn, err := t.dial(ctx, address)
	if err != nil {
		return 0, nil, t.orClosed(err)
	}
	defer hangUp(conn)
	defer context.AfterFunc(ctx, func() { hangUp(conn) })()
	tune(conn, &t.cfg)
	frame := wire.AppendAnnounce(nil, &wire.Announce{MinVersion: wire.MinVersionOf(transport.Messages), MaxVersion: wire.MaxVersion,
		Self: t.handler.Identity(), Address: address, Body: body})
	// One deadline for the first word and, under TLS, all that goes before it.
	conn.SetDeadline(time.Now().Add(t.cfg.HandshakeTimeout))
	if _, err := conn.Write(frame); err != nil {
		return 0, nil, t.orClosed(fmt.Errorf("say who is here: %w", err))
	}
	conn.SetDeadline(time.Time{}) // how long the handler there needs is for the caller's context to bound
	answer, err := wire.NewReader(conn, wire.AnnouncedLimit).Next()
	if err != nil {
		return 0, nil, t.orClosed(fmt.Errorf("wait for the answer: %w", closedBy(err)))
	}
	return t.announced(answer, address)
}

// announced judges the answer to an announcement.
func (t *Transport) announced(frame wire.Frame, address string) (wire.Status, []byte, error) {
	switch frame.Kind {
	case wire.KindAnnounced:
		a, err := wire.DecodeAnnounced(owned(frame))
		if err != nil {
			return 0, nil, refusalOf(err, address)
		}
		if r := transport.AdmitStranger(t.handler.Identity(), a.Self); r != nil {
			return 0, nil, r
		}
		return a.Status, a.Body, nil
	case wire.KindRefuse:
		refuse, err := wire.DecodeRefuse(frame.Body)
		if err != nil {
			return 0, nil, refusalOf(err, address)
		}
		return 0, nil, &transport.Refusal{Kind: refuse.Kind, Text: refuse.Text}
	}
	return 0, nil, refusalOf(fmt.Errorf("%w: frame of kind %d answers an announcement", wire.ErrMalformed, frame.Kind), address)
}

// orClosed returns the error, or the reason for it if that was the transport's end.
func (t *Transport) orClosed(err error) error {
	if t.soft.Err() != nil {
		return ErrClosed
	}
	return err
}

// hear answers a caller that announces itself, on its connection's goroutine.
func (t *Transport) hear(conn net.Conn, frame wire.Frame, entry *pendingEntry) {
	remote := remoteHost(conn)
	a, err := wire.DecodeAnnounce(owned(frame))
	switch {
	case errors.Is(err, wire.ErrVersion):
		t.turnAway(conn, remote, 0, &transport.Refusal{Kind: transport.RejectProtocol, Text: err.Error()})
		return
	case err != nil:
		t.refuse(noticeKey(remote, 0, transport.RejectFrame), refusalOf(err, remote))
		return
	}
	ours := t.handler.Identity()
	if r := transport.AdmitStranger(ours, a.Self); r != nil {
		t.turnAway(conn, remote, 0, r)
		return
	}
	// It is known what the caller is here for; from here on it counts against the bound on announcements.
	if !t.pending.remove(entry) {
		return
	}
	conn.SetDeadline(time.Time{})
	ctx, cancel := context.WithCancel(t.hard)
	defer cancel()
	t.running.Go(func() { // a caller says nothing more, so the end of the wait is the end of the caller
		io.CopyN(io.Discard, conn, 1)
		cancel()
	})
	status, body, ok := t.server.Announce(ctx, remote, a.Self, a.Body)
	if !ok {
		return
	}
	t.write(conn, wire.AppendAnnounced(nil, &wire.Announced{Version: wire.MaxVersion, Self: t.handler.Identity(), Status: status, Body: body}), "")
}
