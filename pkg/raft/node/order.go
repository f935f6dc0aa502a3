package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// order is what a member asks the leader to do with it.
type order string

const (
	orderStandby order = "standby"
	orderNormal  order = "normal"
	orderLeave   order = "leave"
	orderResign  order = "resign" // hand over leadership, whoever asks
)

// orderPatience bounds how long a leader works on what another member asked for.
const orderPatience = 10 * time.Second

// verdict is the answer to an order or an announcement. An empty code means that it was done.
type verdict struct {
	Code string `json:"code,omitempty"`
	Text string `json:"text,omitempty"`
	// Config is the encoded configuration, for a node that was taken in: it has to know whom to answer before its log
	// tells.
	Config []byte `json:"config,omitempty"`
}

// verdictCodes are the errors that keep their meaning on the way from the leader.
var verdictCodes = []struct {
	code string
	err  error
}{
	{"not-leader", raft.ErrNotLeader}, {"exists", raft.ErrMemberExists}, {"no-member", raft.ErrNoMember},
	{"last-voter", raft.ErrLastVoter}, {"pending", raft.ErrChangePending}, {"busy", raft.ErrBusy},
	{"unknown", raft.ErrLeadershipLost}, {"too-large", raft.ErrTooLarge}, {"stopped", ErrStopped},
	{"directory", errOtherDirectory}, {"no-target", raft.ErrNoTransferTarget},
	{"late", context.DeadlineExceeded},
}

func verdictOf(conf raft.Configuration, err error) []byte {
	var v verdict
	if len(conf.Members) > 0 {
		v.Config = conf.Encode()
	}
	if err != nil {
		v = verdict{Code: "failed", Text: err.Error()}
		for _, c := range verdictCodes {
			if errors.Is(err, c.err) {
				v.Code = c.code
				break
			}
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("node: two strings can't be encoded: " + err.Error())
	}
	return b
}

// remoteError is an error that the leader gave, with its text there.
type remoteError struct {
	text string
	err  error // nil: none that is known here
}

func (e *remoteError) Error() string { return e.text }

func (e *remoteError) Unwrap() error { return e.err }

// readVerdict returns the configuration and the error of a verdict.
func readVerdict(b []byte) (conf raft.Configuration, err error) {
	var v verdict
	if err := json.Unmarshal(b, &v); err != nil {
		return conf, fmt.Errorf("%w: %w", errFrame, err)
	}
	if len(v.Config) > 0 {
		if conf, err = raft.DecodeConfiguration(v.Config); err != nil {
			return conf, fmt.Errorf("%w: %w", errFrame, err)
		}
	}
	if v.Code == "" {
		return conf, nil
	}
	e := &remoteError{text: v.Text}
	for _, c := range verdictCodes {
		if c.code == v.Code {
			e.err = c.err
		}
	}
	return conf, e
}

// throughLeader has the leader carry out an order, wherever it is, and tries again while leadership moves. An order whose
// answer did not come is given again, where twice is no more than once.
func (n *Node) throughLeader(ctx context.Context, o order) error {
	for unknown := false; ; {
		leader, err := n.awaitLeader(ctx)
		if err != nil {
			return err
		}
		attempt, cancel := context.WithTimeout(ctx, orderPatience)
		err = n.order(attempt, leader, o)
		late := attempt.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case o == orderLeave && unknown && errors.Is(err, raft.ErrNoMember):
			return nil // it was carried out the first time
		case errors.Is(err, raft.ErrNotLeader):
		case late && o != orderResign, errors.Is(err, raft.ErrLeadershipLost) && o != orderResign:
			unknown = true
		default:
			return err
		}
		if perr := n.pause(ctx); perr != nil {
			return errors.Join(err, perr)
		}
	}
}

// order gives an order to a leader.
func (n *Node) order(ctx context.Context, leader raft.MemberID, o order) error {
	if leader == n.cfg.ID {
		return n.carryOutOrder(ctx, n.cfg.ID, o)
	}
	b, err := n.request(ctx, leader, frameOrder, []byte(o))
	if err != nil {
		return err
	}
	_, err = readVerdict(b)
	return err
}

// ordered answers an order of another member's.
func (n *Node) ordered(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, orderPatience)
	defer cancel()
	return verdictOf(raft.Configuration{}, n.carryOutOrder(ctx, from, order(body))), nil
}

func (n *Node) carryOutOrder(ctx context.Context, from raft.MemberID, o order) error {
	switch o {
	case orderStandby, orderNormal:
		return n.SetMemberStandby(ctx, from, o == orderStandby)
	case orderLeave:
		return n.RemoveMember(ctx, from)
	case orderResign:
		return n.resign(ctx)
	}
	return fmt.Errorf("%w: order %q", errFrame, o)
}

// EnableStandby keeps this member from standing in elections, through the leader. A leader hands over. It returns when
// this member knows that it is so. Errors: as of SetMemberStandby; [ErrRemoved].
func (n *Node) EnableStandby(ctx context.Context) error {
	return wrapf(n.standby(ctx, true), "going on standby")
}

// RevertToNormal ends what EnableStandby, an operator or Config.Standby began. A member that was removed can't be
// reverted: [ErrRemoved].
func (n *Node) RevertToNormal(ctx context.Context) error {
	return wrapf(n.standby(ctx, false), "reverting from standby")
}

func (n *Node) standby(ctx context.Context, on bool) error {
	if n.view.Load().soft.Removed {
		return ErrRemoved
	}
	o := orderNormal
	if on {
		o = orderStandby
	}
	if err := n.throughLeader(ctx, o); err != nil {
		return err
	}
	if !on {
		n.in.call(func(now time.Duration) { n.loop.setStandby(false, now) })
	}
	return n.await(ctx, func() bool {
		m, ok := memberOf(n.loop.active.Members, n.cfg.ID) // one that is not committed binds nobody yet
		return !ok || m.Standby == on
	})
}

// Leave removes this member from the cluster, through the leader, and returns when that is committed. The node goes on
// until it is stopped, and can't come back but with an empty directory. Errors: as of RemoveMember; [ErrRemoved].
func (n *Node) Leave(ctx context.Context) error {
	if n.view.Load().soft.Removed {
		return fmt.Errorf("leaving the cluster: %w", ErrRemoved)
	}
	return wrapf(n.throughLeader(ctx, orderLeave), "leaving the cluster")
}

// Resign has the leader, this member or another one, give up its leadership, to the best of the others or, where none
// of them may lead, to whoever is elected next. It returns when that one no longer leads in its term.
func (n *Node) Resign(ctx context.Context) error {
	return wrapf(n.throughLeader(ctx, orderResign), "resigning")
}

func (n *Node) resign(ctx context.Context) error {
	term := n.view.Load().soft.Term
	err := n.TransferLeadership(ctx, 0)
	switch {
	case err == nil, errors.Is(err, raft.ErrNotLeader), errors.Is(err, ErrStopped), ctx.Err() != nil:
		return err
	}
	n.in.call(func(now time.Duration) {
		if s := n.loop.core.Status(); s.Role == raft.Leader && s.Term == term {
			n.loop.core.StepDown(now)
		}
	})
	return n.await(ctx, func() bool { return n.loop.soft.Role != raft.Leader || n.loop.soft.Term != term })
}

// heartbeatPeriod is the time between two rounds of heartbeats.
func (n *Node) heartbeatPeriod() time.Duration {
	return max(time.Duration(float64(n.cfg.ElectionTimeoutMin)*n.cfg.HeartbeatThreshold), 1)
}
