//go:build race

package alloc

import "runtime"

// In a bubble of testing/synctest the race detector breaks when timers of one bubble are looked at on two processors at
// the same time (golang/go#78156: CHECK failed in tsan, or SIGSEGV in timer.maybeRunChan, in one run of five). On one
// processor it still sees every pair of accesses that nothing orders.
func init() { runtime.GOMAXPROCS(1) }
