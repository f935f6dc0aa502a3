package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/client"
	"github.com/coordd/coordd/pkg/client/coorddtest"
)

// service is what all examples share. Its time flows as the machine's does.
var service = sync.OnceValue(func() *coorddtest.Server {
	s, err := coorddtest.Start(coorddtest.Flowing())
	if err != nil {
		log.Fatal(err)
	}
	client.StopExamples = func() { _ = s.Close() }
	return s
})

// connect stands for client.Connect(ctx, "nats://127.0.0.1:4222", …) in the examples.
func connect(ctx context.Context, opts ...client.Option) *client.Client {
	c, err := client.Connect(ctx, coorddtest.URL, append(service().Options(), opts...)...)
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func ExampleConnect() {
	ctx := context.Background()
	url, opts := coorddtest.URL, service().Options() // elsewhere: "nats://127.0.0.1:4222", and no such options
	c, err := client.Connect(ctx, url, append(opts, client.WithNamespace("billing"), client.WithOwner("worker-7"))...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("close:", c.Close())
	// Output: close: <nil>
}

func ExampleClient_Lock() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	l, err := c.Lock(ctx, "orders/42") // waits; ctx bounds the wait only
	if err != nil {
		log.Fatal(err)
	}
	defer l.Unlock(context.WithoutCancel(ctx))
	fmt.Println(l.Name(), l.Fence() > 0, l.Context().Err())
	// Output: orders/42 true <nil>
}

func ExampleClient_TryLock() {
	ctx := context.Background()
	a, b := connect(ctx, client.WithOwner("worker-1")), connect(ctx)
	defer a.Close()
	defer b.Close()

	l, err := a.TryLock(ctx, "reports")
	if err != nil {
		log.Fatal(err)
	}
	_, err = b.TryLock(ctx, "reports")
	var locked *client.LockedError
	if errors.As(err, &locked) {
		fmt.Println("held by", locked.Holder, locked.Fence == l.Fence())
	}
	// Output: held by worker-1 true
}

func ExampleClient_Do() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	err := c.Do(ctx, "invoices", func(ctx context.Context, l *client.Lock) error {
		// ctx ends before the lock can be someone else's; the fence goes along with each write.
		fmt.Println("working under", l.Name())
		return nil
	})
	fmt.Println(err)
	// Output:
	// working under invoices
	// <nil>
}

func ExampleWait() {
	ctx := context.Background()
	a, b := connect(ctx), connect(ctx)
	defer a.Close()
	defer b.Close()

	if _, err := a.Lock(ctx, "slow"); err != nil {
		log.Fatal(err)
	}
	_, err := b.Lock(ctx, "slow", client.Wait(50*time.Millisecond), client.Meta(map[string]string{"job": "nightly"}))
	fmt.Println(errors.Is(err, client.ErrWaitTimeout))
	// Output: true
}

func ExampleLock_Unlock() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	l, err := c.Lock(ctx, "once")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Unlock(ctx), l.Unlock(ctx)) // by fence: the second one can't free the next holder's lock
	fmt.Println(l.Valid(), "-", context.Cause(l.Context()))
	// Output:
	// <nil> <nil>
	// lock was released - lock was released
}

func ExampleLock_Verify() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	l, err := c.Lock(ctx, "verified")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("by the clock:", l.Valid(), "- by the service:", l.Verify(ctx))
	// Output: by the clock: <nil> - by the service: <nil>
}

func ExampleClient_Locker() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	mu := c.Locker("shared") // a sync.Locker that blocks through outages
	mu.Lock()
	fmt.Println("alone in the cluster")
	mu.Unlock()
	// Output: alone in the cluster
}

func ExampleClient_NewSession() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	s, err := c.NewSession(ctx, client.WithTTL(30*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	l, err := s.Lock(ctx, "mine")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Err(), s.Close(ctx), l.Valid()) // Close releases all that the session holds
	// Output: <nil> <nil> lock was released
}

func ExampleClient_ResumeSession() {
	ctx := context.Background()
	before, after := connect(ctx), connect(ctx)
	defer before.Close()
	defer after.Close()

	s, err := before.NewSession(ctx)
	if err != nil {
		log.Fatal(err)
	}
	l, err := s.Lock(ctx, "kept")
	if err != nil {
		log.Fatal(err)
	}
	token, err := s.Token().MarshalText() // a secret: write it where only the next process can read it
	if err != nil {
		log.Fatal(err)
	}

	var t client.Token
	if err := t.UnmarshalText(token); err != nil {
		log.Fatal(err)
	}
	resumed, err := after.ResumeSession(ctx, t)
	if err != nil {
		log.Fatal(err)
	}
	for _, taken := range resumed.Locks() {
		fmt.Println(taken.Name(), "has a new fence:", taken.Fence() > l.Fence())
	}
	// Output: kept has a new fence: true
}

func ExampleClient_Sequence() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	seq, err := c.Sequence(ctx, "orders") // made with defaults if absent
	if err != nil {
		log.Fatal(err)
	}
	n, err := seq.Next(ctx) // out of a leased range: about one atomic addition
	if err != nil {
		log.Fatal(err)
	}
	more, err := seq.NextN(ctx, 3)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, more)
	// Output: 1 [2 3 4]
}

func ExampleStrict() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	seq, err := c.Sequence(ctx, "tickets", client.Strict(), client.Start(1000), client.Step(10))
	if err != nil {
		log.Fatal(err)
	}
	ns, err := seq.NextN(ctx, 3)
	fmt.Println(ns, err)
	// Output: [1000 1010 1020] <nil>
}

func ExampleSequence_Block() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	seq, err := c.Sequence(ctx, "rows")
	if err != nil {
		log.Fatal(err)
	}
	b := seq.Block(256) // for one goroutine
	for range 3 {
		n, err := b.Next(ctx)
		fmt.Println(n, err)
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 3 <nil>
}

func ExampleSequence_Reserve() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	seq, err := c.Sequence(ctx, "pages")
	if err != nil {
		log.Fatal(err)
	}
	r, err := seq.Reserve(ctx, 100) // exactly as many, in one run
	fmt.Println(r.Lo, r.Count, err)
	// Output: 1 100 <nil>
}

func ExampleClient_NewUUID() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	id, err := c.NewUUID(ctx)
	fmt.Println(id.Version(), len(id.String()), err)
	// Output: 8 36 <nil>
}
