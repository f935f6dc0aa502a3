//go:build net

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/pkg/client"
)

// readEvery is how often a reader asks.
const readEvery = 20 * time.Millisecond

// readers ask for locks, one through each node's NATS server and never through another one: whoever is cut off is asked too, and
// may answer what is true or nothing.
type readers struct {
	t    *testing.T
	w    *workload
	seen atomic.Int64
}

func (r *readers) run(ctx context.Context, id int, nc *nats.Conn) {
	for ; ctx.Err() == nil; pause(ctx, readEvery) {
		name, _ := r.w.pick()
		call := r.w.hist.now()
		msg, err := nc.Request("coord.v1.default.lock.get."+name, []byte("{}"), time.Second)
		if err != nil || msg.Header.Get("Nats-Service-Error-Code") != "" {
			continue
		}
		var reply struct {
			Lock struct {
				State   string `json:"state"`
				Holders []struct {
					Fence uint64 `json:"fence,string"`
				} `json:"holders"`
			} `json:"lock"`
		}
		if err := json.Unmarshal(msg.Data, &reply); err != nil {
			r.t.Errorf("a read answered %s: %v", msg.Data, err)
			continue
		}
		in := lockInput{lock: name, kind: opRead}
		switch holders := reply.Lock.Holders; {
		case len(holders) > 1:
			r.t.Errorf("%s has more than one holder: %s", name, msg.Data)
			continue
		case len(holders) == 1:
			in.fence = holders[0].Fence
		case reply.Lock.State != "FREE":
			r.t.Errorf("%s is not free and has no holder: %s", name, msg.Data)
			continue
		}
		r.seen.Add(1)
		r.w.hist.add(netClients+id, in, call, r.w.hist.now())
	}
}

// marks are writes that must still be there at the end, acknowledged in the middle of every fault: sequences that are made and
// never touched again.
type marks struct {
	t    *testing.T
	w    *workload
	c    *client.Client
	made []string
}

func newMarks(t *testing.T, w *workload) *marks {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := w.connect(ctx, "marks")
	if err != nil {
		t.Fatal(err)
	}
	return &marks{t: t, w: w, c: c}
}

// first is where the i-th sequence begins.
func (m *marks) first(i int) int64 { return int64(1000 + 7*i) }

func (m *marks) run(ctx context.Context) {
	defer m.c.Close()
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("mark-%d", i)
		cctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, err := m.c.Sequence(cctx, name, client.Start(m.first(i)))
		cancel()
		if err != nil {
			name = "" // unknown: it may be there or not
			m.w.fail("mark: " + short(err))
		}
		m.made = append(m.made, name)
		pause(ctx, 250*time.Millisecond)
	}
}

// check returns how many of them are lost.
func (m *marks) check(r *netRun) (lost int) {
	known := 0
	for i, name := range m.made {
		if name == "" {
			continue
		}
		known++
		var reply struct {
			Sequence struct {
				Next int64 `json:"next,string"`
			} `json:"sequence"`
		}
		ask(m.t, r.ctl[r.c.nodes[0].name], "coord.v1.default.id.get."+name, "{}", &reply)
		if reply.Sequence.Next != m.first(i) {
			lost++
			m.t.Errorf("%s was made to begin at %d, and is at %d", name, m.first(i), reply.Sequence.Next)
		}
	}
	m.t.Logf("marks: %d acknowledged writes looked for at the end, %d lost", known, lost)
	return lost
}
