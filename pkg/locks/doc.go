// Package locks is the lock table: which lock is held by whom, under which fence, and who waits for it in
// which order. It is a pure, deterministic state machine: no clock, no sessions of its own, no I/O.
//
// # What it promises
//
// A lock is free, or held by a set of holds: one exclusive one, any number of shared ones, or as many permits as the
// limit of a semaphore has room for. The limit is stored with the semaphore as long as somebody holds or waits. Each
// hold is live or delayed until an instant; a delayed one belongs to nobody any more and still blocks grants, until its
// caller removes it. A hold can be entered again by its own holder, under the same fence.
//
// One first-in-first-out queue of tickets (session, seq) waits for each lock: a waiting writer stops later readers, and
// a waiter for many permits those for few. A ticket of several locks has a place in each of their queues, holds nothing
// meanwhile, and is granted on all of them at once, when it is the first one everywhere. Every change that takes
// a hold away hands the lock on before it returns, so that no ticket that could be served ever waits; a free lock
// without a queue leaves nothing behind. Each grant raises one global fence counter by one; no fence is ever given
// twice, whatever happens to the lock's name.
//
// A ticket that would close a cycle of tickets waiting for each other is refused, with the cycle. What is known of who
// waits for whom comes from the fences that tickets declare.
//
// Barriers and Latches are tables of their own, with names of their own and the same rules for copies: who passes one
// holds nothing.
//
// # What it asks of its caller
//
// The caller knows sessions and time. It brings the cluster time with each change, ends waits and delays
// when they are due, and takes waiters out of their queues (Leave) when their session dies, all dead ones
// before any hold is released or any queue settled, so that nothing is granted to the dead. It calls Settle for each
// queue that it took somebody out of. It calls changes from one goroutine.
//
// # Copies
//
// Copy takes O(1) and may be read on any goroutine while the original goes on: the tables are
// copy-on-write B-trees, and all records in them are immutable and replaced on change. Maps that are
// handed in (metadata) must not be changed afterwards, and those handed out must not be changed at all.
//
// # Sources
//
// Lock service, sequencers and lock-delay: M. Burrows, "The Chubby lock service for loosely-coupled
// distributed systems" (OSDI 2006), section 2.4. Fencing: J. Gray and D. Cheriton, "Leases" (SOSP 1989),
// and the practice described by M. Kleppmann (2016). Queues in arrival order: P. Hunt et al.,
// "ZooKeeper" (USENIX ATC 2010), section 2.4.
package locks
