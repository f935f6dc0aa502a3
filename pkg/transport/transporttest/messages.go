package transporttest

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// allTypes returns every type of message that is sent.
func allTypes() (types []raft.MessageType) {
	for i := range 256 {
		if t := raft.MessageType(i); t.Valid() && t != raft.MsgSnapshot {
			types = append(types, t)
		}
	}
	return types
}

// fullMessage has every field set.
func fullMessage(kind raft.MessageType, from, to raft.MemberID) raft.Message {
	m := raft.Message{Type: kind, From: from, To: to, Term: 1 << 60, Index: 12, LogTerm: 1<<60 - 1, Commit: 7, Hint: 1 << 40,
		Round: ^uint64(0), Session: 5, Promise: 150 * time.Millisecond, Reject: true, Transfer: true, Blank: true}
	if kind == raft.MsgAppend {
		m.Entries = []raft.Entry{
			{Index: 13, Term: 1 << 60, Time: 1e18, Wall: -5, Kind: raft.EntryNoOp},
			{Index: 14, Term: 1 << 60, Time: 1e18 + 1, Wall: 1 << 62, Kind: raft.EntryCommand, Data: []byte("a command")},
			{Index: 15, Term: 1 << 60, Time: 1e18 + 1, Kind: raft.EntryConfig, Data: []byte{0}},
		}
	}
	return m
}

// same fails unless a message arrived as it was sent, with its sender's incarnation.
func same(t *testing.T, sent, got raft.Message) {
	t.Helper()
	sent.Incarnation = raft.Incarnation{byte(sent.From)}
	if !reflect.DeepEqual(plain(sent), plain(got)) { // cmp alone takes seconds for a megabyte
		t.Fatalf("message changed on its way (-sent +received):\n%s", cmp.Diff(plain(sent), plain(got)))
	}
}

// plain returns a message without the difference between nil and empty.
func plain(m raft.Message) raft.Message {
	entries := m.Entries
	m.Entries = nil
	for _, e := range entries {
		if len(e.Data) == 0 {
			e.Data = nil
		}
		m.Entries = append(m.Entries, e)
	}
	return m
}

func testEveryMessage(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	for i, from := range nodes {
		to := nodes[1-i]
		for _, kind := range allTypes() {
			sent := fullMessage(kind, from.id, to.id)
			from.Send([]raft.Message{sent, {Type: kind, From: from.id, To: to.id}})
			await(t, kind.String()+" arrives", func() bool { return len(to.received(from.id, kind)) == 2 })
			got := to.received(from.id, kind)
			same(t, sent, got[0])
			same(t, raft.Message{Type: kind, From: from.id, To: to.id}, got[1])
		}
	}
	for _, n := range nodes {
		n.obs.locked(func() {
			other := fmt.Sprintf("n%d", 3-n.id)
			if n.obs.sent[other] == 0 || n.obs.received[other] == 0 {
				t.Errorf("member %s counted %d bytes to and %d from %s", n.id, n.obs.sent[other], n.obs.received[other], other)
			}
		})
	}
}

// testBatches sends entries × payload sizes to a receiver that looks at all entries, at the first, or at none, and spoils
// what it received: the next message on the same connection arrives whole.
func testBatches(t *testing.T, h Harness) {
	for _, takes := range []string{"all", "the first", "none"} {
		testBatchesTaken(t, h, takes)
	}
}

func testBatchesTaken(t *testing.T, h Harness, takes string) {
	nodes := cluster(t, h, 2)
	from, to := nodes[0], nodes[1]
	for _, entries := range []int{0, 1, 2, 64, 1000} {
		for _, size := range []int{0, 1, 127, 128, 511, 512, 1 << 10, 64 << 10, 1 << 20} {
			if entries*size > 4<<20 {
				continue
			}
			sent := raft.Message{Type: raft.MsgAppend, From: from.id, To: to.id, Term: 3, Index: 100, LogTerm: 2}
			for i := range entries {
				sent.Entries = append(sent.Entries, raft.Entry{Index: 101 + uint64(i), Term: 3, Time: int64(i), Kind: raft.EntryCommand,
					Data: bytes.Repeat([]byte{byte(i)}, size)})
			}
			to.forget()
			from.Send([]raft.Message{sent})
			await(t, fmt.Sprintf("%d entries of %d bytes arrive", entries, size), func() bool { return len(to.received(from.id)) == 1 })
			got := to.received(from.id)[0]
			switch takes {
			case "all":
				same(t, sent, got)
			case "the first":
				if len(got.Entries) != entries || (entries > 0 && !reflect.DeepEqual(plain(got).Entries[0], plain(sent).Entries[0])) {
					t.Fatalf("the first of %d entries of %d bytes changed on its way", entries, size)
				}
			}
			for i := range got.Entries { // the receiver owns them
				clear(got.Entries[i].Data)
			}
			to.forget()
			from.say(to.id, raft.MsgAppend, 7)
			await(t, "the next message arrives", func() bool { return len(to.received(from.id)) == 1 })
			same(t, raft.Message{Type: raft.MsgAppend, From: from.id, To: to.id, Term: 1, Round: 7}, to.received(from.id)[0])
		}
	}
}

// testOwnership changes what was received and looks at what was sent and at what others received.
func testOwnership(t *testing.T, h Harness) {
	nodes := cluster(t, h, 3)
	data := []byte("shared by the leader's log")
	entries := []raft.Entry{{Index: 1, Term: 1, Kind: raft.EntryCommand, Data: data}}
	var ms []raft.Message
	for _, to := range nodes[1:] {
		ms = append(ms, raft.Message{Type: raft.MsgAppend, From: 1, To: to.id, Term: 1, Entries: entries})
	}
	nodes[0].Send(ms)
	for _, to := range nodes[1:] {
		await(t, "append arrives", func() bool { return to.count(1) == 1 })
		got := to.received(1)[0].Entries
		if string(got[0].Data) != "shared by the leader's log" {
			t.Fatalf("member %s received %q", to.id, got[0].Data)
		}
		clear(got[0].Data)
		got[0] = raft.Entry{}
	}
	if string(data) != "shared by the leader's log" || entries[0].Index != 1 {
		t.Fatal("a receiver changed the sender's log")
	}
}

// testOrder keeps both classes busy, but within the bounds of their queues.
func testOrder(t *testing.T, h Harness) {
	nodes := cluster(t, h, 2)
	from, to := nodes[0], nodes[1]
	const total, window = 3000, 100
	for number := uint64(0); number < total; number += window {
		var ms []raft.Message
		for i := range uint64(window) {
			for _, kind := range []raft.MessageType{raft.MsgHeartbeat, raft.MsgAppend, raft.MsgAppendResp} {
				ms = append(ms, raft.Message{Type: kind, From: 1, To: 2, Round: number + i,
					Entries: []raft.Entry{{Index: i, Data: make([]byte, 200)}}})
				if kind != raft.MsgAppend {
					ms[len(ms)-1].Entries = nil
				}
			}
		}
		from.Send(ms)
		await(t, "window arrives", func() bool { return to.count(1) == 3*int(number+window) })
	}
	for _, types := range [][]raft.MessageType{{raft.MsgAppend}, {raft.MsgHeartbeat, raft.MsgAppendResp}} {
		for i, m := range to.received(1, types...) {
			if want := uint64(i / len(types)); m.Round != want || m.Type != types[i%len(types)] {
				t.Fatalf("place %d of %v: %s %d, want %s %d", i, types, m.Type, m.Round, types[i%len(types)], want)
			}
		}
	}
}

// testConcurrentUse is for the race detector.
func testConcurrentUse(t *testing.T, h Harness) {
	nodes := cluster(t, h, 3)
	peers := join(nodes...)
	var group sync.WaitGroup
	for _, n := range nodes {
		for range 2 {
			group.Go(func() {
				for i := range uint64(300) {
					for _, to := range nodes {
						if to != n {
							n.say(to.id, raft.MsgHeartbeat, i)
							n.say(to.id, raft.MsgAppend, i)
						}
					}
					n.Stats()
				}
			})
		}
	}
	group.Go(func() {
		for range 20 {
			nodes[0].SetPeers(peers[:2])
			nodes[0].SetPeers(peers)
		}
	})
	group.Wait()
	for _, n := range nodes {
		for _, to := range nodes {
			if n != to {
				n.reaches(t, to)
			}
		}
	}
}

// testForgedSender sends in another member's name: that must not arrive.
func testForgedSender(t *testing.T, h Harness) {
	nodes := cluster(t, h, 3)
	nodes[0].Send([]raft.Message{{Type: raft.MsgVoteResp, From: 3, To: 2, Term: 9}})
	nodes[0].reaches(t, nodes[1])
	nodes[2].reaches(t, nodes[1])
	if got := nodes[1].received(3, raft.MsgVoteResp); len(got) != 0 {
		t.Fatalf("member 2 took a vote of member 3 from member 1: %+v", got)
	}
}

// testMarks looks at what the two sides of a handshake tell each other, and that it stays new.
func testMarks(t *testing.T, h Harness) {
	mark := func(n uint64) raft.Mark { return raft.Mark{LastTerm: n, Last: 10 * n, Hash: [16]byte{byte(n)}} }
	one := newNode(t, h, 1, "", func(id *transport.Identity) { id.MarkSlot, id.Mark = 4, mark(4) }).start(t)
	two := newNode(t, h, 2, "", func(id *transport.Identity) { id.MarkSlot, id.Mark = 9, mark(9) })
	// Member 2 has seen a newer mark of member 1 than member 1 has now: its log went back.
	two.Recorder.Seen(transport.Identity{Member: 1, Incarnation: raft.Incarnation{1}, MarkSlot: 6, Mark: mark(6)}, transport.Witnessed{})
	two.start(t)
	join(one, two)
	one.connected(t, 2)
	two.connected(t, 1)
	await(t, "member 1 learns its own newest mark", func() bool {
		for _, s := range one.seen(2) {
			if s.Ours == (transport.Witnessed{Incarnation: raft.Incarnation{1}, Slot: 6, Mark: mark(6)}) && s.Peer.Mark == mark(9) && s.Peer.Incarnation == (raft.Incarnation{2}) {
				return true
			}
		}
		return false
	})
	one.edit(func(id *transport.Identity) { id.MarkSlot, id.Mark = 7, mark(7) })
	await(t, "member 2 witnesses the mark that member 1 has by now", func() bool {
		return two.Witness(1) == transport.Witnessed{Incarnation: raft.Incarnation{1}, Slot: 7, Mark: mark(7)}
	})
}

// testMarksOfCaller has a member that cannot call back: what it is told, it is told as the one that was called.
func testMarksOfCaller(t *testing.T, h Harness) {
	newest := raft.Mark{LastTerm: 3, Last: 30, Hash: [16]byte{3}}
	one := newNode(t, h, 1, "", func(id *transport.Identity) { id.MarkSlot = 8 })
	one.Recorder.Seen(transport.Identity{Member: 2, Incarnation: raft.Incarnation{2}, MarkSlot: 5, Mark: newest}, transport.Witnessed{})
	one.start(t)
	two := newNode(t, h, 2, "", nil).start(t)
	two.SetPeers([]transport.Peer{{ID: 1, Name: "n1"}, two.peer()})
	one.SetPeers([]transport.Peer{one.peer(), two.peer()})
	one.reaches(t, two)
	for _, s := range two.seen(1) {
		if s.Ours.Slot == 5 && s.Ours.Mark == newest && s.Peer.MarkSlot == 8 {
			return
		}
	}
	t.Fatalf("member 2 took messages and was told %+v", two.seen(1))
}

// testMarksOfAnotherIncarnation joins members that each remember a mark of the other's former directory.
func testMarksOfAnotherIncarnation(t *testing.T, h Harness) {
	former := func(id raft.MemberID) transport.Identity {
		return transport.Identity{Member: id, Incarnation: raft.Incarnation{99}, MarkSlot: 60, Mark: raft.Mark{LastTerm: 6, Last: 600}}
	}
	one, two := newNode(t, h, 1, "", nil), newNode(t, h, 2, "", nil)
	one.Recorder.Seen(former(2), transport.Witnessed{})
	two.Recorder.Seen(former(1), transport.Witnessed{})
	one.start(t)
	two.start(t)
	join(one, two)
	one.connected(t, 2) // by both classes and both ways: each was the caller, and the one that was called
	two.connected(t, 1)
	for _, n := range []*node{one, two} {
		for _, s := range n.seen(3 - n.id) {
			if s.Ours != (transport.Witnessed{}) {
				t.Errorf("member %s was told a mark of another incarnation: %+v", n.id, s.Ours)
			}
		}
		if len(n.seen(3-n.id)) < 3 { // the first is the memory itself
			t.Errorf("member %s shook hands %d times", n.id, len(n.seen(3-n.id))-1)
		}
	}
}
