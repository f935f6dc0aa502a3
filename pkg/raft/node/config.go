package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/transport"
)

// StateMachine is what the cluster replicates.
type StateMachine interface {
	// Apply executes one committed entry, of any kind (no-ops and configurations too), on the applier
	// goroutine and in log order. The result goes to the proposal that the entry came from, where that is
	// still waiting here. An error stops the node with that cause.
	Apply(e raft.Entry) (result any, err error)
}

// Limits are the bounds of a node's queues; a zero field takes its default.
type Limits struct {
	Proposals     int // proposals that the loop has not taken yet (65,536)
	ProposalBytes int // their bytes (16 MiB)
	Reads         int // reads that are not answered yet (65,536)
	Inspects      int // functions of Inspect that have not run yet (4,096)

	Messages     int // received messages that the loop has not taken yet, control and bulk each (4,096)
	MessageBytes int // bytes of entries in the bulk ones (16 MiB)

	AppendBytes int // bytes of entries at which the appender stops joining batches into one write (1 MiB)
	TailBytes   int // bytes of the log's end that are loaded at start (4 MiB)

	// The core's own bounds; see raft.Config.
	MaxInflightBytes    int
	MaxMessageBytes     int
	MaxUncommittedBytes int
	MaxApplyBytes       int
	MaxTailBytes        int
}

// Config says what a node is and what it runs on. ID, Log and StateMachine are required.
type Config struct {
	ID   raft.MemberID
	Name string
	// Members are the static members of a first start; a log with a configuration of its own ignores them.
	Members []raft.Member
	Standby bool

	Log          storage.Log
	Transport    transport.Transport // nil: a member without peers
	StateMachine StateMachine

	ElectionTimeoutMin time.Duration // default 150 ms
	ElectionTimeoutMax time.Duration // default 2 × min
	HeartbeatThreshold float64       // heartbeat period = min × threshold; default 0.5
	CheckQuorum        bool          // a leader without its majority for one election timeout steps down
	DriftBound         float64       // of the rates of any two clocks; default 1.1

	// ClusterHash is a hash of the cluster's name and sorted static members, for the handshake.
	ClusterHash [16]byte
	// NameHash is transport.NameHash of the cluster's name, for the handshake; zero: not told.
	NameHash [16]byte

	Logger   hclog.Logger // nil: none
	Observer Observer     // nil: none

	// AppendStallLimit is the age of an unfinished append at which the disk counts as stalled; default
	// 4 × ElectionTimeoutMax.
	AppendStallLimit time.Duration
	Limits           Limits
}

func orDefault[T int | float64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// withDefaults fills what is zero and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	switch {
	case c.ID == 0:
		return c, errors.New("node: member ID 0 means nobody")
	case c.Log == nil:
		return c, errors.New("node: no log")
	case c.StateMachine == nil:
		return c, errors.New("node: no state machine")
	}
	orDefault(&c.ElectionTimeoutMin, 150*time.Millisecond)
	orDefault(&c.ElectionTimeoutMax, 2*c.ElectionTimeoutMin)
	orDefault(&c.HeartbeatThreshold, 0.5)
	orDefault(&c.DriftBound, 1.1)
	orDefault(&c.AppendStallLimit, 4*c.ElectionTimeoutMax)
	switch {
	case c.ElectionTimeoutMin < 0 || c.ElectionTimeoutMax < c.ElectionTimeoutMin:
		return c, fmt.Errorf("node: election timeouts %v to %v are no window", c.ElectionTimeoutMin, c.ElectionTimeoutMax)
	case c.HeartbeatThreshold < 0 || c.HeartbeatThreshold >= 1:
		return c, fmt.Errorf("node: heartbeat threshold %v is not between 0 and 1", c.HeartbeatThreshold)
	case c.DriftBound < 1:
		return c, fmt.Errorf("node: drift bound %v is below 1", c.DriftBound)
	case c.AppendStallLimit < 0:
		return c, fmt.Errorf("node: append stall limit %v is negative", c.AppendStallLimit)
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Observer == nil {
		c.Observer = NoObserver{}
	}
	l := &c.Limits
	orDefault(&l.Proposals, 65536)
	orDefault(&l.ProposalBytes, 16<<20)
	orDefault(&l.Reads, 65536)
	orDefault(&l.Inspects, 4096)
	orDefault(&l.Messages, 4096)
	orDefault(&l.MessageBytes, 16<<20)
	orDefault(&l.AppendBytes, 1<<20)
	orDefault(&l.TailBytes, 4<<20)
	orDefault(&l.MaxInflightBytes, 1<<20)
	orDefault(&l.MaxMessageBytes, 256<<10)
	orDefault(&l.MaxUncommittedBytes, 16<<20)
	orDefault(&l.MaxApplyBytes, 16<<20)
	orDefault(&l.MaxTailBytes, raft.DefaultMaxTailBytes)
	return c, nil
}
