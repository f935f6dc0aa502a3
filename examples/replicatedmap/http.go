package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/raft/redirect"
)

const (
	patience      = 5 * time.Second // with one request
	maxValueBytes = 64 << 10
)

// onLeader are the requests that only the leader carries out.
var onLeader = []string{"PUT /map/", "DELETE /map/", "POST /members/", "DELETE /members/"}

// handler is a member's HTTP API, with what only the leader does sent there.
func (m *member) handler() http.Handler {
	return redirect.RedirectToLeader(m.routes(), onLeader, redirect.SourceFunc(m.leader))
}

func (m *member) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /map/{key...}", m.get)
	mux.HandleFunc("PUT /map/{key...}", m.put)
	mux.HandleFunc("DELETE /map/{key...}", m.delete)
	mux.HandleFunc("GET /members", m.members)
	mux.HandleFunc("POST /members/{id}/replace", m.change((*node.Node).ReplaceMember))
	mux.HandleFunc("DELETE /members/{id}", m.change(removeMember))
	mux.HandleFunc("POST /resign", m.do((*node.Node).Resign))
	mux.HandleFunc("POST /snapshot", m.do((*node.Node).Compact))
	mux.HandleFunc("GET /ready", m.ready)
	return mux
}

// leader says where the leader is: each member's URL stands in its metadata, which the configuration carries.
func (m *member) leader() (redirect.Leader, bool) {
	s := m.node.Status()
	leader, _ := inEffect(&s).Member(s.Leader)
	return redirect.Leader{Self: s.Leader == s.ID, URL: leader.Metadata["http"]}, s.Leader != 0
}

func inEffect(s *node.Status) raft.Configuration {
	if s.Proposed != nil {
		return *s.Proposed
	}
	return s.Active
}

// readModes are what ?read= may say.
var readModes = map[string]node.ReadMode{"": node.Linearizable, "lease": node.Lease, "stale": node.Stale}

// get answers from the state of this member, leader or not. By default the answer is linearizable: it shows all that was
// committed before the request. ?read=lease saves a leader with a lease the round of messages for that; ?read=stale
// takes what there is and says how old it may be.
func (m *member) get(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	mode, ok := readModes[r.URL.Query().Get("read")]
	if !ok {
		http.Error(w, "read is lease, stale, or nothing", http.StatusBadRequest)
		return
	}
	seen, err := m.node.Read(ctx, mode) // first the permission, then the look
	if err != nil {
		notDone(w, err) // a read may always be repeated
		return
	}
	value, ok := m.state.Get(r.PathValue("key"))
	w.Header().Set("Index", strconv.FormatUint(seen.Index, 10))
	w.Header().Set("Older-By", seen.Age.String())
	if !ok {
		http.Error(w, "no such key", http.StatusNotFound)
		return
	}
	w.Write(value)
}

func (m *member) put(w http.ResponseWriter, r *http.Request) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValueBytes))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	m.write(w, r, command{Op: "put", Key: r.PathValue("key"), Value: value})
}

func (m *member) delete(w http.ResponseWriter, r *http.Request) {
	m.write(w, r, command{Op: "delete", Key: r.PathValue("key")})
}

// write proposes a command and answers with its outcome.
func (m *member) write(w http.ResponseWriter, r *http.Request, c command) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if c.Client = r.Header.Get("Client"); c.Client != "" {
		var err error
		if c.Sequence, err = strconv.ParseUint(r.Header.Get("Sequence"), 10, 64); err != nil {
			http.Error(w, "a Client needs a Sequence, a number that grows with each write", http.StatusBadRequest)
			return
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	result, err := m.node.Propose(ctx, data)
	if err != nil {
		failed(w, err)
		return
	}
	o := result.Value.(outcome)
	if o.Stale {
		http.Error(w, "this Client has written with a higher Sequence", http.StatusConflict)
		return
	}
	answer(w, o)
}

// failed tells apart what was certainly not done, and may be sent again, from what may have been done: that may be sent
// again under the same Client and Sequence alone.
func failed(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrBusy), errors.Is(err, node.ErrStopped):
		notDone(w, err)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		http.Error(w, err.Error(), http.StatusGatewayTimeout)
	default:
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

func notDone(w http.ResponseWriter, err error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func (m *member) ready(w http.ResponseWriter, r *http.Request) {
	select {
	case <-m.node.Ready():
		fmt.Fprintln(w, "ready")
	default:
		notDone(w, errors.New("not ready"))
	}
}

// do has the node do something, and answers when it is done.
func (m *member) do(what func(*node.Node, context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		if err := what(m.node, ctx); err != nil {
			failed(w, err)
		}
	}
}
