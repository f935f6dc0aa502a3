package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
	"github.com/coordd/coordd/pkg/transport"
)

// Config says what a node is and what it runs on. ID, Log and StateMachine are required.
type Config struct {
	ID   raft.MemberID
	Name string
	// Members are the static members of a first start; a log with a configuration of its own ignores them.
	Members []raft.Member
	// Standby keeps this member from standing in elections. It is said to the leader, which records it; from then on the
	// record decides, until the next start.
	Standby bool
	// Join are addresses at which members of a running cluster may be found: a node with an empty log and no static
	// members announces itself there until the cluster has taken it in. A log that is not empty ignores it.
	Join []string
	// Address is where the other members reach this one, Version the newest version of commands that it understands,
	// Metadata whatever it says of itself. What the cluster's configuration records of this member is changed where
	// it says otherwise; an empty address, version 0 and nil metadata say nothing.
	Address  string
	Version  uint32
	Metadata map[string]string

	Log          storage.Log
	Snapshots    storage.Snapshots   // nil: in memory beside a storage.Memory; beside a log on a disk none are taken
	Transport    transport.Transport // nil: a member without peers
	StateMachine StateMachine

	ElectionTimeoutMin time.Duration // default 150 ms
	ElectionTimeoutMax time.Duration // default 2 × min
	HeartbeatThreshold float64       // heartbeat period = min × threshold; default 0.5
	CheckQuorum        bool          // a leader without its majority for one election timeout steps down
	DriftBound         float64       // of the rates of any two clocks; default 1.1
	WarmupRounds       int           // of catching up that a new member is given before it stays a learner; default 10

	// ClusterHash is a hash of the cluster's name and sorted static members, NameHash one of its name alone
	// (transport.NameHash), for the handshake.
	ClusterHash [16]byte
	NameHash    [16]byte

	Compaction       CompactionMode
	CompactionPolicy CompactionPolicy // nil: LogSize with its defaults

	// FailureDetector makes a detector for each other member on a leader, which then removes members that it finds
	// to have failed; nil: nobody is removed. See package failure.
	FailureDetector FailureDetectorFactory

	// OnStart is called before the node hears or says anything: a subscription to Events made in it sees every event.
	// It may change the metadata of this member. OnStop is called when the node has ended all it did, before
	// subscriptions are closed.
	OnStart func(n *Node, metadata map[string]string)
	OnStop  func(n *Node)
	// OnVersion is told of the version of commands that may be proposed, at each change, on the node's loop: it must
	// not block.
	OnVersion func(version uint32)
	// OnRequest answers what another member sent with Request; nil: such requests are refused. OnNotify takes what it
	// sent with Notify. They are called on goroutines of their own and may block, until their context or the node ends.
	OnRequest func(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error)
	OnNotify  func(from raft.MemberID, body []byte)

	Logger   hclog.Logger // nil: none
	Observer Observer     // nil: none

	// AppendStallLimit is the age of an unfinished append at which the disk counts as stalled; default
	// 4 × ElectionTimeoutMax.
	AppendStallLimit time.Duration
	Limits           Limits
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
	orDefault(&c.WarmupRounds, raft.DefaultWarmupRounds)
	switch {
	case len(c.Members) > 0 && len(c.Join) > 0:
		return c, errors.New("node: static members and addresses to join exclude each other")
	case c.WarmupRounds < 0:
		return c, fmt.Errorf("node: %d warm-up rounds", c.WarmupRounds)
	case c.Compaction > CompactionSequential:
		return c, fmt.Errorf("node: %v is no mode of compaction", c.Compaction)
	case c.ElectionTimeoutMin < 0 || c.ElectionTimeoutMax <= c.ElectionTimeoutMin:
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
	if _, ok := c.Log.(*storage.Memory); ok && c.Snapshots == nil {
		c.Snapshots = snapstore.NewMemory()
	}
	if c.CompactionPolicy == nil {
		c.CompactionPolicy = LogSize{Bytes: 64 << 20, Entries: 500_000}
	}
	c.Limits.withDefaults()
	return c, nil
}
