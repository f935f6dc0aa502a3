package node

import (
	"fmt"
	"sort"
	"sync"
)

// CompactionMode says what waits while a snapshot is saved. In each mode the view of the state is taken between two
// entries, and the log is cut only when the snapshot is durable.
type CompactionMode uint8

const (
	// CompactionBackground lets a goroutine of its own save the view and cut the log, in small steps. Nothing waits;
	// what is applied meanwhile costs the memory of what the view and the state no longer share.
	CompactionBackground CompactionMode = iota
	// CompactionForeground saves beside the application of the entries that were handed to the applier already;
	// before it takes more, the applier waits for the snapshot. The log so never runs away from a slow disk.
	CompactionForeground
	// CompactionSequential applies nothing before the snapshot is durable and the log is cut: the view shares all
	// of its memory with the state, and applies stall for as long as the save takes.
	CompactionSequential
)

var compactionNames = [...]string{"background", "foreground", "sequential"}

// String returns the name of the mode.
func (m CompactionMode) String() string {
	if int(m) < len(compactionNames) {
		return compactionNames[m]
	}
	return fmt.Sprintf("compaction(%d)", uint8(m))
}

// LogStats is what a [CompactionPolicy] decides by.
type LogStats struct {
	// Entries is how many entries were applied since the newest snapshot.
	Entries uint64
	// Bytes is their size as raft.Entry.Size counts it. After a restart it counts from what was replayed on.
	Bytes int64
	// SnapshotBytes is the size of the newest snapshot's file; 0: there is none.
	SnapshotBytes int64
}

// CompactionPolicy decides when a snapshot is taken. Due is called on the applier goroutine after each batch of
// entries, unless a snapshot is being saved, and must be quick.
type CompactionPolicy interface {
	Due(LogStats) bool
}

// LogSize is the policy that a node has by default: a snapshot is due when the log has grown by so many bytes, or
// by so many entries, since the last one. It waits until the log has grown by the size of that snapshot too, so that
// a large state is written at most about as often as its changes are.
type LogSize struct {
	Bytes   int64  // 64 MiB
	Entries uint64 // 500,000
}

// Due implements CompactionPolicy.
func (p LogSize) Due(s LogStats) bool {
	return (s.Bytes >= p.Bytes || s.Entries >= p.Entries) && s.Bytes >= s.SnapshotBytes
}

// logSizes remembers roughly how many bytes of entries lie between two indexes, for the applier, which notes what it
// applies, and the snapshotter, which decides what of it stays.
type logSizes struct {
	mu      sync.Mutex
	index   uint64 // of the last noted entry
	bytes   int64  // applied since start, or since the last restart
	samples []sizeSample
}

// sizeSample says how many bytes were noted up to an index.
type sizeSample struct {
	index uint64
	bytes int64
}

// sampleBytes is how far apart samples lie: the error of what is told.
const sampleBytes = 64 << 10

// restart begins anew behind an index: nothing is known of what lies before.
func (s *logSizes) restart(index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index, s.bytes = index, 0
	s.samples = append(s.samples[:0], sizeSample{index: index})
}

// note counts entries up to an index.
func (s *logSizes) note(index uint64, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = index
	s.bytes += int64(bytes)
	if n := len(s.samples); n == 0 || s.bytes-s.samples[n-1].bytes >= sampleBytes {
		s.samples = append(s.samples, sizeSample{index, s.bytes})
	}
}

// behind returns how many bytes were noted behind an index.
func (s *logSizes) behind(index uint64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes - s.upTo(index)
}

// upTo is how many bytes were noted up to an index, a sample's length less at most.
func (s *logSizes) upTo(index uint64) int64 {
	i := sort.Search(len(s.samples), func(i int) bool { return s.samples[i].index > index })
	if i == 0 {
		return 0
	}
	return s.samples[i-1].bytes
}

// within returns the lowest index behind which there are no more than so many bytes up to an index.
func (s *logSizes) within(upTo uint64, bytes int64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	least := s.upTo(upTo) - bytes
	i := sort.Search(len(s.samples), func(i int) bool { return s.samples[i].bytes >= least })
	if i == len(s.samples) {
		return upTo
	}
	return min(s.samples[i].index, upTo)
}

// forget drops the samples that lie below an index, but for the last of them.
func (s *logSizes) forget(index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n+1 < len(s.samples) && s.samples[n+1].index <= index {
		n++
	}
	s.samples = s.samples[:copy(s.samples, s.samples[n:])]
}
