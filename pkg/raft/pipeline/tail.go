package pipeline

import "github.com/coordd/coordd/internal/canary"

// Tail decides how much of a log stays behind a snapshot that is durable: a tail for whoever is a little late, and more,
// within a bound of its own, for those who are on their way: to need another snapshot would begin their trouble anew.
type Tail struct {
	Snapshot uint64 // index of the snapshot
	Commit   uint64 // the commit index
	// Trailing is the index behind which the tail begins that stays in any case; Reach the one behind which followers on
	// their way may be left entries.
	Trailing, Reach uint64
	// Needed is the lowest index behind which a follower on its way has yet to be sent entries; it counts if Waited.
	Needed uint64
	Waited bool
}

// CutAt is the index up to which the log may go. The last entry stays: the next leader's cluster time goes on from it.
func (t Tail) CutAt() uint64 {
	to := t.Trailing
	if t.Waited {
		to = min(to, max(t.Needed, t.Reach))
	}
	if canary.Broken(canary.TailBehindSnapshot) {
		return max(t.Commit, 1) - 1
	}
	return min(to, t.Snapshot, max(t.Commit, 1)-1)
}

// Behind is the index behind which the last entries up to an index lie, so many of them.
func Behind(index uint64, entries int) uint64 {
	return index - min(index, uint64(max(entries, 0)))
}
