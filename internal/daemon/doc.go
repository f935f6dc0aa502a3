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
// What it asks of its caller: one Run at a time for a data directory, signals translated into the end of
// the context.
//
// The package holds no protocol and no state of its own.
package daemon
