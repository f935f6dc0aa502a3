package node

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

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

	// SnapshotBytesPerSecond is how fast snapshots leave for other members, all together (64 MiB).
	SnapshotBytesPerSecond int
	// TrailingEntries and TrailingBytes bound the tail of the log that stays behind a snapshot for followers that
	// are a little late: whichever is shorter (10,000 and 16 MiB); negative: none stays.
	TrailingEntries, TrailingBytes int
	// CatchUpEntries and CatchUpBytes bound what stays for followers that are being sent a snapshot or are catching
	// up, so that they need no other one (1,000,000 and 256 MiB); negative: nothing more than the tail.
	CatchUpEntries, CatchUpBytes int

	// The core's own bounds; see raft.Config.
	MaxInflightBytes    int
	MaxMessageBytes     int
	MaxUncommittedBytes int
	MaxApplyBytes       int
	MaxTailBytes        int
}

func orDefault[T int | float64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

func (l *Limits) withDefaults() {
	for _, bound := range []struct {
		value *int
		def   int
	}{
		{&l.Proposals, 65536}, {&l.ProposalBytes, 16 << 20}, {&l.Reads, 65536}, {&l.Inspects, 4096},
		{&l.Messages, 4096}, {&l.MessageBytes, 16 << 20}, {&l.AppendBytes, 1 << 20}, {&l.TailBytes, 4 << 20},
		{&l.SnapshotBytesPerSecond, 64 << 20}, {&l.TrailingEntries, 10_000}, {&l.TrailingBytes, 16 << 20},
		{&l.CatchUpEntries, 1_000_000}, {&l.CatchUpBytes, 256 << 20},
		{&l.MaxInflightBytes, raft.DefaultMaxInflightBytes}, {&l.MaxMessageBytes, raft.DefaultMaxMessageBytes},
		{&l.MaxUncommittedBytes, raft.DefaultMaxUncommittedBytes}, {&l.MaxApplyBytes, raft.DefaultMaxApplyBytes},
		{&l.MaxTailBytes, raft.DefaultMaxTailBytes},
	} {
		orDefault(bound.value, bound.def)
	}
}
