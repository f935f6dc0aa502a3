package service

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// configOf is the configuration in effect on a node.
func configOf(st *node.Status) *raft.Configuration {
	if st.Proposed != nil {
		return st.Proposed
	}
	return &st.Active
}

// transfer hands the leadership over: unsubscribed first, so that clients wait for the next leader instead of
// this one, and with what is under way answered. On an error this node goes on as the leader.
func (r *reign) transfer(ctx context.Context, to raft.MemberID) error {
	r.unsubscribe()
	r.drain(r.s.cfg.Timing.Drain / 4)
	err := r.s.node.TransferLeadership(ctx, to)
	if err != nil && r.ctx.Err() == nil {
		if again := r.subscribe(); again != nil {
			r.s.cfg.Logger.Error("can't subscribe again after a hand-over that failed", "error", again)
			r.cancel()
		}
	}
	return err
}

// handleTransfer serves coord.admin.v1.leader.transfer.
func (r *reign) handleTransfer(msg *nats.Msg) {
	s := r.s
	c := s.newCall(transferVerb, msg)
	m := new(coorddv1.LeaderTransferRequest)
	bad := s.checkBody(msg.Data)
	if bad == nil {
		bad = decodeBody(msg.Data, m)
	}
	if bad == nil {
		bad = s.wrongCluster(m.Cluster)
	}
	var to raft.MemberID
	if bad == nil {
		to, bad = s.transferTarget(m.To)
	}
	if bad != nil {
		s.answers.refuse(c, bad)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subs != nil { // else the reign is about to end, and nobody waits for a goroutine of it any more
		s.wg.Go(func() { r.runTransfer(c, to) })
	}
}

// transferTarget finds the member of that name; 0 for an empty one: the best.
func (s *Service) transferTarget(name string) (raft.MemberID, *coorddv1.Error) {
	if name == "" {
		return 0, nil
	}
	st := s.node.Status()
	for _, m := range configOf(&st).Members {
		switch {
		case m.Name != name:
		case m.Learner || m.Standby:
			return 0, badRequest("member %s may not lead", quote(name))
		default:
			return m.ID, nil
		}
	}
	return 0, refuse(coorddv1.CodeNotFound, "there is no member %s", quote(name))
}

func (r *reign) runTransfer(c *call, to raft.MemberID) {
	s := r.s
	ctx, cancel := context.WithTimeout(s.ctx, transferTimeout)
	defer cancel()
	if st := s.node.Status(); to == st.ID {
		s.answers.finishWith(c, &coorddv1.LeaderTransferReply{Index: st.Commit, Leader: s.cfg.Name, Term: st.Term}, nil)
		return
	}
	if err := r.transfer(ctx, to); err != nil {
		s.answers.finishWith(c, nil, refuse(coorddv1.CodeBusy, "leadership stays at %s: %s", s.cfg.Name, plainSpaces(err.Error())))
		return
	}
	st := s.node.Status()
	s.answers.finishWith(c, &coorddv1.LeaderTransferReply{Index: st.Commit, Leader: st.LeaderName, Term: st.Term}, nil)
}

// finishWith answers a call that was never counted.
func (a *answerer) finishWith(c *call, m *coorddv1.LeaderTransferReply, e *coorddv1.Error) {
	if e != nil {
		a.refuse(c, e)
		return
	}
	body, err := encodeBody(m, c.asJSON)
	if err != nil {
		a.refuse(c, refuse(coorddv1.CodeInternal, "the answer can't be encoded: %s", plainSpaces(err.Error())))
		return
	}
	a.send(c, body, nil)
	a.s.cfg.Observer.RequestDone(c.verb.name, "OK", time.Since(c.arrived))
}
