package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show every node: role, term, commit, applied, lag, disk, NATS",
		Long: "Ask every node of the cluster for its status. A member of the configuration that does not answer is\n" +
			"listed as not reachable. Exit code 5 if no node answers.",
		Args: exactly(0),
	}
	c := addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.check(); err != nil {
			return err
		}
		nc, err := c.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer nc.Close()
		st, err := c.clusterStatus(cmd.Context(), nc)
		if err != nil {
			return err
		}
		if *c.format == outputText {
			return st.print(cmd)
		}
		b, err := json.Marshal(st)
		if err != nil {
			return err
		}
		return writeDocument(cmd.OutOrStdout(), *c.format, b)
	}
	return cmd
}

// clusterStatus is what every node of a cluster says, as the contract's document.
type clusterStatus struct {
	Cluster  json.RawMessage   `json:"cluster"`
	Nodes    []json.RawMessage `json:"nodes"`
	Active   []string          `json:"active"`
	Proposed []string          `json:"proposed"`

	info    *coorddv1.ClusterInfo
	nodes   []*coorddv1.NodeStatus
	members []*coorddv1.Member
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a[:len(a):len(a)], s)
		}
	}
	return a
}

// clusterStatus asks all nodes.
func (c *clientFlags) clusterStatus(ctx context.Context, nc *nats.Conn) (*clusterStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var nodes []*coorddv1.NodeStatus
	// A node that was not taken in knows no members, and its NATS server does not know the others: they are asked too.
	for range nc.Servers() {
		var more []*coorddv1.NodeStatus
		// A NATS server may be up before its node is, or not be back yet: asked again until the time is over.
		err := retry(ctx, func() (again bool, err error) {
			more, err = collectStatus(ctx, nc, 1)
			return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrReconnectBufExceeded), err
		})
		for _, n := range more {
			if !named(nodes, n.GetName()) {
				nodes = append(nodes, n)
			}
		}
		if len(nodes) == 0 && err != nil {
			return nil, c.noAnswer(nc, err)
		}
		if err != nil || len(bestInformed(nodes).GetActive()) > 0 {
			break
		}
		moveOn(nc)
	}
	return assembleStatus(nodes)
}

// assembleStatus puts the nodes' answers together. What they disagree about is taken from the one with the
// highest term, and of those from the leader.
func assembleStatus(nodes []*coorddv1.NodeStatus) (*clusterStatus, error) {
	best := bestInformed(nodes)
	st := &clusterStatus{Active: best.GetActive(), Proposed: best.GetProposed(), info: best.GetCluster(), members: best.GetMembers()}
	if st.Active == nil {
		st.Active = []string{}
	}
	if st.info == nil {
		st.info = &coorddv1.ClusterInfo{}
	}
	for _, name := range union(st.Active, st.Proposed) {
		if !slices.ContainsFunc(nodes, func(n *coorddv1.NodeStatus) bool { return n.GetName() == name }) {
			nodes = append(nodes, &coorddv1.NodeStatus{Name: name})
		}
	}
	slices.SortFunc(nodes, func(a, b *coorddv1.NodeStatus) int { return strings.Compare(a.GetName(), b.GetName()) })
	st.nodes = nodes
	var err error
	if st.Cluster, err = documentFrom(st.info); err != nil {
		return nil, err
	}
	for _, n := range nodes {
		doc, err := documentFrom(n)
		if err != nil {
			return nil, err
		}
		// What stands once for the whole cluster is taken out.
		if doc, err = documentWithout(doc, "cluster", "active", "proposed", "members", "leader"); err != nil {
			return nil, err
		}
		st.Nodes = append(st.Nodes, doc)
	}
	return st, nil
}

func (st *clusterStatus) print(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "cluster %s (%s), leader %s, term %d, fence %d, domain %d\n", orDash(st.info.GetName()), orDash(st.info.GetId()),
		orDash(st.info.GetLeader()), st.info.GetTerm(), st.info.GetFence(), st.info.GetDomain())
	fmt.Fprintf(out, "active %s\n", st.list(st.Active))
	if st.Proposed != nil {
		fmt.Fprintf(out, "proposed %s: not committed yet\n", st.list(st.Proposed))
	}
	fmt.Fprintln(out)
	var rows [][]string
	for _, n := range st.nodes {
		if !n.GetReachable() {
			rows = append(rows, append([]string{n.GetName(), "unreachable"}, make([]string, 12)...))
			continue
		}
		nats := "connected"
		if !n.GetNatsConnected() {
			nats = "lost"
		}
		rows = append(rows, []string{n.GetName(), st.role(n), strconv.FormatInt(n.GetPid(), 10), fmt.Sprint(n.GetTerm()), fmt.Sprint(n.GetCommitIndex()),
			fmt.Sprint(n.GetAppliedIndex()), fmt.Sprint(n.GetLag()), st.roundTrip(n.GetName()), fmt.Sprint(n.GetLogEntries()), snapshotText(n), n.GetVersion(),
			bytesText(n.GetDbBytes()) + "/" + bytesText(n.GetDiskFreeBytes()), nats, n.GetUptime().AsDuration().Round(time.Second).String()})
	}
	if err := table(out, []string{"NAME", "ROLE", "PID", "TERM", "COMMIT", "APPLIED", "LAG", "ROUNDTRIP", "LOG", "SNAPSHOT", "VERSION", "DB/FREE", "NATS", "UPTIME"}, rows); err != nil {
		return err
	}
	return st.printTroubles(out)
}

// list names members with what they are, if they are no ordinary voters.
func (st *clusterStatus) list(names []string) string {
	var out []string
	for _, name := range names {
		for _, m := range st.members {
			if m.GetName() == name && m.GetRole() != "voter" {
				name += " (" + m.GetRole() + ")"
			}
		}
		out = append(out, name)
	}
	return orDash(strings.Join(out, ", "))
}

// role is what a node does, and what else is to be said of it. The leader knows how far a learner is.
func (st *clusterStatus) role(n *coorddv1.NodeStatus) string {
	role := n.GetRole()
	if n.GetRecovering() {
		role += ",recovering"
	}
	if n.GetRemoved() {
		role += ",removed"
	}
	p := st.peer(n.GetName())
	if p.GetWarmupRound() > 0 {
		role += fmt.Sprintf(",warm-up-%d", p.GetWarmupRound())
	}
	if p.GetSnapshotSize() > 0 {
		role += fmt.Sprintf(",snapshot-%d%%", 100*p.GetSnapshotSent()/p.GetSnapshotSize())
	}
	return role
}

// snapshotText is the index of a node's newest snapshot and its age in cluster time.
func snapshotText(n *coorddv1.NodeStatus) string {
	if n.GetSnapshotIndex() == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%s", n.GetSnapshotIndex(), n.GetSnapshotAge().AsDuration().Round(time.Second))
}

// printTroubles says what does not fit into a line of the table.
func (st *clusterStatus) printTroubles(out io.Writer) error {
	for _, n := range st.nodes {
		if n.GetRemoved() {
			if _, err := fmt.Fprintf(out, "\n%s was removed from the cluster; it can come back with an empty data directory and --join\n", n.GetName()); err != nil {
				return err
			}
		}
		for _, why := range n.GetRefusedBy() {
			if _, err := fmt.Fprintf(out, "\n%s is refused by %s\n", n.GetName(), why); err != nil {
				return err
			}
		}
	}
	return nil
}

// roundTrip is what the leader measured to a node.
func (st *clusterStatus) roundTrip(name string) string {
	if p := st.peer(name); p.GetRoundTrip() != nil {
		return p.GetRoundTrip().AsDuration().Round(time.Microsecond).String()
	}
	return ""
}

// peer is what the leader says of a node; nil: nothing.
func (st *clusterStatus) peer(name string) *coorddv1.PeerStatus {
	for _, n := range st.nodes {
		if n.GetRole() != "leader" {
			continue
		}
		for _, p := range n.GetPeers() {
			if p.GetName() == name {
				return p
			}
		}
	}
	return nil
}

// bytesText writes a size for people.
func bytesText(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d%s", n, units[i])
	}
	return fmt.Sprintf("%.1f%s", v, units[i])
}

// devRoles asks the nodes of a development cluster for their roles; a node that does not answer has none.
func devRoles(ctx context.Context, plan *devPlan) map[string]string {
	roles := make(map[string]string)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	nc, err := nats.Connect(plan.natsURLs(), nats.Timeout(time.Second))
	if err != nil {
		return roles
	}
	defer nc.Close()
	// A node's subscriptions reach the other servers a moment after it is ready.
	_ = retry(ctx, func() (again bool, err error) { // what is not known by then stays blank
		nodes, err := collectStatus(ctx, nc, len(plan.Nodes))
		for _, n := range nodes {
			roles[n.GetName()] = n.GetRole()
		}
		if err == nil && len(roles) < len(plan.Nodes) {
			err = errors.New("not all have answered")
		}
		return true, err
	})
	return roles
}
