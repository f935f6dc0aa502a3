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
