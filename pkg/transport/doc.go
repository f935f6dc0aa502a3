// Package transport is what carries messages between the cores of a cluster.
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
// and marks is described in the project's storage notes).
//
// What a transport asks of its Handler: methods that return quickly, whatever goroutine calls them, and
// that are safe to call until Close has returned. A transport never calls the handler from within Send,
// SetPeers or Start.
//
// The packages below: wire is the codec of messages, frames and handshakes; tcp is the transport of
// daemons; inmem joins several nodes of one process and can cut, delay and drop; transporttest is the
// suite that each transport passes.
package transport
