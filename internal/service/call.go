package service

import (
	"time"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// call is one request on its way through the service. One goroutine at a time has it: the handler, then the
// proposer, the applier's callback, and the answerer.
type call struct {
	verb     *verb
	ns, name string
	inbox    string // where the answer goes; empty: nowhere
	trace    string // traceparent; empty: none
	asJSON   bool
	beat     bool // a keepalive, or a batch of nothing else: it goes before other work
	arrived  time.Time

	cmds  []machine.Command // in the order of the request
	one   [1]machine.Command
	bytes int // what cmds take in an entry, estimated

	secret  []byte        // session.open: made here, to be returned
	request proto.Message // of a read
	batch   *batch        // nil: a single command or read

	// What apply, or the read, made of it.
	replies []machine.Reply
	index   uint64        // of the entry, or of the read
	answer  proto.Message // of a read
	failed  *coorddv1.Error
	view    *machine.View // for big reads, and for reads in a batch
	now     int64         // cluster time of the view
	age     time.Duration // stale reads: since the leader was last heard
}

// batch is what a batch adds to a call.
type batch struct {
	items []item
}

// item is one command of a batch. Exactly one of refused, read and a command (at cmd in call.cmds) is there.
type item struct {
	verb    *verb
	name    string
	refused *coorddv1.Error
	read    proto.Message
	cmd     int
}

func (b *batch) reads() bool {
	for i := range b.items {
		if b.items[i].read != nil {
			return true
		}
	}
	return false
}

// Commands is how many commands of an entry the call takes.
func (c *call) Commands() int { return len(c.cmds) }

// Bytes estimates what they take.
func (c *call) Bytes() int { return c.bytes }
