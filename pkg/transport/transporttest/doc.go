// Package transporttest is the contract of transport.Transport as a suite of tests. A transport passes
// when Run passes, also under the race detector, with goleak in the package's TestMain.
//
// The suite promises to test only what the interface promises: messages may be lost, so a test sends until
// something arrives, unless the connection is known to stand and nothing disturbs it. It asks of a Harness
// that faults are silent, as those of networks are.
package transporttest
