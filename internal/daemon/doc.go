// Package daemon puts a node together and takes it apart again: the configuration of `coordd serve`, the
// order of start and stop, and the sources of the node's metrics and health.
//
// What it promises: a configuration that cannot work is refused before anything is opened, with an error
// that names the setting (ConfigError); nothing is listened on beyond the loopback without --insecure;
// Run returns nil after an orderly stop, and the cause when any background part of the node failed: a node
// never goes on half-alive. The start goes from the disk outwards (log, state machine, peers, NATS,
// clients' subjects, HTTP), so that nobody is answered by a node that is not whole; the stop goes the other
// way, leadership being handed over first.
//
// RestoreSnapshot and RecoverMember make the data directory of a new cluster's first member, from a file or from what a
// stopped member has; they change nothing that they were not asked to, keep what they replace, and a directory that they
// left half made is one that no node starts on. InspectSnapshot reads all of a snapshot and proves that it can be restored.
//
// The routes of the embedded NATS server follow the members of the configuration, unless they were set.
//
// What it asks of its caller: one Run at a time for a data directory, signals translated into the end of
// the context.
//
// The package holds no protocol and no state of its own.
package daemon
