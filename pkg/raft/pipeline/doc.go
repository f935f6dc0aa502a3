// Package pipeline is what stands between a core's Output and a member's log and state machine, without the goroutines
// and the I/O: which batches become one durable write and what may be said when it is done ([Writer]), which proposals
// committed entries decide ([Proposals]), where a state machine stands ([Position]), and how much of a log may go behind
// a snapshot ([Tail]). Package node runs it with real queues, disks and machines; the simulator runs it in virtual time:
// what the simulator tests is what the daemon does.
//
// Nothing here is safe for use by several goroutines at a time, and nothing blocks.
package pipeline
