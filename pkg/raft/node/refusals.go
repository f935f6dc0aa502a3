package node

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// refusalLasts is how long a refusal that did not come again is told of. A transport tries more often than that.
const refusalLasts = 10 * time.Second

// refusals remembers which peers refuse this node's connections, and why.
type refusals struct {
	mu sync.Mutex
	by map[raft.MemberID]refusal
}

type refusal struct {
	text string
	at   time.Duration
}

// note keeps a refusal, which comes again with every attempt, and logs it once.
func (r *refusals) note(n *Node, by raft.MemberID, why *transport.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = make(map[raft.MemberID]refusal)
	}
	if r.by[by].text != why.Text {
		n.cfg.Logger.Error("a peer refuses this node", "peer", by, "kind", string(why.Kind), "reason", why.Text)
	}
	r.by[by] = refusal{why.Text, n.clock.now()}
}

// TurnedAway implements transport.MessageHandler. A node that founded a cluster by itself, at an address where members of
// another cluster of that name look for this very member, is that member with its directory lost: it ends, before anybody
// takes it for the cluster. [A first node that was started alone would, wiped and started as before, serve a cluster of
// its own to whoever still has its address.]
func (h handler) TurnedAway(caller transport.Identity, r *transport.Refusal) {
	n := h.n
	if r.Kind != transport.RejectCluster || caller.Cluster.IsZero() || caller.NameHash != n.cfg.NameHash || len(n.cfg.Join) > 0 {
		return
	}
	v := n.view.Load()
	alone := len(v.config.Members) == 1 && v.config.Members[0].ID == n.cfg.ID
	if alone && n.base.Load() == 0 { // a cluster that was restored or recovered begins with a snapshot
		n.halt(fmt.Errorf("%w: member %s of cluster %s looks for this member here, and this node is alone in cluster %s: if its data "+
			"directory was lost, run `coordd member replace` there, and start it with an empty directory and --join",
			ErrOtherCluster, label(caller), caller.Cluster, n.clusterID()))
	}
}

func label(id transport.Identity) string {
	if id.Name == "" {
		return id.Member.String()
	}
	return id.Name
}

// list returns those of late, ordered by member.
func (r *refusals) list(now time.Duration) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, why := range r.by {
		if now-why.at < refusalLasts {
			out = append(out, fmt.Sprintf("%s: %s", id, why.text))
		}
	}
	slices.Sort(out)
	return out
}
