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
//   - Refused with a RefusedError that says what to do: a directory of another member or cluster, a log without
//     its sidecar, an empty log beside a sidecar with a mark, a sidecar without a readable slot, a log and a
//     sidecar that were not made together, damage that Badger reports.
//
// # What it asks of its caller
//
// After an error of Append that is not one of storage.ErrTooLarge, ErrBadBatch and ErrNoSpace, or after a call
// of Options.Fatal, end the process: a failed sync is never tried again (Rebello et al., "Can Applications
// Recover from fsync Failures?", 2020), and Badger shows data whose sync failed. ErrNoSpace comes before the
// disk is full; past it Badger's mapped files would be a SIGBUS. With the options here an idle log needs some
// 20 MiB, and a busy one up to about 60 MiB more.
//
// # Sources
//
// The options and the pattern follow from power cuts and flipped bytes on Badger v4.9; earlier versions bring
// deleted keys back (dgraph-io/badger #2143, #2278, #2310). The protocol-aware handling of damaged logs is after Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (2018); slots
// written in turn are what file systems do with superblocks; the ballast is CockroachDB's idea.
package badgerlog
