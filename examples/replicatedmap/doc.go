// Replicatedmap is a map that several processes share, built on package node alone: a tutorial, and a playground.
//
// Three terminals make a cluster:
//
//	go run ./examples/replicatedmap tcp 3262
//	go run ./examples/replicatedmap tcp 3263
//	go run ./examples/replicatedmap tcp 3264
//
// Each prints who leads, who is a member, and what it applies. Ctrl-C in the leader's terminal shows how another one
// is elected. With a folder as the third argument the state survives restarts:
//
//	go run ./examples/replicatedmap tcp 3262 node1
//	go run ./examples/replicatedmap tcp 3263 node2
//	go run ./examples/replicatedmap tcp 3264 node3
//
// The same three members in one process, with or without a folder:
//
//	go run ./examples/replicatedmap mem
//	go run ./examples/replicatedmap mem nodes
//
// # How they find each other
//
// The ports 3262, 3263 and 3264 of this machine are the static members of a first start (--members names others), and
// a member's ID is its port. Static, and no first node that the others join, because then the three terminals may be
// opened in any order, and two of them are a majority. A fourth member, which no list names, joins through any one
// that runs:
//
//	go run ./examples/replicatedmap tcp 3265 node4 --join 3262
//
// Once a folder has a log, neither the list nor --join is looked at: the cluster's own configuration counts.
//
// # What it serves
//
// Each member serves HTTP at its port + 1000 (--http names another one):
//
//	curl -X PUT --data Vienna http://127.0.0.1:4262/map/city -L
//	curl http://127.0.0.1:4263/map/city
//	curl http://127.0.0.1:4264/map/city?read=stale
//	curl -X PUT -H Client:me -H Sequence:1 --data Graz http://127.0.0.1:4262/map/city -L
//	curl -X DELETE http://127.0.0.1:4262/map/city -L
//	curl http://127.0.0.1:4262/members
//	curl -X POST http://127.0.0.1:4262/resign
//	curl -X POST http://127.0.0.1:4262/snapshot
//	curl -X POST http://127.0.0.1:4262/members/3264/replace -L
//	curl -X DELETE http://127.0.0.1:4262/members/3265 -L
//
// Reads are linearizable on each member. Writes are for the leader; the others redirect to it, which -L has curl
// follow. A member without a folder has lost its log when it ends, so the cluster takes it for another one when it
// starts again: replace has it accepted.
//
// # How to read it
//
// map.go is the state machine, snapshot.go its snapshots, member.go how a member is started and stopped, http.go its
// API, events.go what it prints, main.go the command line. There is neither TLS nor a user: the playground listens on the
// loopback address alone.
package main
