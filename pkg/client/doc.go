// Package client is the Go client of coordd: locks with fencing tokens, sessions and unique numbers.
//
//	c, err := client.Connect(ctx, "nats://127.0.0.1:4222", client.WithNamespace("billing"))
//	defer c.Close()
//	l, err := c.Lock(ctx, "orders/42") // waits; ctx bounds the wait only
//	defer l.Unlock(context.WithoutCancel(ctx))
//	save(l.Context(), l.Fence())       // Context ends before the lock can be someone else's
//
// # What it promises
//
//   - A [Lock] is valid only while the cluster, by the client's own careful clock, can't have given it to
//     somebody else: [Lock.Valid] and the lock's context look at the clock themselves, and Valid never goes
//     back to nil. A process that was paused or suspended finds its locks lost, not held.
//   - Every command carries (session, seq) and is repeated under that same name until it is answered, through
//     outages and changes of leader; the service executes it at most once. What could not be found out is
//     [ErrOutcomeUnknown], never a guess.
//   - A [Client.Lock] that gives up leaves no hold behind: its ticket is cancelled, in the background if need be.
//   - No number of a [Sequence] is given out twice, and no UUID.
//
// # What else there is
//
// [Client.RLock] shares a lock with other readers, [Client.LockAll] takes several in one step, [Client.Semaphore] has
// permits, [Client.Election] a leader with a value that others observe, [Client.Barrier] and [Client.Latch] let many wait for
// each other, [Client.Locker] and [Client.RWLocker] look like package sync. [Client.Watch], [Client.Why] and
// [Client.ListLocks] show what happens. [Session] offers the same in a lease of its own; [API] names what both have.
//
// # What it asks of its caller
//
// Use the fence: what a lock guards should refuse a fence below one that it has seen. End work when the lock's
// context ends. Do not fork or clone the memory of a process that uses sequences or UUIDs.
//
// All types are safe for concurrent use, except [Block], which belongs to one goroutine.
//
// # Where the ideas come from
//
// Sessions with leases by the client's clock: Gray and Cheriton, "Leases" (1989), section 3, and Burrows, "The
// Chubby lock service" (2006), sections 2.8 and 2.9. Fences: Chubby's sequencers (section 2.4). Exactly-once by
// client sessions: Ongaro's dissertation, section 6.3. Joining concurrent calls without a timer is group commit.
package client
