// Package storagetest is the contract of storage.Log and storage.Snapshots as tests: each log and each store of
// snapshots runs it, and a new one knows that it is finished when it passes.
//
// Run and RunSnapshots take a function that makes a fresh store and returns how to open it; opening it again after
// Close is a restart. Logs that check the chain, keep a sidecar or survive damage test that beside this suite.
package storagetest
