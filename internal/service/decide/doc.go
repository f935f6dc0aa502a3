// Package decide decides what the service of a leader does, and does none of it: which calls become the next log entry,
// when a Tick is due, what to do while NATS is well or lost, and what may be said about a command that was not
// proposed. The service and the simulator (pkg/raft/sim) use the same code.
//
// It is a function of its inputs: instants come in, as the time since the caller's start on its monotonic clock, and
// nothing here waits, locks or sends. One goroutine at a time uses a value.
package decide
