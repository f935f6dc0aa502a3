// Package outcry tells a handler of peers that cannot be reached, on a goroutine of its own: the failure
// may be found within Send, whose caller holds who knows what.
package outcry

import (
	"context"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
)

// Outcries collects members until they are told of; a member that is added twice in between is told of
// once. It is safe for concurrent use.
type Outcries struct {
	wake chan struct{}
	mu   sync.Mutex
	who  map[raft.MemberID]bool
}

// New makes an empty collection.
func New() *Outcries {
	return &Outcries{wake: make(chan struct{}, 1), who: map[raft.MemberID]bool{}}
}

// Add has a member told of.
func (o *Outcries) Add(id raft.MemberID) {
	o.mu.Lock()
	o.who[id] = true
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Run calls tell for each member that was added, until the context ends.
func (o *Outcries) Run(ctx context.Context, tell func(raft.MemberID)) {
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
			tell(id)
		}
	}
}
