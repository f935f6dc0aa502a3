package raft

import (
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/tracker"
)

// ErrNoTransferTarget means that no member can take over: there is no other voter that may campaign and
// that answered lately, or the one that was named is not such a member.
var ErrNoTransferTarget = errors.New("raft: no member to transfer leadership to")

// transfer is a hand-over under way.
type transfer struct {
	to    MemberID // 0: none
	until time.Duration
}

// TransferLeadership hands leadership over to a member, 0: to the voter that is furthest ahead. The member
// is brought up to date, then told to stand at once (dissertation, section 3.10). Meanwhile proposals get
// ErrTransferring. After one election timeout the leader gives up and goes on; it has no lease for the rest
// of its term. The end shows in Output.State: another leader, or proposals that are accepted again.
func (c *Core) TransferLeadership(to MemberID, now time.Duration) error {
	c.advance(now)
	if c.role != Leader {
		return ErrNotLeader
	}
	if to == c.id {
		return nil
	}
	if c.lead.transfer.to != 0 {
		if to == 0 || to == c.lead.transfer.to {
			return nil
		}
		return ErrTransferring
	}
	target := c.transferTarget(to)
	if target == nil {
		if to != 0 {
			return fmt.Errorf("%w: %v", ErrNoTransferTarget, to)
		}
		return ErrNoTransferTarget
	}
	c.lead.transfer = transfer{to: target.id, until: c.now + c.cfg.ElectionTimeoutMax}
	c.lead.noLease = true
	c.sendTimeoutNow()
	c.settle()
	return nil
}

// transferTarget returns the named member if it can take over; for 0 the best one: the furthest match among
// those that answered within an election timeout.
func (c *Core) transferTarget(to MemberID) *peer {
	var best *peer
	for _, p := range c.peers {
		if !p.voter || p.standby || (to != 0 && p.id != to) {
			continue
		}
		// Who is silent, or is being given a snapshot, can't be brought up to date in time, and meanwhile nothing
		// would be accepted.
		if c.now-p.pr.Contact > c.cfg.ElectionTimeoutMax || p.pr.State == tracker.Snapshot {
			continue
		}
		if best == nil || p.pr.Match > best.pr.Match {
			best = p
		}
	}
	return best
}

// sendTimeoutNow tells the successor to stand, once it has everything.
func (c *Core) sendTimeoutNow() {
	p := c.peer(c.lead.transfer.to)
	if p == nil || !p.voter {
		c.lead.transfer = transfer{}
		return
	}
	if p.pr.Match == c.log.last || canary.Broken(canary.TransferCatchesUp) {
		c.send = append(c.send, Message{Type: MsgTimeoutNow, From: c.id, To: p.id, Term: c.hard.Term})
	}
}

func (c *Core) tickTransfer() {
	if c.lead.transfer.to != 0 && c.now >= c.lead.transfer.until {
		c.lead.transfer = transfer{}
	}
}
