package node

import (
	"testing"

	"github.com/coordd/coordd/pkg/raft"
)

func TestInboxBounds(t *testing.T) {
	t.Parallel()
	entry := raft.Entry{Data: make([]byte, 52)} // 100 bytes with its overhead
	b := newInbox(Limits{Messages: 4, MessageBytes: 250, Proposals: 3, ProposalBytes: 1000})
	for range 3 {
		b.receive(raft.Message{Type: raft.MsgAppend, Entries: []raft.Entry{entry}})
	}
	for range 5 {
		b.receive(raft.Message{Type: raft.MsgHeartbeat})
	}
	for range 5 {
		b.propose(proposal{data: make([]byte, 10)})
	}
	var in inputs
	b.take(&in)
	if len(in.bulk) != 2 || len(in.control) != 4 || in.dropped != 2 {
		t.Errorf("%d bulk, %d control, %d dropped; want 2, 4, 2", len(in.bulk), len(in.control), in.dropped)
	}
	if len(in.proposals) != 3 || len(in.refused) != 2 {
		t.Errorf("%d proposals and %d refused by count, want 3 and 2", len(in.proposals), len(in.refused))
	}
	for range 3 {
		b.propose(proposal{data: make([]byte, 600)})
	}
	b.take(&in)
	if len(in.proposals) != 1 || len(in.refused) != 2 {
		t.Errorf("%d proposals and %d refused by bytes, want 1 and 2", len(in.proposals), len(in.refused))
	}
	b.propose(proposal{data: make([]byte, 2000)}) // alone it is the core's to judge
	b.refuse()
	if b.propose(proposal{}) {
		t.Error("a proposal came in after refuse")
	}
	b.take(&in)
	if len(in.proposals) != 1 || len(in.bulk)+len(in.control)+in.dropped != 0 {
		t.Errorf("left: %+v", in)
	}
	b.close()
	if b.put(func(*inputs) {}) {
		t.Error("something came in after close")
	}
}
