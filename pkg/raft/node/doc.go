// Package node runs one member of a cluster: it gives the pure core of package raft its clock, its random
// numbers, its disk, its network and its state machine.
//
// # What it promises
//
//   - Every proposal is answered exactly once. A success is answered on the applier goroutine right after
//     StateMachine.Apply of that entry. [NotLeaderError], raft.ErrBusy and [ErrStopped] mean certainly not
//     done; raft.ErrLeadershipLost means that the outcome is unknown.
//   - A read answered by [Node.SubmitRead] or [Node.ReadBarrier] is linearizable, on the leader and on a
//     follower (dissertation, section 6.4).
//   - Nothing that depends on a durable write leaves before that write is durable, and what may leave earlier
//     does: a leader replicates beside its own disk write (dissertation, section 10.2.1).
//   - A failure in the background (storage, state machine) stops the node with its cause. It never goes on
//     half-alive, and a failed write is never tried again.
//     A want of room is no failure: what needs room waits for it, or is tried again later.
//   - A disk that stalls stops no heartbeat. Past a bound the leader hands over, and the member does not stand
//     until a probe write succeeded in time.
//   - The log stays bounded where the state machine has snapshots: it is cut behind each, but for a tail for slow
//     followers ([Limits]). A member that needs what is gone is given the newest snapshot, in chunks that a broken
//     connection does not begin anew, and stays a follower that is only late.
//   - A member starts from the newest whole snapshot that its log goes on from. A damaged one gives way to an older
//     one, if the log reaches that, and stays until a newer one is there; never does a member start from a state that its log does not continue.
//
// # What it asks of its caller
//
//   - Callbacks given to Submit, SubmitRead and Inspect must not block, and must not wait for this node. They
//     may call Submit and the other methods that do not wait.
//   - StateMachine.Apply is called by one goroutine at a time, in log order. A process that starts again is given the
//     newest snapshot (Snapshotter.Restore) and what follows it, or everything; a [Durable] machine what follows its
//     own state.
//   - Snapshotter.Snapshot returns at once, whatever the size of the state: a copy on write, or another immutable view.
//   - Log, Snapshots and Transport belong to the node once Start returned without an error; it closes them.
//   - A clock of each member's that differs from the others' by less than the drift bound, for reads with [Lease].
//
// # How it works
//
// Goroutines, each the only owner of its state, joined by queues that are drained whole:
//
//	messages, proposals, reads, completions → loop → sends (at once)
//	                                           │ └→ appender → Log.Append → sends that had to wait
//	                                           ├──→ applier  → StateMachine.Apply → answers, reads
//	                                           │       └→ snapshotter: view → file → Log.Compact
//	                                           ├──→ fetcher  → Log.Entries
//	                                           └──→ outgoing: file → chunks → incoming of a follower → its loop
//
// The loop takes everything that has queued, feeds the core, takes one Output and carries it out; it never
// waits for a disk, a peer or a callback. What queues while one write runs is the appender's next write: one
// synced transaction, without a timer (group commit). The loop's queues have bounds (see [Limits]); the bounds
// behind it are the core's own (uncommitted bytes, bytes in flight, apply backlog).
//
// # Snapshots
//
// The applier takes a view between two entries when the [CompactionPolicy] says so, or an operator. The snapshotter
// saves it ([CompactionMode] says what waits meanwhile), tells the core, cuts the log, and removes the snapshots that
// are of no use: the newest stays, and the one before it while the log reaches it. A core that wants a follower to be
// given a snapshot says so by a message that the loop takes out (outgoing.go): the newest file goes there as requests of
// the Messenger, beside the heartbeats, at a bounded rate. The receiver answers each chunk with where it goes on, and hands
// the core the message when the file is whole and durable (incoming.go). If the core wants it, the log begins anew
// behind it, and the applier then restores the machine.
//
// # Membership
//
// A change is made by the leader, on the loop, one at a time (change.go). A node that joins, and one whose address, version
// or metadata differ from its record, announces itself until the configuration says so (announce.go); what only the leader
// can do with a member, the member asks of it (order.go). With a [FailureDetectorFactory] the leader removes members
// that have failed (watchdog.go): once a heartbeat it judges those whose answers it heard, but nobody for 100
// heartbeats after it was elected or after its own loop came a heartbeat too late.
//
// # How to read it
//
// node.go has the parts and their start, stop.go their end, loop.go one turn. read.go, membership.go, order.go, messages.go and
// snapshotter.go have the public verbs; publish.go, status.go and events.go what is told; restore.go is the start from
// what a directory holds; cut.go and compaction.go decide what goes.
//
// Sources: Ongaro's dissertation, sections 3.10 (leadership transfer), 4.1 and 4.2 (membership), 5.1 (snapshots), 6.4
// (reads) and 10.2 (writing in parallel, batching, pipelining); package failure for φ.
package node
