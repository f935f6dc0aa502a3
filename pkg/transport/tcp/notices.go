package tcp

import (
	"context"
	"strings"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// maxNotices bounds what notices remembers. Keys come from the list of peers and from remote addresses;
// beyond the bound nothing new is logged, so that a crowd of strangers cannot fill the log.
const maxNotices = 1024

// notices remembers what was logged last under a key, so that it is logged once until it changes.
type notices struct {
	mu   sync.Mutex
	last map[string]string
}

func newNotices() *notices { return &notices{last: map[string]string{}} }

// changed reports whether text is news under this key.
func (n *notices) changed(key, text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, known := n.last[key]
	if (known && old == text) || (!known && len(n.last) >= maxNotices) {
		return false
	}
	n.last[key] = text
	return true
}

// forget drops all keys that begin so.
func (n *notices) forget(prefix string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key := range n.last {
		if strings.HasPrefix(key, prefix) {
			delete(n.last, key)
		}
	}
}

// noticeKey is the key for what callers from a host do; member is 0 unless it is a known one.
func noticeKey(host string, member raft.MemberID, kind transport.Rejection) string {
	return "caller " + host + " " + member.String() + " " + string(kind)
}

// outcries calls Handler.Unreachable on a goroutine of its own, because the failure may be found within
// Send, where the caller holds who knows what.
type outcries struct {
	wake chan struct{}
	mu   sync.Mutex
	who  map[raft.MemberID]bool
}

func newOutcries() *outcries {
	return &outcries{wake: make(chan struct{}, 1), who: map[raft.MemberID]bool{}}
}

// add has the handler told of a member.
func (o *outcries) add(id raft.MemberID) {
	o.mu.Lock()
	o.who[id] = true
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run tells the handler until the context ends.
func (o *outcries) run(ctx context.Context, h transport.Handler) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
		}
		o.mu.Lock()
		who := o.who
		o.who = map[raft.MemberID]bool{}
		o.mu.Unlock()
		for id := range who {
			h.Unreachable(id)
		}
	}
}
