// Package exchange is what every transport has in common of carrying requests and notifications: Client and its Outboxes
// on the side that asks, Server on the side that answers. A transport moves what an Outbox gives to the Server of the
// peer, and what that answers back to the Outbox.
//
// Client and Outbox ask of the transport: to call Broken whenever what was taken may be lost, and Shut when a peer leaves
// the list. Server asks for: one call for each request that came in, and an answer function that does not block.
package exchange
