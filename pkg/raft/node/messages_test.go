package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coordd/coordd/internal/allocs"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

func TestMembersTalk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3)
		heard := make(chan string, 10)
		c.change = func(cfg *Config) {
			cfg.OnRequest = func(_ context.Context, from raft.MemberID, body []byte) ([]byte, error) {
				if string(body) == "fail" {
					return nil, errors.New("told to fail")
				}
				return fmt.Appendf(nil, "%d to %d: %s", from, cfg.ID, body), nil
			}
			cfg.OnNotify = func(from raft.MemberID, body []byte) { heard <- fmt.Sprintf("%d to %d: %s", from, cfg.ID, body) }
		}
		c.start()
		defer c.stop()
		l := c.leader()
		f := c.others(l)[0]
		c.barrier(f)
		for _, q := range []struct {
			ask  func() ([]byte, error)
			want string
		}{
			{func() ([]byte, error) { return f.Request(c.ctx(), l.id, []byte("a")) }, fmt.Sprintf("%d to %d: a", f.id, l.id)},
			{func() ([]byte, error) { return f.Request(c.ctx(), f.id, []byte("b")) }, fmt.Sprintf("%d to %d: b", f.id, f.id)},
			{func() ([]byte, error) { return f.RequestLeader(c.ctx(), []byte("c")) }, fmt.Sprintf("%d to %d: c", f.id, l.id)},
			{func() ([]byte, error) { return l.RequestLeader(c.ctx(), nil) }, fmt.Sprintf("%d to %d: ", l.id, l.id)},
		} {
			if got, err := q.ask(); err != nil || string(got) != q.want {
				t.Errorf("%q, %v, want %q", got, err, q.want)
			}
		}
		for _, to := range []raft.MemberID{l.id, f.id} {
			var remote *transport.RemoteError
			if _, err := f.Request(c.ctx(), to, []byte("fail")); !errors.As(err, &remote) || !strings.Contains(remote.Text, "told to fail") {
				t.Errorf("an error of the handler: %v", err)
			}
			if err := f.Notify(to, []byte("n")); err != nil {
				t.Error(err)
			}
			if got, want := <-heard, fmt.Sprintf("%d to %d: n", f.id, to); got != want {
				t.Errorf("notified %q, want %q", got, want)
			}
		}
		if _, err := f.Request(c.ctx(), 77, nil); !errors.Is(err, transport.ErrUnknownPeer) {
			t.Errorf("a request to a stranger: %v", err)
		}
		// Without a leader RequestLeader waits for one.
		c.net.Isolate(f.id)
		<-f.ConsensusContext().Done()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.RequestLeader(ctx, nil); !errors.Is(err, raft.ErrNotLeader) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a request to no leader: %v", err)
		}
		c.net.HealAll()
		if _, err := f.RequestLeader(c.ctx(), nil); err != nil {
			t.Error(err)
		}
	})
}

// What another node sends is read with care.
func TestMalformedFramesAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 3)
		v.start()
		defer v.stop()
		l := v.leader()
		f := v.others(l)[0]
		v.barrier(f)
		good := chunk{term: l.Status().Term, size: 10, meta: raft.SnapshotMeta{Index: 1, Term: 1, Config: l.Status().Active}}
		whole := good.encode()
		bodies := [][]byte{{}, {99}, {byte(frameChunk)}, {byte(frameAnnounce), '{'}, append(whole, make([]byte, 11)...)}
		for i := 1; i < len(whole); i += 7 {
			bodies = append(bodies, whole[:i])
		}
		for _, b := range bodies {
			if _, err := (handler{f.Node}).Requested(t.Context(), l.id, b); err == nil {
				t.Errorf("taken: %x", b)
			}
		}
		if b, err := (handler{f.Node}).Requested(t.Context(), l.id, []byte{byte(frameOrder), 'x'}); err != nil {
			t.Error(err)
		} else if _, err := readVerdict(b); err == nil {
			t.Error("an unknown order was carried out")
		}
		stale := good
		stale.term = 0
		if _, err := (handler{f.Node}).Requested(t.Context(), l.id, stale.encode()); err == nil {
			t.Error("a snapshot of a term that is over was taken")
		}
		if f.Err() != nil {
			t.Errorf("the node ended: %v", f.Err())
		}
	})
}

func FuzzChunk(f *testing.F) {
	c := chunk{term: 3, session: 4, size: 100, offset: 10, data: []byte("data"),
		meta: raft.SnapshotMeta{Index: 7, Term: 2, ConfigIndex: 1, Config: raft.Configuration{Members: []raft.Member{{ID: 1}}}}}
	f.Add(c.encode()[1:])
	f.Add([]byte{})
	for _, n := range []int64{0, 1, 4096} { // a question where to begin, and data up to the end and beyond it
		for over := range int64(2) {
			c.data, c.size, c.offset = make([]byte, n), maxFileBytes, maxFileBytes-n+over
			f.Add(c.encode()[1:])
		}
	}
	c.data, c.size, c.offset, c.term, c.session = nil, maxFileBytes+1, 0, 1<<63, 1<<63
	f.Add(c.encode()[1:])
	c.size, c.incarnation = 0, raft.Incarnation{1, 15: 2}
	f.Add(c.encode()[1:])
	f.Add(c.encode()[1 : len(c.encode())-1])
	// A description that is said to be far longer than the chunk.
	f.Add(append(make([]byte, 2+16+2), 0xff, 0xff, 0xff, 0xff, 0x7f))
	f.Fuzz(func(t *testing.T, b []byte) {
		allocs.Within(t, len(b), 256<<10, 64, func() {
			if _, err := decodeChunk(b); err != nil && (!errors.Is(err, errFrame) || len(err.Error()) < 8) {
				t.Fatalf("an error that says too little: %q", err)
			}
		})
		c, err := decodeChunk(b)
		if err != nil {
			return
		}
		if c.offset < 0 || c.size < 0 || c.offset+int64(len(c.data)) > c.size {
			t.Fatalf("taken: %+v", c)
		}
		again, err := decodeChunk(c.encode()[1:])
		if err != nil || again.meta.Mark() != c.meta.Mark() || again.offset != c.offset || again.size != c.size || again.term != c.term ||
			again.session != c.session || again.incarnation != c.incarnation || !bytes.Equal(again.data, c.data) || !cmp.Equal(again.meta, c.meta) {
			t.Fatalf("%+v became %+v, %v", c, again, err)
		}
	})
}
