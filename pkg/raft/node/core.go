package node

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"

	"github.com/coordd/coordd/pkg/raft"
)

// newCore makes the core from what was found in the log and where the state machine stands.
func newCore(n *Node, from *restored) (*raft.Core, error) {
	cfg, lim := &n.cfg, &n.cfg.Limits
	tail, err := loadTail(cfg.Log, n.found.First, n.found.Last, lim.TailBytes)
	if err != nil {
		return nil, err
	}
	var cluster raft.ClusterID
	if _, err := rand.Read(cluster[:]); err != nil {
		return nil, fmt.Errorf("drawing a cluster ID: %w", err)
	}
	found := raft.Restored{
		HardState: n.found.HardState, Base: n.found.Base, First: n.found.First, Last: n.found.Last, LastTerm: n.found.LastTerm,
		Runs: n.found.Runs, Tail: tail, Config: n.found.Config, ConfigPrev: n.found.ConfigPrev, Recovering: n.found.Recovering,
		Applied: from.at.Index,
	}
	if from.snapshot != nil {
		found.Snapshot = &from.snapshot.Meta
	}
	core, err := raft.New(raft.Config{
		ID: cfg.ID, Members: cfg.Members, Standby: cfg.Standby,
		ElectionTimeoutMin: cfg.ElectionTimeoutMin, ElectionTimeoutMax: cfg.ElectionTimeoutMax,
		HeartbeatThreshold: cfg.HeartbeatThreshold, CheckQuorum: cfg.CheckQuorum, DriftBound: cfg.DriftBound,
		WarmupRounds:     cfg.WarmupRounds,
		MaxInflightBytes: lim.MaxInflightBytes, MaxMessageBytes: lim.MaxMessageBytes,
		MaxUncommittedBytes: lim.MaxUncommittedBytes, MaxApplyBytes: lim.MaxApplyBytes, MaxTailBytes: lim.MaxTailBytes,
		Rand: mathrand.Uint64N, NewClusterID: cluster, Incarnation: n.found.Incarnation,
	}, found, n.clock.now())
	if err != nil {
		return nil, fmt.Errorf("restoring the core: %w", err)
	}
	return core, nil
}
