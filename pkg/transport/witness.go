package transport

import "github.com/coordd/coordd/pkg/raft"

// Witnessed is a mark of a member that another node saw, and the data directory that showed it. Each
// directory counts its slots for itself, so slot and mark mean something for that one only.
type Witnessed struct {
	Incarnation raft.Incarnation // of the directory that showed the mark
	Slot        uint64           // of the mark; 0: none was seen
	Mark        raft.Mark
}

// Of returns what was witnessed of a directory, and nothing if it was another directory that was seen:
// what a member's former directory wrote is no debt of a fresh one with the same name and address. Every
// transport passes what a peer says of its own node through it before Handler.Seen.
func (w Witnessed) Of(incarnation raft.Incarnation) Witnessed {
	if w.Incarnation != incarnation {
		return Witnessed{}
	}
	return w
}
