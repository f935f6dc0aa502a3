// Package tracker keeps a leader's view of one peer: how far its log is known to match, what to send next,
// and how much is on its way.
//
// A peer is in one of three states. In Probe the leader does not know where the logs agree: it sends one
// append and waits. In Replicate it knows, and sends ahead of the acknowledgements, up to a bound of bytes
// in flight. In Snapshot the peer needs entries that are gone: a snapshot is on its way to it, and nothing else
// is. The ways between them:
//
//	          an append is acknowledged
//	Probe ───────────────────────────────▶ Replicate
//	  ▲  ◀───────────────────────────────  │    ▲
//	  │    a rejection, or nothing came    │    │ an acknowledgement at or
//	  │ the snapshot arrived, or was lost  │    │ above the snapshot's index
//	  └─────────────────────── Snapshot ◀──┘────┘
//	     (Probe and Replicate go to Snapshot when entries from Next on are gone)
//
// It promises that Match < Next, that Match is only what Acked was told (or Lowered took back), and that
// InflightBytes never exceeds the bound by more than one message. It asks its caller to pass only
// acknowledgements of the present term and session.
//
// Sources: Ongaro, "Consensus: Bridging Theory and Practice", sections 3.5 and 10.2.1 (pipelining); the
// idea of the states is that of etcd's raft design notes.
package tracker
