package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// announcement is what a node says of itself in order to be taken into the cluster, or to have its record there
// changed. It goes to any member, which brings it to the leader.
type announcement struct {
	ID          raft.MemberID    `json:"id"`
	Name        string           `json:"name,omitempty"`
	Incarnation raft.Incarnation `json:"incarnation"`
	Address     string           `json:"address,omitempty"`
	Version     uint32           `json:"version,omitempty"`
	// Standby is true where the node was started as one and its record does not say so yet. [Who transfers leadership or
	// removes members has to know who never stands.]
	Standby bool `json:"standby,omitempty"`
	// Metadata is nil where the node says nothing of it.
	Metadata *map[string]string `json:"metadata,omitempty"`
	// Brought is set by a member that brings it to the leader: it goes no further.
	Brought bool `json:"brought,omitempty"`
}

// errOtherDirectory is the refusal of a node whose member has another directory on record.
var errOtherDirectory = errors.New("node: the configuration records another data directory of this member: it was lost or replaced; " +
	"run `coordd member replace` to accept the new one")

// errForeign is the refusal of who speaks for another one.
var errForeign = errors.New("node: an announcement of another member")

func (n *Node) announcement() announcement {
	a := announcement{ID: n.cfg.ID, Name: n.cfg.Name, Incarnation: n.found.Incarnation, Address: n.cfg.Address, Version: n.cfg.Version,
		Standby: n.saysStandby.Load()}
	if n.cfg.Metadata != nil {
		a.Metadata = &n.cfg.Metadata
	}
	if changed := n.metadata.Load(); changed != nil {
		a.Metadata = changed
	}
	return a
}

// SetMetadata changes what this node says of itself, in the place of Config.Metadata. It returns at once: the change is
// brought to the leader as one at a start is, until the configuration has it.
func (n *Node) SetMetadata(metadata map[string]string) {
	own := maps.Clone(metadata)
	if own == nil {
		own = map[string]string{}
	}
	n.metadata.Store(&own)
	wake(n.says.ready)
}

// apply changes a member's record to what the announcement says; false: it is so already.
func (a *announcement) apply(m *raft.Member) (changed bool) {
	if a.Address != "" && a.Address != m.Address {
		m.Address, changed = a.Address, true
	}
	if a.Version != 0 && a.Version != m.Version {
		m.Version, changed = a.Version, true
	}
	if a.Standby && !m.Standby {
		m.Standby, changed = true, true
	}
	if a.Metadata != nil && !maps.Equal(*a.Metadata, m.Metadata) {
		m.Metadata, changed = maps.Clone(*a.Metadata), true
	}
	return changed
}

// recordedAs reports whether a member's record is of a directory: it is the one on record, or none is yet, and this is
// not the one that was given up.
func recordedAs(m *raft.Member, in raft.Incarnation) bool {
	return m.Incarnation == in || (m.Incarnation.IsZero() && in != m.Former)
}

// admit has this member, which has to lead, take a node into the configuration as a learner that is to be promoted, or
// change what is recorded of it. It returns the configuration that says so.
func (n *Node) admit(ctx context.Context, a *announcement) (raft.Configuration, error) {
	ctx, cancel := context.WithTimeout(ctx, orderPatience)
	defer cancel()
	if _, err := n.change(ctx, false, a.record); err != nil {
		return raft.Configuration{}, err
	}
	return n.view.Load().config, nil
}

// record is the edit that has a configuration say what the announcement says.
func (a *announcement) record(c raft.Configuration) (raft.Configuration, error) {
	m, listed := c.Member(a.ID)
	if !listed {
		m = raft.Member{ID: a.ID, Name: a.Name, Incarnation: a.Incarnation}
	}
	changed := a.apply(&m)
	switch {
	case !listed && m.Address == "":
		return c, fmt.Errorf("node: member %s says no address at which it can be reached", nameOf(&m))
	case !listed:
		return c.Joined(m)
	case !recordedAs(&m, a.Incarnation):
		return c, fmt.Errorf("member %s has incarnation %s, %s is recorded: %w", nameOf(&m), a.Incarnation, m.Incarnation, errOtherDirectory)
	case !changed:
		return c, errNoChange
	}
	next, err := c.Updated(m)
	if err == nil && a.Standby {
		next, err = next.WithStandby(m.ID, true)
	}
	return next, err
}

// bring has the leader admit a node, wherever the leader is.
func (n *Node) bring(ctx context.Context, a *announcement) (raft.Configuration, error) {
	switch leader := n.view.Load().soft.Leader; {
	case leader == n.cfg.ID:
		return n.admit(ctx, a)
	case leader == 0 || a.Brought:
		return raft.Configuration{}, n.notLeader()
	default:
		brought := *a
		brought.Brought = true
		return n.tell(ctx, leader, &brought)
	}
}

// tell brings an announcement to another member and returns its verdict.
func (n *Node) tell(ctx context.Context, to raft.MemberID, a *announcement) (raft.Configuration, error) {
	ctx, cancel := context.WithTimeout(ctx, orderPatience)
	defer cancel()
	b, err := n.request(ctx, to, frameAnnounce, a.encode())
	if err != nil {
		return raft.Configuration{}, err
	}
	return readVerdict(b)
}

func (a *announcement) encode() []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic("node: an announcement can't be encoded: " + err.Error())
	}
	return b
}

func decodeAnnouncement(b []byte) (a announcement, err error) {
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("%w: %w", errFrame, err)
	}
	return a, nil
}

// announcedByMember answers what a member says of itself, or brings of another node.
func (n *Node) announcedByMember(ctx context.Context, body []byte) ([]byte, error) {
	a, err := decodeAnnouncement(body)
	if err != nil {
		return nil, err
	}
	return verdictOf(n.bring(ctx, &a)), nil
}

// Announced implements transport.MessageHandler: somebody wants to join.
func (h handler) Announced(ctx context.Context, from transport.Identity, body []byte) ([]byte, error) {
	a, err := decodeAnnouncement(body)
	if err != nil {
		return nil, err
	}
	if a.ID != from.Member || a.Incarnation != from.Incarnation {
		return verdictOf(raft.Configuration{}, errForeign), nil
	}
	a.Brought = false
	return verdictOf(h.n.bring(ctx, &a)), nil
}

// Refused implements transport.MessageHandler.
func (h handler) Refused(by raft.MemberID, r *transport.Refusal) { h.n.refused.note(h.n, by, r) }

// announcer brings what this node says of itself to the leader: that it wants to join, until it is a member; and later
// what differs from its record.
type announcer struct {
	n     *Node
	ready chan struct{} // there may be news of leader or configuration
	join  []string      // addresses to ask; empty: this node does not join
	next  int           // of join, or of the members
	told  string        // what was logged last
}

const (
	// announcePause is how many election timeouts pass between two attempts at first; each failure doubles it up to
	// announcePauseMax.
	announcePause    = 1
	announcePauseMax = 16
	// refusedPause is the pause after a refusal: an operator has to do something first.
	refusedPause = 10 * time.Second
	// admittedPause is how long an admission may take to show in the configuration before it is asked for again.
	admittedPause = 5 * time.Second
)

func newAnnouncer(n *Node) *announcer {
	a := &announcer{n: n, ready: make(chan struct{}, 1)}
	if n.found.Last == 0 && len(n.cfg.Members) == 0 && n.cfg.Transport != nil {
		a.join = n.cfg.Join
	}
	return a
}

// run works until the node halts.
func (a *announcer) run() {
	for failures := 0; ; {
		err := a.step()
		pause := a.n.cfg.ElectionTimeoutMax * time.Duration(min(announcePause<<failures, announcePauseMax))
		switch {
		case errors.Is(err, errNothingToSay):
			failures, pause = 0, time.Hour
		case err == nil:
			failures, pause = 0, admittedPause
		case isRefusal(err):
			pause = refusedPause
		default:
			failures = min(failures+1, announcePauseMax)
		}
		if !a.rest(pause, err) {
			return
		}
	}
}

// rest waits for so long, or until there is news that make another look worth while; false: the node ends.
func (a *announcer) rest(pause time.Duration, err error) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-a.n.halted:
			return false
		case <-timer.C:
			return true
		case <-a.ready:
			switch {
			case errors.Is(err, errNothingToSay), a.silent(a.n.view.Load()):
				return true
			case errors.Is(err, raft.ErrNotLeader) && a.n.view.Load().soft.Leader != 0:
				return true
			}
		}
	}
}

// errNothingToSay says that this node's record is as it should be, or that it has no part in the cluster any more.
var errNothingToSay = errors.New("nothing to announce")

// isRefusal reports whether a leader, or the other side's transport, refused for a reason that does not go away by itself.
func isRefusal(err error) bool {
	var refusal *transport.Refusal
	var remote *remoteError
	switch {
	case errors.As(err, &refusal):
		return true
	case !errors.As(err, &remote):
		return false
	}
	for _, passing := range []error{raft.ErrNotLeader, raft.ErrChangePending, raft.ErrBusy, raft.ErrLeadershipLost, ErrStopped, context.DeadlineExceeded} {
		if errors.Is(err, passing) {
			return false
		}
	}
	return true
}

// silent reports whether there is nothing to say, as far as a view tells.
func (a *announcer) silent(v *view) bool {
	if !a.recorded(v.config.Members) {
		// It does not join again what has taken it in: a removal may be under way, which ends in Removed.
		return len(a.join) == 0 || v.soft.Removed || a.recorded(v.active.Members)
	}
	self, _ := memberOf(v.config.Members, a.n.cfg.ID)
	says := a.n.announcement()
	return !says.apply(&self)
}

// recorded reports whether this node is among members.
func (a *announcer) recorded(members []raft.Member) bool {
	self, listed := memberOf(members, a.n.cfg.ID)
	return listed && recordedAs(&self, a.n.found.Incarnation)
}

// step says once what there is to say.
func (a *announcer) step() error {
	v := a.n.view.Load()
	switch {
	case a.silent(v):
		a.note("", nil)
		return errNothingToSay
	case !a.recorded(v.config.Members):
		return a.ask()
	}
	return a.correct(v)
}

// ask announces this node at the next of the addresses to join.
func (a *announcer) ask() error {
	address := a.join[a.next%len(a.join)]
	says := a.n.announcement()
	ctx, cancel := context.WithTimeout(a.n.ctx, orderPatience)
	defer cancel()
	b, err := a.n.cfg.Transport.Announce(ctx, address, says.encode())
	var conf raft.Configuration
	if err == nil {
		conf, err = readVerdict(b)
	}
	if err != nil {
		a.next++
	} else {
		a.n.in.call(func(time.Duration) { a.n.loop.introduce(conf.Members) })
	}
	a.note("announced to "+address, err)
	return err
}

// correct has the leader change this member's record. Where no leader is known, because nobody reaches this member at
// the address that is recorded, any member will do.
func (a *announcer) correct(v *view) error {
	says := a.n.announcement()
	if v.soft.Leader != 0 {
		_, err := a.n.bring(a.n.ctx, &says)
		a.note("", err)
		return err
	}
	var others []raft.MemberID
	for _, m := range v.config.Members {
		if m.ID != a.n.cfg.ID {
			others = append(others, m.ID)
		}
	}
	if len(others) == 0 {
		return &NotLeaderError{}
	}
	_, err := a.n.tell(a.n.ctx, others[a.next%len(others)], &says)
	if err != nil {
		a.next++
	}
	a.note("", err)
	return err
}

// note keeps for Status, and logs once, how it goes.
func (a *announcer) note(what string, err error) {
	if err != nil {
		if what == "" {
			what = "announcing what changed here"
		}
		what = fmt.Sprintf("%s: %v", what, err)
	}
	a.n.joining.Store(&what)
	if what == a.told {
		return
	}
	a.told = what
	switch {
	case isRefusal(err):
		a.n.cfg.Logger.Error("the cluster refuses this node", "reason", what)
	case err != nil:
		a.n.cfg.Logger.Debug("not announced yet", "reason", what)
	case what != "":
		a.n.cfg.Logger.Info("the cluster takes this node in", "how", what)
	}
}
