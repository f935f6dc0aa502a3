// Package tcp is the peer transport over TCP.
//
// # Shape
//
// A node dials two connections to each peer, one for each class of messages, and sends on those alone;
// it receives on the connections that the peer dials. So a heartbeat never waits behind an append, in no
// queue of this process and in no buffer of the kernel. Before each connection stands a bounded queue; one goroutine a
// connection dials, shakes hands, and writes everything that waits with one call. Nothing that one peer
// does or fails to do delays a message to another one.
//
// A connection begins with a handshake (package wire; the rules are transport.Admit and
// transport.Confirm), in which both sides also exchange the newest marks that they saw of each other.
// A refusal is answered with its kind and a text, counted, and logged once until it changes.
//
// # Liveness
//
// The dialler pings each connection; the listener answers at once. A side that reads nothing for
// IdleTimeout closes the connection, and the dialler dials again: after a partition that matters, since
// the kernel would go on with the old connection only after a pause that has grown with the partition's
// length. Pings measure the round trip and carry the sender's newest mark. Every dial, handshake and write has a
// deadline; a write is cut into blocks with a deadline each, so that a slow line is not taken for a dead one.
//
// A failed dial is repeated after a pause that doubles, with jitter, between BackoffMin and BackoffMax. A
// peer that completes a handshake with us is dialled back at once, so that a restarted one is in touch
// within milliseconds. Names are resolved anew at each dial.
//
// While a peer is away its control queue keeps the few newest messages (old heartbeats help nobody) and
// its append queue what a probe needs; a broken connection drops the appends that wait, because what
// went before them is lost, and tells Handler.Unreachable once.
//
// # Limits
//
// Until a handshake is done a connection may send one small frame, has HandshakeTimeout for it, and
// counts against a bound in all and by remote address; over a bound the oldest one goes. Afterwards a
// frame's length is checked before memory is taken. There is one connection a peer and class: a newer one
// replaces the older.
//
// Without TLS a peer can claim to be any member: put the peer port on a network of the cluster's own, or
// have Dial and Listener wrap connections.
//
// Ideas: separate streams for heartbeats and bulk and "dial both ways" are common to public Raft
// transports; limits before allocation follow etcd's advisory GHSA-6vch-q96h-7gc3; the early drop of
// half-open connections follows OpenSSH's MaxStartups.
package tcp
