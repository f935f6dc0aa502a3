// Package sim runs whole clusters of real Raft cores in one goroutine, in virtual time, from one seed.
//
// The network delays, loses, repeats, reorders and corrupts messages, clogs and lets everything arrive at once, resets
// connections, brings messages of long ago again, and is cut in every shape: in two, one way, in pairs, to a ring or a
// bridge, around the leader, flapping. Disks are slow, stall, fail, fill and lose in a crash whatever was not synced; they
// lose the end of a log that was acknowledged, are damaged, and whole directories are wiped and start again with the flags
// of old. Nodes crash, one by one, in loops and all at once, freeze, are restarted one after the other, with other election
// timeouts too, and run on clocks that drift, jump and, in some seeds, leave the drift that was promised. Snapshots are
// taken, logs are cut, and snapshots travel for long, get lost, come twice and come late; nodes crash between any two steps
// of that. Operators add, remove (the leader too), replace, promote and demote members, make them standbys and take that
// back, announce versions and hand leadership over, in a hurry, in storms and to the wrong ones; members that were removed
// go on running. Clients use every primitive of the service, pause, die, repeat themselves and lose answers, each for itself
// and in crowds.
//
// After every step the invariants of Raft are checked (Ongaro's dissertation, figure 3.2 and chapter 4, and those that
// implementations broke in the field): at most one leader a term, and none that is a learner, a standby, a stranger or
// another directory than the one recorded; logs match, over the ends of cut ones too; a leader holds every committed
// entry; the state of the state machine, and a digest of all that was applied and in which order, are the same at equal
// index, whether they came from entries or from a snapshot, which goes through its codec; committed is durable on a
// majority of the voters in effect, each as the directory that is recorded; purged ≤ snapshot ≤ applied ≤ committed ≤ last; term, vote, commit and applied
// never go back; a promise (a vote, an acknowledgement) leaves a node only when what it stands on is durable; a lease
// never outlives its leader, and what is read by one, or by a barrier, is not stale; entry times never go back and never
// run faster than a clock; the configuration in effect is the last of the log; configurations come one at a time, each
// moves one voter at most, and none of them before its leader has committed in its term; who is promoted had caught up;
// the version is one that every member announced.
//
// What is lost stays within what a cluster can bear: in no configuration that is about somewhere do the voters that have
// lost nothing fall below a majority. At the end of a run everybody heals but one member, which the others can do without
// and which stays crashed, frozen, cut, deaf, slow or with a stalled disk: the others have to elect and to commit. Then
// everything heals. The cluster has to elect a leader, to
// commit, to finish what operators began, and to bring every member up to date; and for the last two seconds nobody may
// stand for election, whoever else goes on running. Last, clients ask for nothing new any more, and what is held has to be what they
// believe in; then all of them die, and what is due has to end by the leader's ticks alone.
//
// The same seed gives the same run, event by event; a failing run says how to see it again, and shrinks to the few
// decisions that it needs ([Shrink]). The core, the machine, and what decides about writes and answers (package pipeline)
// are those that the daemon runs: nothing in them knows that it is simulated.
package sim
