package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// session is a short one for a single command that changes something: opened, used and closed. Its
// requests may be repeated as they are, because they carry (session, seq).
type session struct {
	c      *clientFlags
	nc     *nats.Conn
	id     uint64
	secret []byte
}

// cliOwner is who holds what this process takes, as others see it.
func cliOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("coordd[%d]@%s", os.Getpid(), host)
}

// openSession opens a session. Nonce and secret make a repeat after a lost answer the same session.
func (c *clientFlags) openSession(ctx context.Context, nc *nats.Conn) (*session, error) {
	req := &coorddv1.SessionOpenRequest{Ttl: durationpb.New(max(2*c.timeout, 10*time.Second)), Owner: cliOwner(),
		Nonce: randomBytes(16), Secret: randomBytes(16)}
	var r coorddv1.SessionOpenReply
	if err := c.request(ctx, nc, c.subject("session.open"), req, &r); err != nil {
		return nil, err
	}
	return &session{c: c, nc: nc, id: r.GetSession(), secret: req.Secret}, nil
}

// close ends the session. That it fails is not worth an error: the session ends by itself.
func (s *session) close(ctx context.Context) {
	_ = s.c.request(ctx, s.nc, s.c.subject("session.close"), &coorddv1.SessionCloseRequest{Session: s.id, Secret: s.secret, Seq: 1}, &coorddv1.SessionCloseReply{})
}

// randomBytes returns n random bytes.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}
