package service

import (
	"context"
	"fmt"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/raft"
)

// askPeerTimeout bounds a question to one member.
const askPeerTimeout = 300 * time.Millisecond

// Members ask each other one thing besides NATS, over the transport that carries Raft: whether NATS reaches them. A
// question is its version and its kind; a node of an older version refuses what it does not know.
var healthQuestion = []byte{1, 'h'}

// AnswerPeer answers a message of another member: the node's OnRequest.
func (s *Service) AnswerPeer(_ context.Context, _ raft.MemberID, body []byte) ([]byte, error) {
	if string(body) != string(healthQuestion) {
		return nil, fmt.Errorf("service: %s does not know this request of %d bytes", s.cfg.Name, len(body))
	}
	return encodeBody(&coorddv1.ProbeReply{Name: s.cfg.Name, Healthy: s.prober.healthy()}, false)
}

// askPeer asks a member whether it reaches a majority through NATS. Whoever does not answer does not.
func (p *prober) askPeer(ctx context.Context, id raft.MemberID) bool {
	ask := p.s.cfg.AskPeer
	if ask == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askPeerTimeout)
	defer cancel()
	body, err := ask(ctx, id, healthQuestion)
	if err != nil {
		return false
	}
	m := new(coorddv1.ProbeReply)
	return decodeBody(body, m) == nil && m.Healthy
}
