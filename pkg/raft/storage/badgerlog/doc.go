// Package badgerlog is a member's log on disk: entries and hard state in Badger v4, and beside it a small file,
// the sidecar, that remembers what was once acknowledged.
//
// # The directory
//
//	LOCK      flock of the process that has the directory open, with its process ID inside
//	sidecar   two slots of 4 KiB, written in turn
//	ballast   allocated and never read: space to give back on a full disk
//	badger/   Badger's own files; nothing else belongs there
//
// A directory is made once, with an incarnation of its own, and belongs to one member of one cluster for ever.
//
// # What is written, and when
//
// A batch is one Badger transaction, synced: its entries under their index, and one record with the hard state
// and the bounds of the log. Truncation is logical: the record's last index is the truth, keys above it are
// garbage that later entries overwrite and the next Open removes. An entry's value is the link that ties it to
// the entry before it (storage.AppendLink) and a CRC-32C. A batch above Badger's transaction limit is cut into
// parts, each complete in itself and the hard state in the first, so that a crash between two leaves a shorter
// log and never a wrong one.
//
// Beside the transaction goes one slot of the sidecar, with the term, vote and promise of this batch and the
// mark (last term, last index, hash) of the batch before it. Both writes run at once and Append waits for both.
// The mark lags on purpose: a mark of batch k beside batch k would make a member that crashed between the two
// writes believe that it lost acknowledged entries, and after a power cut of all members nobody could campaign.
// The mark of k follows with the next batch, after 5 ms without one, and at Close. A batch that truncates
// carries the smaller of the two marks; where that is less than what the sidecar already says, the slot is made
// durable before the transaction begins.
//
// A batch with a Base, a snapshot in the place of the log, is the same transaction: the record then has another base
// and another first index, and every key outside of its bounds is garbage at once, on both sides. Its marks follow
// the same rules; an install that leaves the log behind its mark makes the slot durable first. Compact stores
// the record alone, with a base further on; the sidecar has nothing to say of that. The record keeps the cluster ID
// as of the base, because the configuration that says it may be gone.
//
// What lies in front of the base is removed by a goroutine of the log, the sweeper, a few hundred keys at a time, so
// that a batch waits for one such transaction at most; and when the log has come to rest, Badger is told to merge
// its tables (docs/decisions/0003). Nothing depends on how far it came.
//
// A batch that changes nothing but the commit index is remembered and stored with the next one or at Close.
//
// # What Open decides
//
// Badger does not tell a torn tail from damage: one flipped byte in its write-ahead log drops everything behind
// it without an error. So Open reads the whole log and checks bounds, checksums and chain, and compares the
// result with the sidecar:
//
//   - Term and vote: the higher term of the two; a vote beats none; two votes in one term: refused.
//   - A log that ends before the mark, or whose entry at the mark's position has another hash, or with a hole or
//     a broken chain, is cut to what is sound and the member is recovering until it has the mark again
//     (State.Recovering). The mark is kept through restarts.
//   - The base is the record's word, and so are the bounds: keys in front of the first entry and behind the last are
//     no entries. The log begins with an entry that continues the base's hash; where it does not, or where that entry
//     is gone, the log is cut down to its base, the member is recovering, and the snapshot has what was before.
//   - A base at the mark's position with another hash can't be cut: refused (ErrDiverged). A base beyond the mark, or
//     at it, is as good as the entries would be.
//   - Refused with a RefusedError that says what to do: a directory of another member or cluster, a log without
//     its sidecar, an empty log beside a sidecar with a mark, a sidecar without a readable slot, a log and a
//     sidecar that were not made together, damage that Badger reports.
//
// # What it asks of its caller
//
// After an error of Append that is not one of storage.ErrTooLarge, ErrBadBatch and ErrNoSpace, or after a call
// of Options.Fatal, end the process: a failed sync is never tried again (Rebello et al., "Can Applications
// Recover from fsync Failures?", 2020), and Badger shows data whose sync failed. ErrNoSpace comes before the
// disk is full; past it Badger's mapped files would be a SIGBUS. Compact may go into half of that reserve.
// A log with a base is of use only beside a snapshot that reaches it: keep one whose index is at least State.Base.Last,
// and make an install's snapshot durable before its batch. A snapshot whose chain hash is not what this log has, or
// once had, at that position is refused by Append for good (ErrDiverged): one of the two is not what the cluster has. With the options here an idle log needs some
// 20 MiB, and a busy one up to about 60 MiB more.
//
// # Sources
//
// The options and the pattern follow from power cuts and flipped bytes on Badger v4.9; earlier versions bring
// deleted keys back (dgraph-io/badger #2143, #2278, #2310). The protocol-aware handling of damaged logs is after
// Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018); slots written in turn are what file
// systems do with superblocks; the ballast is CockroachDB's idea.
package badgerlog
