// Package metrics declares every Prometheus metric of coordd in one place, and feeds them.
//
// What it promises: each family is present from the first scrape on, with its known label values at zero,
// so that an alert can be written before the first event; no label ever holds a name that a client chose
// (locks, sessions, sequences), so that cardinality is bounded by the cluster and the protocol; updates are
// a few atomic operations and never block.
//
// What it asks of its caller: one Metrics for a node; SetSource before the first scrape, with a function
// that is safe to call at any time; KnowPeers when the configuration changes.
//
// Counters and histograms are fed by the observers of the packages that they speak of (transport, node,
// storage, service). Everything that is a property of the present state (indexes, roles, tables) is read
// once for each scrape from one State, so that the numbers of a scrape belong together.
//
// Histograms are classic (100 µs doubled 16 times) and native at once: a server that knows native ones
// gets their resolution, any other gets the buckets.
package metrics
