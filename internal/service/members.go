package service

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// longestChangeWait bounds what an answer may wait for a learner to become a voter.
const longestChangeWait = time.Minute

// Members changes who belongs to the cluster; *node.Node does it.
type Members interface {
	AddMember(ctx context.Context, m raft.Member, o node.AddOptions) error
	RemoveMember(ctx context.Context, id raft.MemberID) error
	ReplaceMember(ctx context.Context, id raft.MemberID, address string) error
	PromoteMember(ctx context.Context, id raft.MemberID) error
	SetMemberStandby(ctx context.Context, id raft.MemberID, on bool) error
}

var _ Members = (*node.Node)(nil)

// plainMember is what a member's name may be: it is a token of subjects, and a word of lists.
var plainMember = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func memberRole(m *raft.Member) string {
	switch {
	case m.Learner:
		return "learner"
	case m.Standby:
		return "standby"
	}
	return "voter"
}

// memberNamed finds a member of the configuration in effect.
func (s *Service) memberNamed(name string) (raft.Member, *coorddv1.Error) {
	st := s.node.Status()
	members := configOf(&st).Members
	if i := slices.IndexFunc(members, func(m raft.Member) bool { return m.Name == name }); i >= 0 {
		return members[i], nil
	}
	var names []string
	for _, m := range members {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return raft.Member{}, refuse(coorddv1.CodeNotFound, "there is no member %s; there are %s", quote(name), strings.Join(names, ", "))
}

// member shows a member as this node sees it.
func (s *Service) member(st *node.Status, m *raft.Member) *coorddv1.Member {
	out := &coorddv1.Member{Name: m.Name, Id: m.ID.String(), Address: m.Address, Role: memberRole(m), Leader: m.ID == st.Leader,
		Reachable: m.ID == st.ID, Metadata: m.Metadata}
	for i := range st.Peers {
		if st.Peers[i].ID == m.ID {
			out.Reachable = s.heardLately(&st.Peers[i])
		}
	}
	return out
}

func (s *Service) heardLately(p *node.PeerStatus) bool {
	return p.LastContact >= 0 && p.LastContact < contactLimit*s.cfg.ElectionTimeoutMax
}

// members shows the configuration in effect, by name.
func (s *Service) members(st *node.Status) (out []*coorddv1.Member) {
	members := configOf(st).Members
	for i := range members {
		out = append(out, s.member(st, &members[i]))
	}
	slices.SortFunc(out, func(a, b *coorddv1.Member) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func runMemberList(ctx context.Context, r *reign, _ *coorddv1.MemberListRequest) (proto.Message, *coorddv1.Error) {
	s := r.s
	proven := make(chan error, 1)
	s.node.SubmitRead(func(_ uint64, err error) { proven <- err })
	select {
	case err := <-proven:
		if err != nil {
			return nil, s.refusalOf("the list of members", err)
		}
	case <-ctx.Done():
		return nil, nil
	}
	st := s.node.Status()
	return &coorddv1.MemberListReply{Index: st.Applied, Members: s.members(&st)}, nil
}

// changed answers a change that the node accepted.
func (s *Service) changed(name string) (proto.Message, *coorddv1.Error) {
	st := s.node.Status()
	for _, m := range configOf(&st).Members {
		if m.Name == name {
			return &coorddv1.MemberReply{Index: st.Commit, Member: s.member(&st, &m)}, nil
		}
	}
	return nil, nil // removed meanwhile, or this node does not lead any more: the next answer says what is true
}

// await looks until the committed configuration has what was asked for; false: the time was over before.
func (s *Service) await(ctx context.Context, done func(*raft.Configuration) bool) bool {
	look := time.NewTicker(changeLook)
	defer look.Stop()
	for {
		if st := s.node.Status(); st.Proposed == nil && done(&st.Active) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-look.C:
		}
	}
}

// lasting runs a change that ends when a learner votes, which may be a long time from now, or never if its node does
// not run. It returns at the latest when the wait is over, if by then the change has begun, which begun tells from the
// committed record of the member: the leader goes on with it, and so does the next one.
func (s *Service) lasting(ctx context.Context, id raft.MemberID, wait time.Duration, begun func(*raft.Member) bool, change func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	s.wg.Go(func() { ended <- change(ctx) })
	committed := make(chan struct{})
	s.wg.Go(func() {
		bound, cancel := context.WithTimeout(ctx, changeTimeout)
		defer cancel()
		if s.await(bound, func(c *raft.Configuration) bool { m, ok := c.Member(id); return ok && begun(&m) }) {
			close(committed)
		}
	})
	select {
	case err := <-ended:
		return err
	case <-committed:
	}
	patience := time.NewTimer(wait)
	defer patience.Stop()
	select {
	case err := <-ended:
		if errors.Is(err, raft.ErrNoMember) || errors.Is(err, node.ErrNotCaughtUp) {
			return err
		}
	case <-patience.C:
	case <-ctx.Done():
	}
	return nil
}

func isLearner(m *raft.Member) bool { return m.Learner }

// waitOf checks how long an answer may wait.
func waitOf(d *durationpb.Duration) (time.Duration, *coorddv1.Error) {
	wait, bad := duration("wait", d, 0)
	if bad == nil && (wait < 0 || wait > longestChangeWait) {
		bad = badRequest("wait %v is out of range: 0s to %v", wait, longestChangeWait)
	}
	return wait, bad
}

// checkMemberAddress checks host:port.
func checkMemberAddress(address string) *coorddv1.Error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, " \t\r\n/") {
		return badRequest("address %s is not host:port", quote(address))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return badRequest("address %s has no port from 1 to 65535", quote(address))
	}
	return nil
}

// freeAddress refuses an address at which another member is.
func (s *Service) freeAddress(name, address string) *coorddv1.Error {
	st := s.node.Status()
	for _, m := range configOf(&st).Members {
		if m.Address == address && m.Name != name {
			return refuse(coorddv1.CodeMemberExists, "member %s has the address %s", quote(m.Name), quote(address))
		}
	}
	return nil
}

func runMemberAdd(ctx context.Context, r *reign, m *coorddv1.MemberAddRequest) (proto.Message, *coorddv1.Error) {
	s := r.s
	wait, bad := waitOf(m.Wait)
	if bad == nil && !plainMember.MatchString(m.Name) {
		bad = badRequest("name %s is not 1 to 64 of A-Za-z0-9_-", quote(m.Name))
	}
	if bad == nil {
		bad = checkMemberAddress(m.Address)
	}
	if bad == nil {
		bad = checkMetadata(&s.cfg.Limits, m.Metadata)
	}
	if bad == nil {
		if old, none := s.memberNamed(m.Name); none == nil {
			return nil, refuse(coorddv1.CodeMemberExists, "member %s exists already, a %s at %s; member.replace gives it a new data directory",
				quote(m.Name), memberRole(&old), old.Address)
		}
		bad = s.freeAddress(m.Name, m.Address)
	}
	if bad != nil {
		return nil, bad
	}
	what, id := "add "+quote(m.Name), s.cfg.MemberID(m.Name)
	added := raft.Member{ID: id, Name: m.Name, Address: m.Address, Metadata: m.Metadata}
	err := s.lasting(ctx, id, wait, isLearner, func(ctx context.Context) error {
		return s.cfg.Members.AddMember(ctx, added, node.AddOptions{Learner: m.Learner})
	})
	if err != nil {
		return nil, s.refusalOf(what, err)
	}
	return s.changed(m.Name)
}

func runMemberRemove(ctx context.Context, r *reign, m *coorddv1.MemberRequest) (proto.Message, *coorddv1.Error) {
	s := r.s
	old, bad := s.memberNamed(m.Name)
	if bad != nil {
		return nil, bad
	}
	st := s.node.Status()
	before := s.member(&st, &old)
	if err := s.cfg.Members.RemoveMember(ctx, old.ID); err != nil {
		return nil, s.refusalOf("remove "+quote(m.Name), err)
	}
	return &coorddv1.MemberReply{Index: s.node.Status().Commit, Member: before}, nil
}

func runMemberReplace(ctx context.Context, r *reign, m *coorddv1.MemberReplaceRequest) (proto.Message, *coorddv1.Error) {
	s := r.s
	wait, bad := waitOf(m.Wait)
	var old raft.Member
	if bad == nil {
		old, bad = s.memberNamed(m.Name)
	}
	if bad == nil && m.Address != "" {
		if bad = checkMemberAddress(m.Address); bad == nil {
			bad = s.freeAddress(m.Name, m.Address)
		}
	}
	if bad == nil && old.ID == s.node.Status().ID {
		bad = badRequest("member %s leads, on the very directory that would be given up: stop it first, or transfer leadership", quote(m.Name))
	}
	if bad != nil {
		return nil, bad
	}
	begun := func(now *raft.Member) bool {
		return now.Learner && (now.Incarnation != old.Incarnation || old.Incarnation.IsZero()) && (m.Address == "" || now.Address == m.Address)
	}
	err := s.lasting(ctx, old.ID, wait, begun, func(ctx context.Context) error { return s.cfg.Members.ReplaceMember(ctx, old.ID, m.Address) })
	if err != nil {
		return nil, s.refusalOf("replace "+quote(m.Name), err)
	}
	return s.changed(m.Name)
}

func runMemberPromote(ctx context.Context, r *reign, m *coorddv1.MemberRequest) (proto.Message, *coorddv1.Error) {
	s := r.s
	wait, bad := waitOf(m.Wait)
	var old raft.Member
	if bad == nil {
		old, bad = s.memberNamed(m.Name)
	}
	if bad != nil {
		return nil, bad
	}
	if !old.Learner {
		return s.changed(m.Name) // a repeat
	}
	begun := func(now *raft.Member) bool { return now.Learner && now.Promote }
	err := s.lasting(ctx, old.ID, wait, begun, func(ctx context.Context) error { return s.cfg.Members.PromoteMember(ctx, old.ID) })
	if err != nil && !errors.Is(err, raft.ErrMemberExists) { // that one: it votes already
		return nil, s.refusalOf("promote "+quote(m.Name), err)
	}
	return s.changed(m.Name)
}

func runMemberStandby(ctx context.Context, r *reign, m *coorddv1.MemberStandbyRequest) (proto.Message, *coorddv1.Error) {
	s := r.s
	old, bad := s.memberNamed(m.Name)
	if bad != nil {
		return nil, bad
	}
	if old.Standby != m.Off {
		return s.changed(m.Name) // it is what it should be
	}
	st := s.node.Status()
	if !m.Off && !slices.ContainsFunc(configOf(&st).Members, func(o raft.Member) bool { return o.ID != old.ID && !o.Learner && !o.Standby }) {
		return nil, badRequest("standby %s: nobody else could lead then", quote(m.Name))
	}
	if err := s.cfg.Members.SetMemberStandby(ctx, old.ID, !m.Off); err != nil {
		return nil, s.refusalOf("standby "+quote(m.Name), err)
	}
	return s.changed(m.Name)
}
