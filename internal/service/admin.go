package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

const (
	// adminCalls is how many operators' requests are under way at once; more get BUSY.
	adminCalls = 16
	// changeTimeout bounds what a change of the members waits for its commit.
	changeTimeout = 10 * time.Second
	// changeLook is how often a change looks whether it is done.
	changeLook = 5 * time.Millisecond
)

// adminVerb is one thing that operators ask the leader for. They are few and may take their time: each runs on a
// goroutine of its own.
type adminVerb struct {
	*verb
	limit time.Duration // of the whole call
	// run returns the answer or the refusal; neither: this node doubts that it leads, and says nothing.
	run func(ctx context.Context, r *reign, m proto.Message) (proto.Message, *coorddv1.Error)
}

func newAdminVerb[T any, P interface {
	*T
	proto.Message
}](name string, limit time.Duration, run func(context.Context, *reign, P) (proto.Message, *coorddv1.Error)) *adminVerb {
	return &adminVerb{verb: &verb{name: name, alone: true, request: newOf[T, P]}, limit: limit,
		run: func(ctx context.Context, r *reign, m proto.Message) (proto.Message, *coorddv1.Error) {
			return run(ctx, r, m.(P))
		}}
}

// adminVerbs lists them.
func adminVerbs() []*adminVerb {
	return []*adminVerb{
		newAdminVerb("leader.transfer", transferTimeout, runTransfer),
		newAdminVerb("member.list", changeTimeout, runMemberList),
		newAdminVerb("member.add", changeTimeout+longestChangeWait, runMemberAdd),
		newAdminVerb("member.remove", changeTimeout, runMemberRemove),
		newAdminVerb("member.replace", changeTimeout+longestChangeWait, runMemberReplace),
		newAdminVerb("member.promote", changeTimeout+longestChangeWait, runMemberPromote),
		newAdminVerb("member.standby", changeTimeout, runMemberStandby),
		newAdminVerb("snapshot.save", saveTimeout, runSnapshotSave),
	}
}

// offers reports whether this node was given what a verb needs.
func (s *Service) offers(v *adminVerb) bool {
	switch {
	case strings.HasPrefix(v.name, "member."):
		return s.cfg.Members != nil
	case strings.HasPrefix(v.name, "snapshot."):
		return s.cfg.SaveSnapshot != nil
	}
	return true
}

// configOf is the configuration in effect on a node.
func configOf(st *node.Status) *raft.Configuration {
	if st.Proposed != nil {
		return st.Proposed
	}
	return &st.Active
}

// handleAdmin returns the handler of an operators' verb.
func (r *reign) handleAdmin(v *adminVerb) nats.MsgHandler {
	s := r.s
	return func(msg *nats.Msg) {
		c := s.newCall(v.verb, msg)
		m := v.request()
		bad := s.checkBody(msg.Data)
		if bad == nil {
			bad = decodeBody(msg.Data, m)
		}
		if bad == nil {
			bad = s.wrongCluster(envelopeOf(m).cluster)
		}
		if bad == nil && s.admins.Add(1) > adminCalls {
			s.admins.Add(-1)
			bad = refuse(coorddv1.CodeBusy, "the leader %s has %d operators' requests under way", s.cfg.Name, adminCalls)
		}
		if bad != nil {
			s.answers.refuse(c, bad)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.subs == nil { // the reign is about to end, and nobody waits for a goroutine of it any more
			s.admins.Add(-1)
			return
		}
		s.wg.Go(func() {
			defer s.admins.Add(-1)
			ctx, cancel := context.WithTimeout(s.ctx, v.limit)
			defer cancel()
			answer, refusal := v.run(ctx, r, m)
			s.answers.finishAdmin(c, answer, refusal)
		})
	}
}

// finishAdmin answers an operators' call, which was never counted.
func (a *answerer) finishAdmin(c *call, m proto.Message, e *coorddv1.Error) {
	if m == nil && e == nil {
		return
	}
	var body []byte
	if e == nil {
		var err error
		if body, err = encodeBody(m, c.asJSON); err != nil {
			e = refuse(coorddv1.CodeInternal, "the answer can't be encoded: %s", plainSpaces(err.Error()))
		}
	}
	if e == nil && len(body) > a.s.answerBytes() {
		e = refuse(coorddv1.CodeTooLarge, "the answer has %d bytes, NATS takes %d here", len(body), a.s.answerBytes())
	}
	if e != nil {
		a.refuse(c, e)
		return
	}
	a.send(c, body, nil)
	a.s.cfg.Observer.RequestDone(c.verb.name, "OK", time.Since(c.arrived))
}

// refusalOf turns an error of the node into what an operator is told; nil where the next leader has to answer.
func (s *Service) refusalOf(what string, err error) *coorddv1.Error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, node.ErrStopped),
		errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, raft.ErrMemberExists):
		return refuse(coorddv1.CodeMemberExists, "%s: the member exists already", what)
	case errors.Is(err, raft.ErrNoMember):
		return refuse(coorddv1.CodeNotFound, "%s: there is no such member", what)
	case errors.Is(err, raft.ErrLastVoter):
		return refuse(coorddv1.CodeLastVoter, "%s: nobody else would be left who votes and may lead; add another one first", what)
	case errors.Is(err, raft.ErrChangePending):
		return refuse(coorddv1.CodeChangeInProgress, "%s: another change of the members is under way; repeat it when that is done", what)
	case errors.Is(err, node.ErrNotCaughtUp):
		return refuse(coorddv1.CodeBusy, "%s: it did not catch up with the leader and stays a learner; promote it when it is nearer (coordd status)", what)
	case errors.Is(err, raft.ErrBusy), errors.Is(err, raft.ErrTransferring):
		return refuse(coorddv1.CodeBusy, "%s: the leader %s has too much under way", what, s.cfg.Name)
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(coorddv1.CodeTimeout, "%s: not committed yet; it may still be", what)
	}
	return refuse(coorddv1.CodeInternal, "%s: %s", what, plainSpaces(err.Error()))
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

// transferTarget finds the member of that name; 0 for an empty one: the best.
func (s *Service) transferTarget(name string) (raft.MemberID, *coorddv1.Error) {
	if name == "" {
		return 0, nil
	}
	m, bad := s.memberNamed(name)
	if bad != nil {
		return 0, bad
	}
	if m.Learner || m.Standby {
		return 0, badRequest("member %s may not lead: it is a %s", quote(name), memberRole(&m))
	}
	return m.ID, nil
}

// whyNotTaken says why a member, or any where none was named, did not take the leadership: as the leader saw it when
// it was asked.
func (s *Service) whyNotTaken(st *node.Status, name string, to raft.MemberID, err error) string {
	who := "member " + quote(name)
	if name == "" {
		who = "the member that has the most of the log"
	}
	switch {
	case errors.Is(err, node.ErrTransferFailed):
		return who + " did not take over in time; see `coordd status`"
	case errors.Is(err, raft.ErrTransferring):
		return "it is being handed to another member; see `coordd status`"
	case !errors.Is(err, raft.ErrNoTransferTarget):
		return plainSpaces(err.Error())
	case name == "":
		return "no other member can take it: each is a learner, a standby, not reachable or being given a snapshot"
	}
	for _, p := range st.Peers {
		switch {
		case p.ID != to:
		case p.LastContact < 0:
			return who + " is not reachable: it has not answered since it was added or replaced"
		case p.SnapshotIndex > 0:
			return who + " is being given a snapshot; `coordd status` shows how far it is"
		default:
			return fmt.Sprintf("%s is not reachable: no answer for %v", who, p.LastContact.Round(time.Millisecond))
		}
	}
	return who + " is none that may take it now"
}

func runTransfer(ctx context.Context, r *reign, m *coorddv1.LeaderTransferRequest) (proto.Message, *coorddv1.Error) {
	s := r.s
	to, bad := s.transferTarget(m.To)
	if bad != nil {
		return nil, bad
	}
	if st := s.node.Status(); to == st.ID {
		return &coorddv1.LeaderTransferReply{Index: st.Commit, Leader: s.cfg.Name, Term: st.Term}, nil
	}
	before := s.node.Status()
	if err := r.transfer(ctx, to); err != nil {
		return nil, refuse(coorddv1.CodeBusy, "leadership stays at %s: %s", s.cfg.Name, s.whyNotTaken(&before, m.To, to, err))
	}
	st := s.node.Status()
	return &coorddv1.LeaderTransferReply{Index: st.Commit, Leader: st.LeaderName, Term: st.Term}, nil
}
