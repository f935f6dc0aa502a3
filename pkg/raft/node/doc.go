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
//   - A disk that stalls stops no heartbeat. Past a bound the leader hands over, and the member does not stand
//     until a probe write succeeded in time.
//
// # What it asks of its caller
//
//   - Callbacks given to Submit, SubmitRead and Inspect must not block, and must not wait for this node. They
//     may call Submit and the other methods that do not wait.
//   - StateMachine.Apply is called by one goroutine, in log order, from the first entry that this process has
//     not applied; a process that starts again is given everything again.
//   - Log and Transport belong to the node once Start returned without an error; it closes both.
//
// # How it works
//
// Four goroutines, each the only owner of its state, joined by queues that are drained whole:
//
//	messages, proposals, reads, completions → loop → sends (at once)
//	                                           │ └→ appender → Log.Append → sends that had to wait
//	                                           ├──→ applier  → StateMachine.Apply → answers, reads, views
//	                                           └──→ fetcher  → Log.Entries
//
// The loop takes everything that has queued, feeds the core, takes one Output and carries it out; it never
// waits for a disk, a peer or a callback. What queues while one write runs is the appender's next write: one
// synced transaction, without a timer (group commit). The loop's queues have bounds (see [Limits]); the bounds
// behind it are the core's own (uncommitted bytes, bytes in flight, apply backlog).
//
// Sources: Ongaro's dissertation, sections 3.10 (leadership transfer), 6.4 (reads) and 10.2 (writing in
// parallel, batching, pipelining).
package node
