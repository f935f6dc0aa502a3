package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

const (
	// routesLook is how often the members are looked at for the routes to their NATS servers, clusterLook how often it is
	// looked whether the cluster's ID is known, without which there are no routes.
	routesLook  = time.Second
	clusterLook = 20 * time.Millisecond
)

// keepRoutes tells the embedded NATS server the ID of its cluster once that is known and, unless the settings name the
// routes, keeps those to the servers of the members that the configuration lists, until ctx ends. NATS's own gossip
// finds servers that come, but forgets those that were away for a while.
func (d *Daemon) keepRoutes(ctx context.Context) {
	if !d.identifyRoutes(ctx) || !d.cfg.routesFollow {
		return
	}
	have := slices.Sorted(slices.Values(d.cfg.NATSRoutes))
	tick := time.NewTicker(routesLook)
	defer tick.Stop()
	for {
		have = d.followMembers(have)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// identifyRoutes waits for the cluster's ID; false: ctx ended first, or the server would not take it.
func (d *Daemon) identifyRoutes(ctx context.Context) bool {
	tick := time.NewTicker(clusterLook)
	defer tick.Stop()
	for {
		if id := d.node.Status().ClusterID; !id.IsZero() {
			if err := d.nats.SetCluster(id.String()); err != nil {
				d.log.Error("there are no routes to the members' NATS servers", "error", err)
				return false
			}
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// followMembers sets the routes to the members' servers, where they differ from what there is, and returns what there is.
func (d *Daemon) followMembers(have []string) []string {
	st := d.node.Status()
	want, err := routesOf(configOf(&st).Members, st.ID)
	if err != nil || len(want) == 0 || slices.Equal(want, have) {
		return have // nobody else yet: what the settings say counts
	}
	if err := d.nats.SetRoutes(want); err != nil {
		d.log.Warn("the routes to the members' NATS servers can't be changed", "routes", want, "error", err)
		return have
	}
	d.log.Info("routes to the members' NATS servers", "routes", want)
	return want
}

// routesOf lists the routes to the other members, in order.
func routesOf(members []raft.Member, self raft.MemberID) ([]string, error) {
	var others []string
	for _, m := range members {
		if m.ID != self && m.Address != "" {
			others = append(others, m.Address)
		}
	}
	routes, err := routesTo(others)
	slices.Sort(routes)
	return slices.Compact(routes), err
}

// configOf is the configuration in effect on a node.
func configOf(st *node.Status) *raft.Configuration {
	if st.Proposed != nil {
		return st.Proposed
	}
	return &st.Active
}
