package tcp

import (
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
