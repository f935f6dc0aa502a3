package raft

import (
	"fmt"
	"maps"
	"slices"
)

// The changes that operators make to a configuration. Each returns the next configuration and leaves the given one as
// it is; a core takes it with ProposeConfChange, one at a time. WithMember, Without and Promoted note in SetVoters how
// many voters the operator wants. Joined and Replaced never lower it: a member that comes back after a failure detector
// removed it, or that gets a new directory, says nothing of those that are still missing.

// WithMember adds a member as a learner that is to be promoted, or, if it asks for that, as a learner that stays one.
// ErrMemberExists: the ID, the name or the address is taken.
func (c Configuration) WithMember(m Member) (Configuration, error) {
	for i := range c.Members {
		switch o := &c.Members[i]; {
		case o.ID == m.ID || (m.Name != "" && o.Name == m.Name):
			return c, fmt.Errorf("adding %s: %w", m.label(), ErrMemberExists)
		case m.Address != "" && o.Address == m.Address:
			return c, fmt.Errorf("adding %s: %w: %s has the address %s", m.label(), ErrMemberExists, o.label(), m.Address)
		}
	}
	m.Promote = !m.Learner
	m.Learner = true
	m.Metadata = maps.Clone(m.Metadata)
	next := c.Clone()
	next.Members = append(next.Members, m)
	slices.SortFunc(next.Members, byID)
	return next.set(), next.valid()
}

// Joined is WithMember for a member that announced itself: no operator said how many voters there are to be.
func (c Configuration) Joined(m Member) (Configuration, error) {
	next, err := c.WithMember(m)
	next.SetVoters = max(next.SetVoters, c.SetVoters)
	return next, err
}

// Without removes a member. ErrNoMember: it is not there. ErrLastVoter: nobody would be left that may lead.
func (c Configuration) Without(id MemberID) (Configuration, error) {
	m, ok := c.Member(id)
	if !ok {
		return c, fmt.Errorf("removing %v: %w", id, ErrNoMember)
	}
	if c.indispensable(id) {
		return c, fmt.Errorf("removing %s: %w", m.label(), ErrLastVoter)
	}
	next := c.Clone()
	next.Members = slices.DeleteFunc(next.Members, func(o Member) bool { return o.ID == id })
	return next.set(), next.valid()
}

// Replaced gives up a member's directory: whatever shows itself next in its place, at the address ("": the same one),
// becomes a voter, or a learner where it was one, once it has caught up. ErrNoMember, ErrLastVoter as for Without.
func (c Configuration) Replaced(id MemberID, address string) (Configuration, error) {
	m, ok := c.Member(id)
	if !ok {
		return c, fmt.Errorf("replacing %v: %w", id, ErrNoMember)
	}
	if c.indispensable(id) {
		return c, fmt.Errorf("replacing %s: %w", m.label(), ErrLastVoter)
	}
	next := c.with(id, func(m *Member) {
		if !m.Incarnation.IsZero() {
			m.Former = m.Incarnation
		}
		m.Incarnation, m.Version = Incarnation{}, 0
		m.Promote = m.Promote || !m.Learner
		m.Learner = true
		if address != "" {
			m.Address = address
		}
	}).set()
	next.SetVoters = max(next.SetVoters, c.SetVoters)
	return next, next.valid()
}

// Promoted has a learner become a voter once it has caught up; a voter stays one. ErrNoMember: it is not there.
func (c Configuration) Promoted(id MemberID) (Configuration, error) {
	if _, ok := c.Member(id); !ok {
		return c, fmt.Errorf("promoting %v: %w", id, ErrNoMember)
	}
	return c.with(id, func(m *Member) { m.Promote = m.Learner }).set(), nil
}

// WithStandby makes a member one that never stands, or one that does. ErrNoMember, ErrLastVoter as for Without.
func (c Configuration) WithStandby(id MemberID, on bool) (Configuration, error) {
	m, ok := c.Member(id)
	if !ok {
		return c, fmt.Errorf("making %v a standby: %w", id, ErrNoMember)
	}
	if on && c.indispensable(id) {
		return c, fmt.Errorf("making %s a standby: %w", m.label(), ErrLastVoter)
	}
	return c.with(id, func(m *Member) { m.Standby = on }), nil
}

// Updated takes over what a member says of itself: address, metadata, version. ErrNoMember: it is not there.
// ErrMemberExists: another one has the address.
func (c Configuration) Updated(m Member) (Configuration, error) {
	if _, ok := c.Member(m.ID); !ok {
		return c, fmt.Errorf("updating %v: %w", m.ID, ErrNoMember)
	}
	for i := range c.Members {
		if o := &c.Members[i]; o.ID != m.ID && m.Address != "" && o.Address == m.Address {
			return c, fmt.Errorf("updating %s: %w: %s has the address %s", m.label(), ErrMemberExists, o.label(), m.Address)
		}
	}
	return c.with(m.ID, func(o *Member) {
		o.Address, o.Version, o.Metadata = m.Address, m.Version, maps.Clone(m.Metadata)
	}), nil
}

// with returns a copy in which one member is changed.
func (c Configuration) with(id MemberID, change func(*Member)) Configuration {
	next := c.Clone()
	for i := range next.Members {
		if next.Members[i].ID == id {
			change(&next.Members[i])
		}
	}
	return next
}

// set notes how many voters there are, those to be promoted included.
func (c Configuration) set() Configuration {
	c.SetVoters = 0
	for i := range c.Members {
		if !c.Members[i].Learner || c.Members[i].Promote {
			c.SetVoters++
		}
	}
	return c
}

// indispensable reports whether a member is the only voter, or the only one that may lead.
func (c Configuration) indispensable(id MemberID) bool {
	others, leaders, leads := 0, 0, false
	for i := range c.Members {
		switch m := &c.Members[i]; {
		case m.Learner:
		case m.ID == id:
			leads = !m.Standby
		default:
			others++
			if !m.Standby {
				leaders++
			}
		}
	}
	return c.isVoter(id) && (others == 0 || (leads && leaders == 0))
}

// label names a member for an operator.
func (m *Member) label() string {
	if m.Name == "" {
		return m.ID.String()
	}
	return m.Name
}
