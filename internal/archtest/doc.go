// Package archtest holds the tests that keep the house in order: which package may import which, what a
// pure package must not contain, how long a file may grow, and that docs/conformance.md is complete. It has no code
// of its own.
//
// The rules are those of the design's arrows: cmd → cli → daemon → service, console → machine, node →
// raft, storage, transport; machine → locks, idgen; cli → client → api, idgen. The ground floor (pkg/raft,
// pkg/locks, pkg/idgen) imports nothing of the project.
package archtest
