// Package e2e holds the runs with real processes: three `coordd serve`, clients, and faults. They have
// build tags and make targets of their own (test-e2e, test-disk), because they take minutes, and the disk
// run needs root.
//
// What a run shows: the history of each lock is linearizable (porcupine), fences increase over the whole
// run, no ID comes twice, no two holders stand in one guarded resource, and nothing acknowledged is lost.
package e2e
