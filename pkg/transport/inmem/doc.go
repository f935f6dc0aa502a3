// Package inmem is a transport between nodes of one process, for tests of what stands above it.
//
// A Network plays the wires. Its controls act on pairs of members: cut and heal (one way or both),
// isolate, delay, and a filter that drops single messages. A cut is silent, as a swallowed packet is: the
// sender is not told. A peer that does not listen is told of at once, as a refused connection is.
//
// The rules of handshakes (clusters, members, incarnations, marks) are those of the tcp transport, and so
// are the classes with a queue each, and what becomes of requests, notifications and announcements; filters
// drop the cores' messages alone. Messages are copied on the way, so that neither side can change
// what the other one holds. Everything also runs in the virtual time of testing/synctest.
package inmem
