package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// memberInfo is what /members says of one member.
type memberInfo struct {
	ID      raft.MemberID `json:"id"`
	Name    string        `json:"name"`
	Address string        `json:"address"`
	HTTP    string        `json:"http,omitempty"`
	Learner bool          `json:"learner,omitempty"`
	Leader  bool          `json:"leader,omitempty"`
	self
	Error string `json:"error,omitempty"` // why it did not answer
}

// self is what a member says of itself.
type self struct {
	Applied  uint64 `json:"applied"`
	Snapshot uint64 `json:"snapshot"`
	First    uint64 `json:"first"` // the log begins here
	Keys     int    `json:"keys"`
}

// answer is called when another member asks with Request. There is one question, so nobody looks at it.
func (m *member) answer(context.Context, raft.MemberID, []byte) ([]byte, error) {
	s := m.node.Status()
	info := self{Applied: s.Applied, First: s.First, Keys: m.state.Len()}
	if s.Snapshot != nil {
		info.Snapshot = s.Snapshot.Index
	}
	return json.Marshal(info)
}

// members lists the configuration in effect, and asks each member how far it is.
func (m *member) members(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience/5) // one that is down does not answer
	defer cancel()
	s := m.node.Status()
	var list []*memberInfo
	var asking sync.WaitGroup
	for _, o := range inEffect(&s).Members {
		info := &memberInfo{ID: o.ID, Name: o.Name, Address: o.Address, HTTP: o.Metadata["http"], Learner: o.Learner, Leader: o.ID == s.Leader}
		list = append(list, info)
		asking.Go(func() {
			body, err := m.node.Request(ctx, o.ID, nil)
			if err == nil {
				err = json.Unmarshal(body, &info.self)
			}
			if err != nil {
				info.Error = err.Error()
			}
		})
	}
	asking.Wait()
	answer(w, list)
}

// change serves a change of one member. It answers when the change is committed.
func (m *member) change(what func(n *node.Node, ctx context.Context, id raft.MemberID, address string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
		if err != nil {
			http.Error(w, "a member's ID is its port", http.StatusBadRequest)
			return
		}
		if err := what(m.node, ctx, raft.MemberID(id), ""); err != nil {
			failed(w, err)
		}
	}
}

func removeMember(n *node.Node, ctx context.Context, id raft.MemberID, _ string) error {
	return n.RemoveMember(ctx, id)
}
