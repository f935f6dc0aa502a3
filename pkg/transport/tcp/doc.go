// Package tcp is the peer transport over TCP.
//
// # Shape
//
// A node dials two connections to each peer, one for each class of the cores' messages, and sends on those alone;
// it receives on the connections that the peer dials. So a heartbeat never waits behind an append, in no
// queue of this process and in no buffer of the kernel. A third one carries requests and notifications, and back on it
// come the answers; it is dialled when there is one to send and closed after MessagesIdle without any. Before each connection stands a bounded queue; one goroutine a
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
// # Requests
//
// A request that was sent stays with its sender until it is answered: when the connection breaks it goes again on the
// next one, and on a connection that lives after ResendInterval without an answer. Up to 64 requests and 4 MiB of them
// are with one peer; the others wait. The receiver runs up to 64 handlers for one peer and 256 in all, with bodies of
// 64 MiB; what is beyond is sent back and comes again. A caller that does not take its answers loses the connection.
// Notifications wait for a connection that is being made, not for a peer that is away.
//
// An announcement is a connection of its own: one frame each way. Up to 8 are handled at the same time, and from one
// address 20 at once and 10 a second in the long run; the others are told to come again.
//
// # Versions
//
// Protocol version 3 has the class of messages, announcements, and the hash of the cluster's name in handshakes. Version
// 2, without them, is spoken with nodes that know no other; they refuse the third connection, and requests to them wait.
//
// # Limits
//
// Until a handshake is done a connection may send one small frame, has HandshakeTimeout for it, and
// counts against a bound in all and by remote address; over a bound the oldest one goes. Afterwards a
// frame's length is checked before memory is taken. There is one connection a peer and class: a newer one
// replaces the older.
//
// Without TLS a peer can claim to be any member: put the peer port on a network of the cluster's own, or
// have Dial and Listener wrap connections, as those of crypto/tls do; the contract's tests run both ways.
//
// Ideas: separate streams for heartbeats and bulk and "dial both ways" are common to public Raft
// transports; limits before allocation follow etcd's advisory GHSA-6vch-q96h-7gc3; the early drop of
// half-open connections follows OpenSSH's MaxStartups.
package tcp
