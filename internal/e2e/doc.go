// Package e2e holds the runs with real processes: three or five `coordd serve`, clients, and faults. They have
// build tags and make targets of their own (test-e2e, test-disk, test-net), because they take minutes, and the disk
// and network runs need root.
//
// What a run shows: the history of each lock is linearizable (porcupine), fences increase over the whole
// run, no ID comes twice, no two holders stand in one guarded resource, and nothing acknowledged is lost.
package e2e
