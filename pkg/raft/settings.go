package raft

import (
	"fmt"
	"slices"
	"time"
)

// Config is what a core is told about itself. Zero values take the defaults that are named.
type Config struct {
	ID MemberID
	// Members are the static members of a first start. Once the log holds a configuration this list is
	// ignored. nil on a blank node: it waits for a leader's configuration.
	Members []Member
	// ElectionTimeoutMin and Max bound the random election timeout: 150 ms and 300 ms. Min is also the
	// sticky window that this member promises to each leader that it hears.
	ElectionTimeoutMin, ElectionTimeoutMax time.Duration
	// HeartbeatThreshold times ElectionTimeoutMin is the period of heartbeats: 0.5.
	HeartbeatThreshold float64
	// CheckQuorum makes a leader step down that has not heard from a majority for ElectionTimeoutMax.
	CheckQuorum bool
	// Standby keeps this member from campaigning, whatever the configuration says.
	Standby bool
	// WarmupRounds is how many rounds of catching up a leader gives a learner that is to be promoted: 10.
	WarmupRounds int
	// DriftBound is the largest ratio of the speeds of two members' clocks that a lease allows for: 1.1.
	DriftBound float64

	MaxInflightBytes    int // sent and not acknowledged, per peer: 1 MiB
	MaxMessageBytes     int // entries of one append message, and the largest entry: 256 KiB
	MaxUncommittedBytes int // appended by this leader and not committed: 16 MiB; beyond it ErrBusy
	MaxApplyBytes       int // handed out to be applied and not yet ApplyDone: 16 MiB; beyond it ErrBusy
	MaxTailBytes        int // entries kept in memory: 16 MiB; uncommitted and unapplied ones always stay

	// Rand returns a uniform number in [0, n). It is the core's only source of randomness.
	Rand func(n uint64) uint64
	// NewClusterID is written into the first configuration if this core becomes the first leader.
	NewClusterID ClusterID
	// Incarnation is that of this member's data directory.
	Incarnation Incarnation
}

// Restored is what storage found when it was opened.
type Restored struct {
	HardState HardState
	// Snapshot is the newest snapshot that the log goes on behind, or reaches; nil: none. The state machine
	// has, or is about to be given, what it holds.
	Snapshot *SnapshotMeta
	// Base is the position before the log's first entry: zero, or that up to which entries were removed
	// because a snapshot has them. Base.Last ≤ Snapshot.Index ≤ Last.
	Base Mark
	// First, Last and LastTerm describe the log; Last is Base.Last for an empty one.
	First, Last, LastTerm uint64
	// Runs lists the terms of all entries from First to Last.
	Runs []TermRun
	// Tail is the end of the log, as many entries as the caller likes to load, contiguous up to Last. At
	// least the last entry is needed, where there is one, because cluster time continues from it.
	Tail []Entry
	// Config is the last EntryConfig of the log, ConfigPrev the one before it; nil: none.
	Config, ConfigPrev *Entry
	// Recovering is the mark that the log must reach before this member may trust itself.
	Recovering *Mark
	// Applied is the last index that the state machine already holds; at least that of Snapshot.
	Applied uint64
}

// The defaults of Config.
const (
	DefaultElectionTimeoutMin  = 150 * time.Millisecond
	DefaultElectionTimeoutMax  = 300 * time.Millisecond
	DefaultHeartbeatThreshold  = 0.5
	DefaultDriftBound          = 1.1
	DefaultWarmupRounds        = 10
	DefaultMaxInflightBytes    = 1 << 20
	DefaultMaxMessageBytes     = 256 << 10
	DefaultMaxUncommittedBytes = 16 << 20
	DefaultMaxApplyBytes       = 16 << 20
	DefaultMaxTailBytes        = 16 << 20
)

// withDefaults fills what is zero and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if c.ElectionTimeoutMin == 0 {
		c.ElectionTimeoutMin = DefaultElectionTimeoutMin
	}
	if c.ElectionTimeoutMax == 0 {
		c.ElectionTimeoutMax = max(DefaultElectionTimeoutMax, 2*c.ElectionTimeoutMin)
	}
	if c.HeartbeatThreshold == 0 {
		c.HeartbeatThreshold = DefaultHeartbeatThreshold
	}
	if c.DriftBound == 0 {
		c.DriftBound = DefaultDriftBound
	}
	if c.WarmupRounds == 0 {
		c.WarmupRounds = DefaultWarmupRounds
	}
	for _, bound := range []struct {
		value *int
		def   int
	}{
		{&c.MaxInflightBytes, DefaultMaxInflightBytes}, {&c.MaxMessageBytes, DefaultMaxMessageBytes},
		{&c.MaxUncommittedBytes, DefaultMaxUncommittedBytes}, {&c.MaxApplyBytes, DefaultMaxApplyBytes},
		{&c.MaxTailBytes, DefaultMaxTailBytes},
	} {
		if *bound.value < 0 {
			return c, fmt.Errorf("raft: checking settings: negative bound %d", *bound.value)
		}
		if *bound.value == 0 {
			*bound.value = bound.def
		}
	}
	switch {
	case c.ID == 0:
		return c, fmt.Errorf("raft: checking settings: no member ID")
	case c.Rand == nil:
		return c, fmt.Errorf("raft: checking settings: no random source")
	case c.ElectionTimeoutMin < 0 || c.ElectionTimeoutMax <= c.ElectionTimeoutMin:
		return c, fmt.Errorf("raft: checking settings: election timeouts %v to %v are not a range", c.ElectionTimeoutMin, c.ElectionTimeoutMax)
	case c.HeartbeatThreshold < 0 || c.HeartbeatThreshold >= 1:
		return c, fmt.Errorf("raft: checking settings: heartbeat threshold %v is not between 0 and 1", c.HeartbeatThreshold)
	case c.WarmupRounds < 0:
		return c, fmt.Errorf("raft: checking settings: %d warm-up rounds", c.WarmupRounds)
	case c.DriftBound < 1:
		return c, fmt.Errorf("raft: checking settings: drift bound %v is below 1", c.DriftBound)
	}
	if len(c.Members) > 0 {
		c.Members = slices.Clone(c.Members)
		slices.SortFunc(c.Members, byID)
		if err := (Configuration{Members: c.Members}).valid(); err != nil {
			return c, fmt.Errorf("raft: checking settings: %w", err)
		}
	}
	return c, nil
}

// heartbeatPeriod is the time between two rounds of heartbeats.
func (c *Config) heartbeatPeriod() time.Duration {
	return max(time.Duration(float64(c.ElectionTimeoutMin)*c.HeartbeatThreshold), 1)
}
