package client

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// Token is what a process needs to take a session over from an earlier one, or from itself before a restart.
// It holds the session's secret: keep it as one. String does not show it; MarshalText does.
type Token struct {
	Namespace string
	Cluster   string
	Session   uint64
	Secret    []byte
}

// Token returns the token of the session.
func (s *Session) Token() Token {
	return Token{Namespace: s.cfg.namespace, Cluster: s.c.clusterID(), Session: s.id, Secret: append([]byte(nil), s.secret...)}
}

const tokenPrefix = "coordd1"

var errToken = errors.New("not a session token")

// String names the session without its secret.
func (t Token) String() string {
	return fmt.Sprintf("session %d of namespace %s", t.Session, t.Namespace)
}

// GoString is String: a token that is printed must not give its secret away.
func (t Token) GoString() string { return t.String() }

// MarshalText returns the whole token, secret included, as one word.
func (t Token) MarshalText() ([]byte, error) {
	return []byte(strings.Join([]string{tokenPrefix, t.Namespace, strconv.FormatUint(t.Session, 10),
		base64.RawURLEncoding.EncodeToString(t.Secret), base64.RawURLEncoding.EncodeToString([]byte(t.Cluster))}, ".")), nil
}

// UnmarshalText reads what MarshalText wrote.
func (t *Token) UnmarshalText(text []byte) error {
	parts := strings.Split(string(text), ".")
	if len(parts) != 5 || parts[0] != tokenPrefix || !namespaceShape.MatchString(parts[1]) {
		return errToken
	}
	session, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return errToken
	}
	secret, err := base64.RawURLEncoding.DecodeString(parts[3])
	if err != nil {
		return errToken
	}
	cluster, err := base64.RawURLEncoding.DecodeString(parts[4])
	if err != nil {
		return errToken
	}
	*t = Token{Namespace: parts[1], Session: session, Secret: secret, Cluster: string(cluster)}
	return nil
}

// ResumeSession takes a session over that has not ended. Whoever had it before has lost it; each lock that it
// holds gets a new fence, and is found in [Session.Locks]. What its earlier owner was waiting for is cancelled.
// ctx bounds the call alone.
func (c *Client) ResumeSession(ctx context.Context, t Token) (*Session, error) {
	if t.Session == 0 || len(t.Secret) == 0 || !namespaceShape.MatchString(t.Namespace) {
		return nil, fmt.Errorf("resume a session: %w", errToken)
	}
	cfg := c.cfg
	cfg.namespace = t.Namespace
	nonce := make([]byte, 16)
	rand.Read(nonce)
	req := &coorddv1.SessionResumeRequest{Session: t.Session, Secret: t.Secret, Nonce: nonce, Cluster: t.Cluster}
	var rep coorddv1.SessionReply
	sent, err := c.ask(ctx, cfg, "session.resume", "", req, &rep)
	if err != nil {
		return nil, fmt.Errorf("resume %v: %w", t, err)
	}
	c.learnCluster(t.Cluster)
	s := c.newSession(cfg, t.Session, append([]byte(nil), t.Secret...), rep.GetGeneration(), rep.GetTtl().AsDuration(), newWindow(rep.GetHighestSeq()+1))
	s.eventsSeen = rep.GetEventSeq()
	if !s.lease.renew(sent, rep.GetNow(), rep.GetDeadline()) {
		s.farewell()
		return nil, fmt.Errorf("resume %v: the answer came after its end: %w", t, ErrSessionExpired)
	}
	for _, h := range rep.GetHolds() {
		entries := uint64(1)
		if h.GetMode() != coorddv1.Mode_SEMAPHORE { // of which count is the permits
			entries = max(1, h.GetCount())
		}
		for range entries { // each is given back by itself
			l := newLock(s, grant{h.GetName(), h.GetFence(), h.GetUntil()}, context.Background(), nil)
			l.mode = Mode(h.GetMode().String())
			s.holdLocked(l, rep.GetIndex())
		}
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	for _, w := range rep.GetWaits() {
		if w.GetState() != coorddv1.Wait_QUEUED {
			continue
		}
		// Nobody waits for it any more: a grant would be a hold without an owner.
		t := newTicket(s, &want{noun: "wait for", name: w.GetName(), names: w.GetNames()}, context.Background())
		t.seq, t.state, t.withdrawn = w.GetSeq(), ticketQueued, true
		s.cancelTicket(t, func() {})
	}
	return s, nil
}
