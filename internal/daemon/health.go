package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/console"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// maxLag is how many committed entries a ready node may still have to apply.
const maxLag = 10_000

// reserveBytes is the free space below which the log refuses writes: four memtables of 4 MiB.
const reserveBytes = 16 << 20

// checks are those of /readyz.
func (d *Daemon) checks() []console.Check {
	return []console.Check{
		{Name: "member", Run: d.checkMember},
		{Name: "applied", Run: d.checkApplied},
		{Name: "read", Run: d.checkRead},
		{Name: "nats", Run: d.checkNATS},
		{Name: "disk", Run: d.checkDisk},
	}
}

func (d *Daemon) checkMember(context.Context) error {
	st := d.node.Status()
	return isMember(&st)
}

// isMember reports why a node is none that the others count on.
func isMember(st *node.Status) error {
	m := memberOf(&st.Active, st.ID)
	switch {
	case st.Removed:
		return fmt.Errorf("%s was removed from the cluster; it can come back with an empty data directory and --join", st.Name)
	case len(st.RefusedBy) > 0 && st.Leader == 0:
		return fmt.Errorf("refused by %s", strings.Join(st.RefusedBy, "; "))
	case m != nil:
		return admitted(st, m)
	case st.Joining != "":
		return fmt.Errorf("not a member yet: %s", st.Joining)
	case len(st.Active.Members) == 0:
		return errors.New("no configuration is known yet")
	}
	return fmt.Errorf("%s is not in the configuration (%s)", st.Name, strings.Join(memberNames(st.Active), ", "))
}

// admitted reports why the others refuse, or do not count yet, a node that the configuration lists.
func admitted(st *node.Status, m *raft.Member) error {
	switch {
	case m.Learner && m.Promote:
		return errors.New("a learner that is still catching up with the leader")
	case m.Incarnation != (raft.Incarnation{}) && m.Incarnation != st.Incarnation:
		return fmt.Errorf("the configuration lists an earlier data directory of %s: the others refuse this one", st.Name)
	case st.Blank:
		return errors.New("the log is empty, and neither the leader nor all other members have admitted this node yet")
	}
	return nil
}

func memberNames(c raft.Configuration) (names []string) {
	for _, m := range c.Members {
		names = append(names, m.Name)
	}
	return names
}

func (d *Daemon) checkApplied(context.Context) error {
	st := d.node.Status()
	switch lag := st.Commit - min(st.Applied, st.Commit); {
	case st.Recovering:
		return errors.New("the log lacks something that this node once acknowledged; it waits for the leader to bring it back")
	case !st.Ready:
		return errors.New("what was committed before the start is not applied yet")
	case lag > maxLag:
		return fmt.Errorf("%d committed entries are not applied", lag)
	}
	return nil
}

// checkRead proves that a linearizable read works here: a leader is known, and a majority confirms it.
func (d *Daemon) checkRead(ctx context.Context) error {
	if d.node.Status().Leader == 0 {
		return errors.New("no leader is known")
	}
	_, err := d.node.ReadBarrier(ctx)
	var notLeader *node.NotLeaderError
	switch {
	case errors.As(err, &notLeader):
		return errors.New("no leader could confirm a read")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no majority confirmed a read in time")
	}
	return err
}

func (d *Daemon) checkNATS(context.Context) error {
	switch {
	case !d.conn.IsConnected():
		return errors.New("the connection to NATS is down")
	case !d.svc.NATSHealthy():
		return errors.New("NATS does not carry messages to a majority of the members")
	case d.nats != nil && len(d.nats.Remotes()) < len(d.node.Status().Active.Members)/2:
		return fmt.Errorf("routes to only %d of the other members' servers are up", len(d.nats.Remotes()))
	}
	return nil
}

func (d *Daemon) checkDisk(context.Context) error {
	free, err := freeBytes(d.cfg.DataDir)
	if err != nil {
		return err
	}
	if free < reserveBytes {
		return fmt.Errorf("%d MiB are free, less than the reserve of %d MiB: writes are refused", free>>20, reserveBytes>>20)
	}
	switch st := d.node.Status(); {
	case st.Full:
		return fmt.Errorf("%d MiB are free: a write waits for room", free>>20)
	case st.Stalled:
		return errors.New("a write has been under way for too long")
	}
	return nil
}

// describe adds to the node's status what only the daemon knows.
func (d *Daemon) describe(st *coorddv1.NodeStatus) {
	st.HttpUrl, st.NatsUrl = d.httpURL(), d.natsURL()
	if st.Peer == "" {
		st.Peer = d.cfg.PeerAdvertise
	}
	trips := make(map[string]time.Duration)
	for _, s := range d.peers.Stats() {
		trips[s.Name] = s.RoundTrip
	}
	for _, p := range st.GetPeers() {
		if trip := trips[p.GetName()]; trip > 0 {
			p.RoundTrip = durationpb.New(trip)
		}
	}
	st.DbBytes, st.SnapshotBytes = d.metrics.DBBytes(), d.metrics.SnapshotBytes()
	if free, err := freeBytes(d.cfg.DataDir); err == nil {
		st.DiskFreeBytes = free
	}
	st.Uptime = durationpb.New(time.Since(d.started).Round(time.Millisecond))
}

// withoutUser keeps passwords of URLs out of what others see.
func withoutUser(urls string) string {
	var out []string
	for _, s := range strings.Split(urls, ",") {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil {
			u.User = nil
			s = u.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, ",")
}
