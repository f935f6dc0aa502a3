// Package console is a node's HTTP side: health checks, metrics and the operator's page.
//
// What it promises:
//
//   - /livez says whether the process lives, and never depends on a quorum, a leader, a disk or NATS: a
//     cluster that only lacks a leader must not have its nodes restarted (Kubernetes issue 96886, etcd
//     issue 13340).
//   - /readyz runs named checks and is 503 if any of them fails; ?verbose lists them, ?exclude=NAME (as often
//     as wanted) leaves one out.
//   - Every answer carries a strict content security policy and is never cached; no page loads anything from
//     another host, and none changes anything.
//
// What it asks of its caller: checks that respect their context, which ends after a second.
//
// The form of the checks is the one that operators know from the Kubernetes API server.
package console
