package raft

import (
	"fmt"
	"slices"

	"github.com/coordd/coordd/internal/canary"
)

// configAt is a configuration with the index of its entry; index 0 is the static configuration.
type configAt struct {
	index uint64
	conf  Configuration
}

// configStack holds the configurations of the log that matter: the last committed one and those above it.
// The last is in effect from the moment at which it was appended; a cut of the log takes away those above
// the cut (dissertation, section 4.1).
type configStack struct {
	stack []configAt // ascending in index; never empty, the first may be without members
}

func (s *configStack) current() *configAt { return &s.stack[len(s.stack)-1] }

// active is the last configuration at or below a commit index.
func (s *configStack) active(commit uint64) *configAt {
	for i := len(s.stack) - 1; i > 0; i-- {
		if s.stack[i].index <= commit {
			return &s.stack[i]
		}
	}
	return &s.stack[0]
}

// pending reports whether the configuration in effect is not committed yet.
func (s *configStack) pending(commit uint64) bool { return s.current().index > commit }

// before is the configuration that the one in effect is to replace; nil where that is committed. It is committed
// itself, whether that is known here or not, because there is one change at a time.
func (s *configStack) before(commit uint64) *configAt {
	if n := len(s.stack); n > 1 && s.pending(commit) {
		return &s.stack[n-2]
	}
	return nil
}

func (s *configStack) push(index uint64, conf Configuration) {
	s.stack = append(s.stack, configAt{index, conf})
}

// replace puts the configuration of a snapshot in the place of all.
func (s *configStack) replace(index uint64, conf Configuration) {
	s.stack = []configAt{{index, conf}}
}

// cut takes away the configurations above an index and reports whether there were any.
func (s *configStack) cut(after uint64) bool {
	n := len(s.stack)
	for n > 1 && s.stack[n-1].index > after {
		n--
	}
	if canary.Broken(canary.ChangeRollsBack) {
		return false
	}
	changed := n < len(s.stack)
	s.stack = slices.Delete(s.stack, n, len(s.stack))
	return changed
}

// forget drops what lies below the last committed configuration, and reports whether there was anything.
func (s *configStack) forget(commit uint64) bool {
	n := 0
	for n+1 < len(s.stack) && s.stack[n+1].index <= commit {
		n++
	}
	s.stack = slices.Delete(s.stack, 0, n)
	return n > 0
}

// restoreConfigs builds the stack from the snapshot's configuration, or else the static members, and the log's last
// two configurations.
func restoreConfigs(cfg *Config, r *Restored) (configStack, error) {
	s := configStack{stack: []configAt{{conf: Configuration{Members: cfg.Members}}}}
	if m := r.Snapshot; m != nil {
		if err := m.Config.valid(); err != nil {
			return s, fmt.Errorf("reading the configuration of the snapshot at index %d: %w", m.Index, err)
		}
		s.stack[0] = configAt{m.ConfigIndex, m.Config.Clone()}
	}
	for _, e := range []*Entry{r.ConfigPrev, r.Config} {
		if e == nil || (r.Snapshot != nil && e.Index <= r.Snapshot.ConfigIndex) {
			continue // the snapshot's is as new
		}
		conf, err := DecodeConfiguration(e.Data)
		if err != nil {
			return s, fmt.Errorf("reading the configuration at index %d: %w", e.Index, err)
		}
		if e.Kind != EntryConfig || e.Index <= s.current().index || e.Index > r.Last {
			return s, fmt.Errorf("the configuration entry at index %d is not one, or out of place", e.Index)
		}
		s.push(e.Index, conf)
	}
	return s, nil
}

// checkChange tells whether a leader may go from one configuration to the next: one voter more or less at
// a time (dissertation, section 4.1), because only then all majorities of both intersect.
func checkChange(from, to Configuration) error {
	if err := to.valid(); err != nil {
		return err
	}
	if to.ClusterID != from.ClusterID {
		return fmt.Errorf("%w: the cluster ID changes", errConfiguration)
	}
	if to.Version < from.Version {
		return fmt.Errorf("%w: the version goes back from %d to %d", errConfiguration, from.Version, to.Version)
	}
	changed := 0
	for _, id := range to.Voters() {
		if !from.isVoter(id) {
			changed++
		}
	}
	for _, id := range from.Voters() {
		if !to.isVoter(id) {
			changed++
		}
	}
	if changed > 1 && !canary.Broken(canary.OneVoterAtATime) {
		return fmt.Errorf("%w: %d voters change at once", errConfiguration, changed)
	}
	return nil
}

// noteListed remembers that a committed configuration lists this directory. [One that is not may be taken back, and
// a member that is about to join was never removed.]
func (c *Core) noteListed() {
	for i := range c.configs.stack {
		at := &c.configs.stack[i]
		me, ok := at.conf.Member(c.id)
		if ok && at.index <= c.log.commit && (me.Incarnation.IsZero() || me.Incarnation == c.cfg.Incarnation) {
			c.listed = true
		}
	}
}

// removed reports whether this member was listed once and the last committed configuration does not list it.
func (c *Core) removed() bool {
	active := c.configs.active(c.log.commit)
	_, is := active.conf.Member(c.id)
	return c.listed && !is && len(active.conf.Members) > 0 && active.index > 0
}

// Contacts returns the members that this one may have to talk to, besides itself, ordered by ID: those of the
// configuration in effect, those of an earlier one that may come back, and those that were removed and have not
// learned of it. The runtime keeps in touch with them, and with nobody else.
func (c *Core) Contacts() []Member {
	var all []Member
	add := func(m Member) {
		if m.ID != c.id && !slices.ContainsFunc(all, func(o Member) bool { return o.ID == m.ID }) {
			all = append(all, m)
		}
	}
	for i := len(c.configs.stack) - 1; i >= 0; i-- {
		for _, m := range c.configs.stack[i].conf.Clone().Members {
			add(m)
		}
	}
	for _, p := range c.peers {
		add(p.member)
	}
	slices.SortFunc(all, byID)
	return all
}
