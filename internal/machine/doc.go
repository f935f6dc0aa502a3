// Package machine is the replicated state machine: the cluster's clock, its sessions with their reply
// caches, and the dispatch of commands to the tables of locks, barriers and latches (pkg/locks) and the sequences
// (pkg/idgen).
//
// # What it promises
//
// Equal logs give equal machines: Apply reads nothing but the entry and the state. No clock, no random
// numbers, no goroutines, no I/O, no order that comes from a map. View.Hash is equal on equal states, and a
// machine restored from a snapshot answers every later entry as the one that wrote it does.
//
// Each entry is applied in four steps: (1) cluster time becomes the later of itself and the entry's time;
// (2) the first entry of a term stops expiry (serving = false), and so does NotServing; Serving extends the
// sessions that haven't ended by their grace and lets expiry go on; (3) while serving, endedUpTo becomes
// cluster time, and what has a deadline up to there ends, in the order (deadline, kind, ID); (4) the entry's
// commands are executed, in order, each with a reply of its own. Steps 2 and 3 are made again at a Serving
// command, wherever it stands in its entry.
//
// Whatever has a deadline at or before endedUpTo has ended, however much of the clean-up is still to be
// done: dead waiters leave their queues before any lock is handed on, so that nothing is granted to a
// session or to a wait that is over.
//
// A request of a session is executed at most once. Its reply stays in the session's cache until the client
// acknowledges it (ack = lowest outstanding seq, the cache's floor). An acquire that was granted or queued has
// a ticket instead, which lives until its end was acknowledged: by an ack beyond the request that ended
// it, or by events_seen from the event that told of it on. A repeat shows the ticket's present state. A
// session keeps at most MaxEndedTickets ends that nobody acknowledges; beyond that the lowest ones below the floor
// are forgotten, and a repeat of those is REQUEST_STALE.
//
// Several locks of one request are one ticket, with a hold, a fence and an event for each of them. A ticket that passed a
// barrier or a latch is GRANTED without a hold, and stays until that was acknowledged, as an end does. A hold ends by
// release, by its session's end, by force, or by its own max-hold; after an expiry or force it may stay in the way
// (delayed). What leaves a queue may let in those behind it: that comes after everything that had to end.
//
// The last transitions of each lock are kept, and those of locks that became free not long ago. Entries of version 1, which
// older programs made, do what they did there: they leave no timelines, and quotas of namespaces do not hold for
// them. The highest version among the entries is part of the state.
//
// Renew makes the state of another cluster out of a snapshot's: nothing that the new one gives out, a fence or an ID,
// is given by the old one, or by another restore.
//
// # What it asks of its caller
//
// Entries come one by one, in log order, without gaps, no-ops and configurations included; anything else,
// and an entry that can't be decoded, is Result.Err: the node must stop. Apply, NextDue, Live and View are
// called on one goroutine. What View returns may be read on any goroutine, while applies go on, and never
// changes. Maps and slices in replies and views are shared and must not be changed.
//
// # Sources
//
// Exactly-once requests with a floor: D. Ongaro, "Consensus: Bridging Theory and Practice" (2014), section
// 6.3. Leases that are never ended by a local clock: Chubby (OSDI 2006), section 2.8, with its grace after
// a change of master, section 2.9. Fences: see pkg/locks. Copy-on-write tables:
// docs/decisions/0001-copy-on-write-tables.md.
package machine
