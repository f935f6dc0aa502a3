// Package storage is what a member's durable state looks like from the runtime's side: the Log and Snapshots
// interfaces, the rules that every log keeps, the chain that ties entries together, and an in-memory log.
//
// # What a log promises
//
//   - Append is all or nothing. When it returns nil, the hard state and the entries survive a loss of power
//     (as far as the kind of log survives anything; see NewMemory). Term, vote and entries are one durable
//     record (raft.md, rule 1).
//   - What Entries returns was durable once, in one piece: a read that runs beside a truncation sees the log
//     before it or after it, never a mixture.
//   - An entry at or below the stored commit index is never overwritten. It leaves the log by Compact or by a Base
//     alone, both of which put a snapshot in its place.
//   - The log begins behind its base, a position with its hash, so that the chain goes on: equal logs have equal
//     positions, whether their front is still there, was compacted, or came as a snapshot.
//   - State is what was found at open and stays the same for the life of the Log.
//
// # What a log asks of its caller
//
//   - Append is called by one goroutine, and batches follow each other: Entries begin behind TruncateAfter,
//     which is at most the last index, and are contiguous, with terms that never go back.
//   - The snapshot that a Base or Compact relies on is durable before the call, and one that reaches the base is kept.
//   - An entry's Data is not changed after it was handed over, nor is the Data of an entry that was read.
//   - An error of Append is final, with two exceptions that are checked before anything is touched:
//     ErrTooLarge and ErrBadBatch say that the caller broke a rule, ErrNoSpace that there is no room. After
//     those the log is as it was, and a caller that can go on without that batch may.
//
// The commit index is an optimization at restart and nothing else depends on it, so a batch that changes
// nothing but Commit may be remembered and stored with the next one (Raft stores no commit index at all:
// Ongaro's dissertation, figure 3.1, "volatile state").
//
// A snapshot's file is made, read and received by package snapstore; its description has the position that
// Log.Position gave for its last entry.
//
// The contract suite is storagetest; each log and each store of snapshots passes it. The suite and the idea of one suite for any store
// come from openraft.
package storage
