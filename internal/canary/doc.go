// Package canary holds the test switches that take single guards out of the code, one at a time, so that the
// instruments which are to find the consequences can be seen to find them: an instrument that never found anything
// proves nothing.
//
// A guard is a condition that a rule of the design demands. Where it stands in the code, it asks
//
//	index > commit && (term(index) == term || canary.Broken(canary.CommitOwnTerm))
//
// and a binary that was built with the tag `canary` and started with COORDD_CANARY=commit-own-term goes on without it.
// Without the tag Broken is a constant false, which the compiler takes out together with what depends on it: no binary
// that is shipped can be broken this way (a test looks for the names in it).
//
// Guards lists them all: each with the rule that it comes from and with what is to be expected without it. The
// program in run takes out one after the other and shows what notices: the simulator, or a test that is named there.
// docs/testing.md has the table.
package canary
