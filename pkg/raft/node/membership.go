package node

import (
	"context"
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
)

// What changes the membership is for the leader; any other member answers with a [NotLeaderError]. One change is under
// way at a time: raft.ErrChangePending says that another operator's is, while one that a leader makes by itself is
// waited for. raft.ErrLeadershipLost, and the context's error, mean that the outcome is unknown: the configuration
// tells. [ErrStopped] and raft.ErrBusy mean that nothing was done.

// AddOptions say how a member is added.
type AddOptions struct {
	// Learner adds one that stays a learner: it is given the log and does not count in the quorum.
	Learner bool
}

// AddMember brings a new member in. It begins as a learner and becomes a voter as soon as it has caught up (dissertation,
// section 4.2.1): AddMember returns when it is one, and [ErrNotCaughtUp] when it stayed a learner because it could not
// keep up. When the context ends, or this member's leadership, the warm-up goes on. With Learner it returns when the
// learner is in the committed configuration. The new node itself has to be started with Config.Join, by which it learns
// whom to answer. raft.ErrMemberExists says that the ID, the name or the address is taken.
func (n *Node) AddMember(ctx context.Context, m raft.Member, o AddOptions) error {
	m.Learner = o.Learner
	index, err := n.change(ctx, true, func(c raft.Configuration) (raft.Configuration, error) { return c.WithMember(m) })
	if err == nil && !o.Learner {
		err = n.awaitPromotion(ctx, m.ID, index)
	}
	return wrapf(err, "adding member %s", nameOf(&m))
}

// awaitPromotion waits until a learner of the configuration at an index became a voter or was given up. If this member
// does not lead any more, another leader goes on, and this member's log tells.
func (n *Node) awaitPromotion(ctx context.Context, id raft.MemberID, index uint64) error {
	var result error
	err := n.await(ctx, func() bool {
		if n.loop.activeIndex < index {
			return false
		}
		m, ok := n.loop.active.Member(id)
		switch {
		case !ok:
			result = raft.ErrNoMember
		case m.Learner && m.Promote:
			return false
		case m.Learner:
			result = ErrNotCaughtUp
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("waiting for it to become a voter, which goes on: %w", err)
	}
	return result
}

// RemoveMember takes a member out and returns when that is committed. The leader may remove itself: it commits the
// change and then steps down. Errors: raft.ErrNoMember; raft.ErrLastVoter, if nobody would be left who may lead.
func (n *Node) RemoveMember(ctx context.Context, id raft.MemberID) error {
	_, err := n.change(ctx, true, func(c raft.Configuration) (raft.Configuration, error) { return c.Without(id) })
	return wrapf(err, "removing member %s", id)
}

// ReplaceMember puts a new directory in the place of a member's that is lost, at an address (empty: the same). ID, name
// and metadata stay. It is a learner without an incarnation until the new directory shows its own, and becomes a voter
// once it has caught up; ReplaceMember waits as AddMember does. Errors: raft.ErrNoMember, raft.ErrLastVoter,
// [ErrNotCaughtUp].
func (n *Node) ReplaceMember(ctx context.Context, id raft.MemberID, address string) error {
	if id == n.cfg.ID {
		return fmt.Errorf("replacing member %s: it is the leader, and so has its directory", id)
	}
	voter := false
	index, err := n.change(ctx, true, func(c raft.Configuration) (raft.Configuration, error) {
		next, err := c.Replaced(id, address)
		m, _ := next.Member(id)
		voter = m.Promote
		return next, err
	})
	if err == nil && voter {
		err = n.awaitPromotion(ctx, id, index)
	}
	return wrapf(err, "replacing member %s", id)
}

// PromoteMember makes a voter of a learner, once it has caught up, and waits for it as AddMember does; a voter stays
// one. Errors: raft.ErrNoMember, [ErrNotCaughtUp].
func (n *Node) PromoteMember(ctx context.Context, id raft.MemberID) error {
	index, err := n.change(ctx, true, func(c raft.Configuration) (raft.Configuration, error) {
		if m, ok := c.Member(id); ok && (m.Promote || !m.Learner) {
			return c, errNoChange
		}
		return c.Promoted(id)
	})
	if err == nil {
		err = n.awaitPromotion(ctx, id, index)
	}
	return wrapf(err, "promoting member %s", id)
}

// SetMemberStandby has a member stand in no election (on), or stand again. A leader that becomes a standby hands over.
// Errors: raft.ErrNoMember; raft.ErrLastVoter, if nobody would be left who may lead.
func (n *Node) SetMemberStandby(ctx context.Context, id raft.MemberID, on bool) error {
	_, err := n.change(ctx, true, func(c raft.Configuration) (raft.Configuration, error) {
		if m, ok := c.Member(id); ok && m.Standby == on {
			return c, errNoChange
		}
		return c.WithStandby(id, on)
	})
	return wrapf(err, "setting member %s on standby (%v)", id, on)
}

// UpdateMember changes what the configuration records of a member: address, metadata and version. A name, an
// incarnation or a role that m has is not looked at. Errors: raft.ErrNoMember; raft.ErrMemberExists, if another one has
// the address.
func (n *Node) UpdateMember(ctx context.Context, m raft.Member) error {
	_, err := n.change(ctx, true, func(c raft.Configuration) (raft.Configuration, error) { return c.Updated(m) })
	return wrapf(err, "updating member %s", nameOf(&m))
}

func nameOf(m *raft.Member) string {
	if m.Name == "" {
		return m.ID.String()
	}
	return fmt.Sprintf("%s (%s)", m.Name, m.ID)
}

// wrapf wraps an error with what was being done; nil stays nil.
func wrapf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
