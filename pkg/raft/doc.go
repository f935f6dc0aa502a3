// Package raft is a consensus core: one member's part of Raft as a pure state machine. It has no
// goroutines, clocks, files, sockets, logs or random source of its own. Inputs go in by method calls, each
// with the monotonic instant at which it is handled; Output hands out what is to be done. The same core
// runs in the daemon, in tests and in the simulator.
//
// # What it promises
//
// With any loss, repetition, delay and reordering of messages, and any crash of members whose storage keeps
// what AppendDone was called for: at most one leader a term; an entry that Apply handed out is handed out
// by every member at that index and by nobody otherwise; an index that Reads answers covers whatever was
// committed anywhere before the read was asked for; while Lease is valid nobody else leads, as long as the
// members' clocks differ by less than the drift bound. While a majority is up, linked and writes in good
// time, somebody leads.
//
// A message never makes it panic. A core that contradicts itself does, at once and with the reason: that is
// a fault in this package, or storage that did not keep its word.
//
// # What it asks of its caller
//
//   - One goroutine at a time calls a Core. now never goes back; it is read after the input was taken from
//     its queue.
//   - After any number of inputs, Output is called and carried out:
//     Send leaves at once, before anything is written.
//     Append is written durably, batches in the order of Seq (several may share one transaction); then its
//     ThenSend leaves and AppendDone is called with its Seq, LastTerm and Last. A batch with MustWrite false
//     changes nothing on disk, but what it holds back still waits for the batches before it.
//     Where Append.Snapshot is set, nothing of the log stays, and it begins anew behind the snapshot.
//     Restore puts a snapshot in the place of the state machine's state, before Apply and behind what was handed
//     out earlier. Apply goes to the state machine in order; ApplyDone says how far it came, the snapshot's index
//     included.
//     Fetch is answered by Fetched, in any case: with no entries if they could not be read.
//   - Tick is called at least at every NextTick.
//   - A MsgSnapshot in Send is an order to bring the newest snapshot to a peer. The runtime carries the bytes, and
//     hands the message to the peer's core once the snapshot is whole and durable there; SnapshotDone tells the
//     sender's core that it was, or that it could not be. SetSnapshot and Compacted tell a core of this member's
//     own snapshots and of how far the log was cut.
//   - Connections are kept to the members of Contacts, which changes whenever SoftState.Contacts does: it outlasts
//     the configuration, so that who is removed, and who removes itself, can be told.
//   - All messages of Output are to other members. The transport sets Message.Incarnation on receipt.
//   - Slices that come out are shared: nobody changes the entries in them, nor data that went in.
//   - A failed write is final. The core is thrown away with the process.
//
// # How to read it
//
// core.go has the state, step.go the way of a message: admit, then the table of handlers by role and
// type. election.go and vote.go choose a leader; follow.go is what a follower does with its messages;
// propose.go, replicate.go and commit.go are the way of an entry; round.go, read.go and lease.go prove
// leadership; transfer.go gives it away; writes.go and output.go keep the order of disk and network;
// log.go, membership.go and clock.go hold the log, the configurations in it and cluster time; snapshot.go
// puts snapshots in the place of the log; warmup.go makes voters of learners, and is where a leader changes the
// configuration by itself; blank.go and recover.go keep directories that lost something from voting.
//
// # Sources
//
// Ongaro, "Consensus: Bridging Theory and Practice" (2014), chapters 3, 4, 6, 9 and 10, and the same
// author's correction of single-server changes (raft-dev, 2015). Where a comment names a rule, it is one of
// this project's list of faults that public implementations had. What differs from the dissertation:
//
//   - Pre-vote and stickiness are always on; a refusal by a voter that hears a leader does not adopt the
//     candidate's term.
//   - Heartbeats are no appends: they carry the receiver's match, commit at most that, and their answers
//     prove a round but nothing about the log.
//   - A voter writes down the longest promise it makes and honours it after a restart.
//   - A vote request leaves only after the term and the candidate's vote for itself are durable, and so are
//     the entries that its claim rests on.
//   - A leader follows a peer that lost what it acknowledged back to where its log ends now.
//   - A new member is a learner first. Its promotion is a wish in the configuration, so that any leader goes on
//     with the warm-up. A leader that removed itself tells the best follower to stand.
//   - Snapshots are brought by the runtime, beside the messages; the core sees them arrive as one message.
package raft
