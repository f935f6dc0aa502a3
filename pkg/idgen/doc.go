// Package idgen is the pure part of unique IDs: the replicated sequences from which ranges are given out,
// and the layouts in which an ID is written.
//
// # What it promises
//
// A Sequence gives each number at most once in each of its generations (a generation ends where a cycling
// sequence wraps), because its next number only moves in the direction of its step. Ranges are counted by
// subtraction, (max − next) / step, in unsigned arithmetic, and never by computing the end of a range
// first, so that there is no overflow at any end of int64. A Table gives each sequence it ever creates an ID of
// its own, 24 bits, so that a sequence that is deleted and made again yields other UUIDs.
//
// V8 is injective: two different (number, domain, sequence ID) never give the same UUID. UUIDs of one
// sequence sort as their numbers do when these are positive.
//
// # What it asks of its caller
//
// Changes of a Table come from one goroutine. The cluster's domain (16 bits) is the caller's, and so is the
// promise that two clusters, or a cluster and its restored copy, don't share one. A cycling sequence must
// yield no UUIDs.
//
// # Copies
//
// Table.Copy takes O(1) and may be read on any goroutine while the original goes on: the table is a
// copy-on-write B-tree of immutable records.
//
// # Sources
//
// UUID version 8: RFC 9562, section 5.8. CRC-14/GSM: 3GPP TS 05.03, as listed in the catalogue of
// parametrised CRC algorithms. Base 32: D. Crockford's alphabet.
package idgen
