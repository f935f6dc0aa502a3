// Package service turns messages on NATS subjects into replicated commands and proven reads, and what they did
// into answers and events.
//
// It promises:
//
//   - Only the leader answers commands. It subscribes once its first entry is applied, and unsubscribes before
//     anything else on its way down; without a leader NATS itself says "no responders" within a millisecond.
//   - An answer to a (session, seq) comes from apply, or from a read that was proven after it arrived. Refusals
//     that depend on state (BUSY) are sent within a valid lease only; a node in doubt stays silent, so that the
//     real leader's answer wins. Refusals that follow from the request alone are sent at once.
//   - Handlers never wait: a request is decoded, checked and queued; a proposer takes whatever is queued into
//     one log entry; answers are encoded and published by a goroutine of their own, off the applier.
//   - Everything is bounded: bodies, names, metadata, batches, what is under way. Keepalives have a bound of their own and
//     go before other work; answers that are ready go before the events of thousands of sessions that end at once.
//   - Transitions of locks go to those who watch, from a goroutine that nobody waits for, and are not even encoded where
//     nobody listens.
//   - Expiry stands still (NotServing) while the leader can't be reached through NATS, and the leader hands over to a
//     member that says, over Raft's own transport, that NATS reaches it.
//   - Operators' verbs (members, leadership, snapshots) run beside all that, a bounded number at a time. A change that
//     ends when a learner votes is answered when it is committed, and goes on without the one who asked.
//
// It asks of its caller: one *machine.Machine that is fed through the StateMachine of this package and by
// nothing else, a node that runs on that StateMachine, a connection with reconnect buffer off (see natsserver),
// and Stop before the node is stopped.
//
// The state that it holds (queues, which format a session speaks, recent events) may be lost at any time.
// The rules come from the project's coordination and NATS notes; linearizable reads are the ReadIndex of
// section 6.4 of the Raft dissertation.
package service
