package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// routesLook is how often the members are looked at for the routes to their NATS servers.
const routesLook = time.Second

// followMembers keeps the routes of the embedded NATS server to the servers of the members that the configuration
// lists, until ctx ends. NATS's own gossip finds servers that come, but forgets those that were away for a while.
func (d *Daemon) followMembers(ctx context.Context) {
	have := slices.Sorted(slices.Values(d.cfg.NATSRoutes))
	tick := time.NewTicker(routesLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		st := d.node.Status()
		want, err := routesOf(configOf(&st).Members, st.ID)
		if err != nil || len(want) == 0 || slices.Equal(want, have) {
			continue // nobody else yet: what the settings say counts
		}
		if err := d.nats.SetRoutes(want); err != nil {
			d.log.Warn("the routes to the members' NATS servers can't be changed", "routes", want, "error", err)
			continue
		}
		d.log.Info("routes to the members' NATS servers", "routes", want)
		have = want
	}
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
