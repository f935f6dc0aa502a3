// Package proxy is a TCP proxy that breaks what it carries, for the runs over a real network: it stands between the nodes,
// and between nodes and clients, where the kernel can't lose, delay or damage bytes by itself.
//
// A fault is in effect from Set until the next Set, for connections that exist and for new ones. What a fault does to a
// stream happens chunk by chunk (what one read returned, up to 16 KiB), so it may hit the middle of a frame or its edge.
// A stream that lost bytes without its ends being told would never do so under TCP: connections that dropped some are
// reset when the fault ends, unless they were to be damaged.
//
// The caller closes the proxy; that ends every connection.
package proxy
