package client

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// together has n goroutines lock and unlock a name of their own.
func together(t *testing.T, c *Client, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			l, err := c.Lock(t.Context(), fmt.Sprintf("lock/%d", i))
			if err != nil {
				t.Error(err)
				return
			}
			if err := l.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestConcurrentCallsShareMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	if _, err := c.session(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Script(func(Message) Fate { return Fate{Delay: 5 * time.Millisecond} })
	const n = 400
	together(t, c, n)
	single, batches := len(r.Seen("lock.acquire"))+len(r.Seen("lock.release")), r.Seen("batch")
	seqs := map[uint64]bool{} // a repeated message counts once
	for _, m := range batches {
		var b coorddv1.BatchRequest
		if err := unmarshal(m.Body, &b); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.GetCommands() {
			seqs[c.GetSeq()] = true
		}
		if len(b.GetCommands()) > batchCommands || len(m.Body) > batchBytes+4096 {
			t.Errorf("a batch of %d commands, %d bytes", len(b.GetCommands()), len(m.Body))
		}
	}
	if len(seqs) < 2*n-single || len(seqs) > 2*n || len(batches) > n/4 || single > n/4 {
		t.Errorf("%d commands in %d batches and %d alone", len(seqs), len(batches), single)
	}
}

// Batches and their answers get lost, come late, twice and are refused, and still each command is executed once.
func TestBatchesSurviveFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	first, err := c.Lock(t.Context(), "first")
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	fates := []Fate{{DropReply: true}, {}, {Twice: true}, {DropRequest: true}, {}, {NoResponders: true}, {Refuse: "BUSY"}, {}, {Delay: 300 * time.Millisecond}, {}, {Refuse: "TOO_LARGE"}}
	r.Script(func(m Message) Fate {
		if m.Verb != "batch" {
			return Fate{Delay: time.Millisecond}
		}
		return fates[int(n.Add(1)-1)%len(fates)]
	})
	for range 4 {
		together(t, c, 100)
	}
	r.Script(nil)
	last, err := c.Lock(t.Context(), "last")
	if err != nil {
		t.Fatal(err)
	}
	if got := last.Fence() - first.Fence(); got != 401 {
		t.Errorf("%d grants for 400 locks and one", got)
	}
	if len(r.Seen("batch")) < len(fates) {
		t.Errorf("only %d batches: not every fault came", len(r.Seen("batch")))
	}
}

// More calls than the window holds: they wait, and the oldest outstanding one does not block them for good.
func TestMoreCallsThanTheWindowHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t, WithTimeout(waitLimit))
	if _, err := c.session(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Script(only("lock.acquire", Fate{DropRequest: true}, Fate{DropRequest: true}))
	together(t, c, windowSize+500)
}

// A command that the service refuses does not take the others of its batch along.
func TestOneBadCommandDoesNotHurtTheOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	if _, err := c.session(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sent sync.Once
	busy := make(chan struct{})
	r.Script(func(m Message) Fate { // the first ones are slow, so that the rest becomes one batch
		if m.Verb == "lock.acquire" {
			sent.Do(func() { time.AfterFunc(50*time.Millisecond, func() { close(busy) }) })
			return Fate{Hold: busy}
		}
		return Fate{}
	})
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			md := map[string]string{}
			if i == 17 {
				md[""] = "an empty key"
			}
			l, err := c.Lock(t.Context(), fmt.Sprint("l", i), Meta(md))
			if i == 17 {
				if !errors.Is(err, ErrBadRequest) {
					t.Errorf("the bad one: %v", err)
				}
				return
			}
			if err != nil {
				t.Errorf("a good one: %v", err)
				return
			}
			_ = l.Unlock(t.Context())
		})
	}
	wg.Wait()
}

// A refusal of the whole message sends its commands one by one, and batches stay allowed.
func TestARefusedBatchGoesOneByOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.connect(t)
	s, err := c.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Script(func(m Message) Fate {
		if m.Verb == "batch" {
			return Fate{Refuse: "TOO_LARGE"}
		}
		return Fate{Delay: 2 * time.Millisecond}
	})
	together(t, c, 50)
	if len(r.Seen("batch")) == 0 {
		t.Error("there was no batch")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noBatch {
		t.Error("batches were given up")
	}
}

// restricted is a NATS server whose users may not send batches; admin may everything.
func restricted(t *testing.T, deny ...string) (*server.Server, *nats.Conn) {
	t.Helper()
	s, err := server.NewServer(&server.Options{ServerName: "front", Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, Users: []*server.User{
		{Username: "admin", Password: "pw"},
		{Username: "user", Password: "pw", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: deny}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(waitLimit) {
		t.Fatal("not ready")
	}
	admin, err := nats.Connect(s.ClientURL(), nats.UserInfo("admin", "pw"), nats.NoEcho())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	return s, admin
}

func TestWithoutPermissionForBatches(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprintf("own=%v", own), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			front, admin := restricted(t, "coord.v1.default.batch", "coord.v1.default.lock.acquire.secret")
			r.mu.Lock()
			r.out.Close()
			r.out = admin
			r.mu.Unlock()
			if err := r.Listen(); err != nil {
				t.Fatal(err)
			}
			var c *Client
			var err error
			if own {
				c, err = Connect(t.Context(), front.ClientURL(), WithNATSOptions(nats.UserInfo("user", "pw")))
			} else {
				var nc *nats.Conn
				if nc, err = nats.Connect(front.ClientURL(), nats.UserInfo("user", "pw"), nats.ReconnectBufSize(-1)); err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				c, err = New(nc)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.session(t.Context()); err != nil {
				t.Fatal(err)
			}
			together(t, c, 100)
			s, err := c.session(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			if !s.noBatch {
				t.Error("batches were not given up")
			}
			s.mu.Unlock()
			if _, err := c.Lock(t.Context(), "secret"); !errors.Is(err, ErrDenied) || errors.Is(err, ErrOutcomeUnknown) {
				t.Errorf("a forbidden lock: %v", err)
			}
		})
	}
	s, _ := restricted(t)
	start := time.Now()
	if _, err := Connect(t.Context(), s.ClientURL(), WithNATSOptions(nats.UserInfo("user", "wrong"))); !errors.Is(err, ErrDenied) || time.Since(start) > time.Minute {
		t.Errorf("wrong password: %v after %v", err, time.Since(start))
	}
}
