// Package sim runs whole clusters of real Raft cores in one goroutine, in virtual time, from one seed.
//
// The network delays, loses, repeats and reorders messages, and is cut in whole or in one direction. Disks
// are slow, stall, and lose in a crash whatever was not synced. Nodes crash, freeze and run on clocks that
// drift. After every step the invariants of Raft are checked (Ongaro's dissertation, figure 3.2, and those
// that implementations broke in the field): at most one leader a term; logs match; a leader holds every
// committed entry; applied entries agree; committed is durable on a majority; term, vote, commit and
// applied never go back; a promise (a vote, an acknowledgement) leaves a node only when what it stands on is
// durable; a lease never outlives its leader; entry times never go back and never run faster than a clock.
//
// At the end of a run everything heals, and the cluster has to elect a leader and to commit.
//
// The same seed gives the same run, event by event; a failing run says how to see it again. The core is the
// one that the daemon runs: nothing in it knows that it is simulated.
package sim
