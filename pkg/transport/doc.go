// Package transport is what carries messages between the cores of a cluster, and between the programs around them.
//
// # Messages of cores
//
// A Transport may lose, repeat and reorder messages; it never alters one, never invents one, and never
// tells a core that a message comes from a member which did not prove (as far as the transport can
// tell) to be that member. It promises two classes of messages that do not wait for each other
// (ClassOf): small ones, on which leadership depends, and appends. Within one class and one connection
// the order of Send is kept.
//
// Before the first message of a connection both sides say who they are (Identity) and whom they expect
// to meet; Admit and Confirm are the rules by which they refuse each other, the same for every
// transport. In the same exchange each side tells the other the newest mark that it saw of it, and from
// which incarnation (Witnessed), so that a member that lost what it once acknowledged learns of it before
// it takes part. A mark of another incarnation than its own it never hears of (the design of incarnations
// and marks is described in the project's storage notes). One that is refused is told why (MessageHandler.Refused), so
// that a removed member can say so.
//
// # Requests, notifications, announcements
//
// A Messenger carries what the programs say to each other: requests with an answer, one-way notifications, and the
// announcement of a node that joins. They are a third class with a queue and a connection of its own, so that neither a
// heartbeat nor an append ever waits behind one, however large.
//
// A request goes again under its ID until it is answered, and the receiver's Journal sees to it that it runs once as long
// as the receiver lives and remembers it: 10 s and 10 MiB of answers. Beyond that, and after a restart of the receiver, a
// repeat runs again; what must not happen twice has to recognise that by itself. What is too much at once waits with the
// sender; handlers run in a bounded number.
//
// Announce is the one way in for strangers. It carries one small frame, is limited in rate and number, and makes nobody
// a member: that is for the handler to decide. Only nodes of another cluster, by ID or name, are turned away before.
//
// # What is asked of a Handler
//
// Methods that return quickly, whatever goroutine calls them, and that are safe to call until Close has returned; only
// Requested, Notified and Announced may block, until their context ends. A transport never calls the handler from within
// Send, SetPeers, Notify or Start.
//
// # How to write a transport
//
// Implement Transport and Statistics, and have transporttest.Run pass, under the race detector and goleak: the suite is
// the contract. A transport over anything that gives streams needs only a Dial and a Listener for package tcp. For
// others:
//
//  1. Send copies nothing and never blocks: give each peer a queue for each class, the newest of the Control class and
//     the oldest of the Bulk class staying when it is full. Drop raft.MsgSnapshot.
//  2. Before anything else of a peer reaches the handler, exchange identities. The called side asks Admit, the calling
//     side Confirm; a refusal is sent to the other side, which tells its handler. Pass both witnessed marks through
//     Witnessed.Of and call Seen on both sides, on the called side before it answers.
//  3. Check that a message comes from the member that the connection belongs to, and fill Message.Incarnation from its
//     identity.
//  4. Notice the silence of a peer by yourself, well within ten election timeouts, and connect again within milliseconds
//     of its return. Call Unreachable once for each failure. Let no peer, and no number of strangers, delay another one
//     (rule 19: when the third member's address swallows everything, the other two must not feel it).
//  5. Requests: give the third class a way of its own. The sender keeps a request until it is answered, repeats it
//     under its ID when it may be lost, and bounds how many are with a peer. The receiver bounds what runs, asks a
//     Journal first, and answers whoever waits. Announcements ask AdmitStranger alone.
//  6. Bound every length before memory is taken for it. Package wire is a codec with such bounds, for who wants one.
//
// The packages below: wire is the codec of messages, frames and handshakes; tcp is the transport of
// daemons; inmem joins several nodes of one process and can cut, delay and drop; transporttest is the
// suite that each transport passes.
package transport
