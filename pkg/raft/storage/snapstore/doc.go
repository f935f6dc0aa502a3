// Package snapstore keeps a member's snapshots as files (Store) or in memory (Memory), and reads and writes such
// files anywhere (OpenFile, CreateFile, ReceiveFile, Inspect, Verify).
//
// # A file
//
// A header with the snapshot's description (raft.SnapshotMeta), the state machine's bytes in numbered blocks of
// 64 KiB, and an end that counts both and has a SHA-256 over all of it. Header, blocks and end have a CRC-32C each,
// so that damage is found where it is, and before a byte of it is used. One content has one encoding: members that
// took a snapshot at the same index have the same file if their state machines write the same bytes, and a copy may
// go on with what another member has. Both kinds of stores use these bytes. format.go has the layout.
//
// # What is promised
//
//   - A listed snapshot is whole and durable: it was written under another name, synced, renamed, and the directory
//     synced. A crash at any point leaves it as a whole or not at all.
//   - Read gives no byte of a block that was not verified, and io.EOF only when the whole was. A block that was
//     replaced by a sound one shows in the end alone: what is made of a snapshot counts after io.EOF and not before.
//   - A copy is verified while it comes, and only what is sound is kept. After a broken connection, a restart or a
//     crash it goes on behind its last sound block, once that has been verified again.
//   - Damage and versions that are not known are a FileError, which has the path and what to do. A store opens
//     nevertheless: what it can't use it does not list, tells by Damaged, and removes when a newer snapshot is there;
//     so with one that proves to be damaged only when it is read whole (SetAside).
//   - A snapshot is written in portions, each of which the disk has to have before the next but one begins, so that
//     the log's syncs beside it don't wait for all of it; and no snapshot goes into the reserve of free space that
//     the log needs (storage.ErrNoSpace).
//
// # What is asked of the caller
//
// One store has a directory to itself; the log's own lock sees to that where both have one parent. A writer or
// receiver has one caller at a time; readers' ReadAt may be called by many. Old snapshots are the caller's to Remove:
// never the one that the log's base needs.
package snapstore
