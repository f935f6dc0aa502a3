package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/coordd/coordd/pkg/client"
)

func ExampleClient_RLock() {
	ctx := context.Background()
	a, b := connect(ctx), connect(ctx)
	defer a.Close()
	defer b.Close()

	one, err := a.RLock(ctx, "catalogue")
	if err != nil {
		log.Fatal(err)
	}
	two, err := b.TryRLock(ctx, "catalogue") // readers share
	if err != nil {
		log.Fatal(err)
	}
	_, err = b.TryLock(ctx, "catalogue") // and keep writers out
	var locked *client.LockedError
	fmt.Println(one.Fence() != two.Fence(), errors.As(err, &locked))
	// Output: true true
}

func ExampleClient_LockAll() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	both, err := c.LockAll(ctx, "account/1", "account/2") // in any order: there is no deadlock
	if err != nil {
		log.Fatal(err)
	}
	defer both.Unlock(context.WithoutCancel(ctx))
	fmt.Println(both.Names(), both.Fence("account/1") > 0, both.Fence("account/2") > 0, both.Context().Err())
	// Output: [account/1 account/2] true true <nil>
}

func ExampleReentrant() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	err := c.Do(ctx, "tree", func(ctx context.Context, outer *client.Lock) error {
		// ctx comes from the lock: whatever is called with it enters the lock once more.
		return c.Do(ctx, "tree", func(_ context.Context, inner *client.Lock) error {
			fmt.Println("the same hold:", inner.Fence() == outer.Fence())
			return nil
		}, client.Reentrant())
	})
	fmt.Println(err)
	// Output:
	// the same hold: true
	// <nil>
}

func ExampleMaxHold() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	l, err := c.Lock(ctx, "slot", client.MaxHold(time.Second), client.Delay(0))
	if err != nil {
		log.Fatal(err)
	}
	<-l.Context().Done()
	fmt.Println(context.Cause(l.Context()))
	// Output: lock was lost
}

func ExampleClient_Semaphore() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	pool := c.Semaphore("connections", 5)
	l, err := pool.Acquire(ctx, 3)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Unlock(context.WithoutCancel(ctx))
	_, err = pool.TryAcquire(ctx, 3)
	var locked *client.LockedError
	fmt.Println("three more:", errors.As(err, &locked))
	// Output: three more: true
}

func ExampleElection_Campaign() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	lead, err := c.Election("reports").Campaign(ctx, []byte("10.0.0.7:8080"))
	if err != nil {
		log.Fatal(err)
	}
	defer lead.Resign(context.WithoutCancel(ctx))
	if err := lead.Proclaim(ctx, []byte("10.0.0.7:9090")); err != nil {
		log.Fatal(err)
	}
	now, err := c.Election("reports").Leader(ctx)
	fmt.Println(string(now.Value), now.Fence == lead.Fence(), err)
	// Output: 10.0.0.7:9090 true <nil>
}

func ExampleElection_Observe() {
	ctx := context.Background()
	a, b := connect(ctx), connect(ctx)
	defer a.Close()
	defer b.Close()

	for l, err := range b.Election("observed").Observe(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if l.Fence != 0 {
			fmt.Println("the leader is at", string(l.Value))
			break
		}
		fmt.Println("nobody leads")
		if _, err := a.Election("observed").Campaign(ctx, []byte("a")); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// nobody leads
	// the leader is at a
}

func ExampleLeadership_HandOver() {
	ctx := context.Background()
	a, b := connect(ctx), connect(ctx)
	defer a.Close()
	defer b.Close()

	lead, err := a.Election("handed-over").Campaign(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	next := make(chan *client.Leadership)
	go func() {
		l, err := b.Election("handed-over").Campaign(ctx, nil)
		if err != nil {
			log.Fatal(err)
		}
		next <- l
	}()
	for {
		info, err := a.LockInfo(ctx, "handed-over")
		if err != nil {
			log.Fatal(err)
		}
		if len(info.Queue) > 0 {
			if err := lead.HandOver(ctx, info.Queue[0].Session); err != nil {
				log.Fatal(err)
			}
			break
		}
	}
	fmt.Println("a newer fence:", (<-next).Fence() > lead.Fence())
	// Output: a newer fence: true
}

func ExampleClient_Barrier() {
	ctx := context.Background()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			c := connect(ctx)
			defer c.Close()
			if err := c.Barrier("start", 3).Wait(ctx); err != nil {
				log.Fatal(err)
			}
		})
	}
	wg.Wait()
	fmt.Println("all three were there")
	// Output: all three were there
}

func ExampleClient_Latch() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	l := c.Latch("migrated")
	if err := l.Set(ctx, 2); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		if err := l.CountDown(ctx, 1); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(l.Wait(ctx))
	// Output: <nil>
}

func ExampleClient_RWLocker() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	var mu *client.RWLocker = c.RWLocker("settings")
	mu.RLock()
	fmt.Println("a writer beside a reader:", mu.TryLock())
	mu.RUnlock()
	mu.Lock()
	defer mu.Unlock()
	fmt.Println("a reader beside a writer:", mu.TryRLock())
	// Output:
	// a writer beside a reader: false
	// a reader beside a writer: false
}

func ExampleClient_Watch() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	done := make(chan struct{})
	defer func() { <-done }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	go func() { // uses the lock, again and again, until somebody saw it
		defer close(done)
		for ctx.Err() == nil {
			_ = c.Do(ctx, "watched", func(context.Context, *client.Lock) error { return nil })
		}
	}()
	for t, err := range c.Watch(ctx, "watched") {
		if err != nil {
			log.Fatal(err)
		}
		if t.Kind == client.TransitionGranted {
			fmt.Println("granted", t.Lock, t.Fence > 0)
			cancel()
			break
		}
	}
	// Output: granted watched true
}

func ExampleClient_Why() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()

	if err := c.Do(ctx, "asked-about", func(context.Context, *client.Lock) error { return nil }); err != nil {
		log.Fatal(err)
	}
	h, err := c.Why(ctx, "asked-about")
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range h.Timeline {
		fmt.Println(t.Number, t.Kind)
	}
	fmt.Println(h.Lock.State)
	// Output:
	// 1 GRANTED
	// 2 RELEASED
	// FREE
}

func ExampleClient_ListLocks() {
	ctx := context.Background()
	c := connect(ctx, client.WithOwner("lister"))
	defer c.Close()

	set, err := c.LockAll(ctx, "listed/2", "listed/1")
	if err != nil {
		log.Fatal(err)
	}
	defer set.Unlock(context.WithoutCancel(ctx))
	for l, err := range c.ListLocks(ctx, "listed/") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Name, l.State, l.Holders[0].Owner)
	}
	for s, err := range c.ListSessions(ctx, "lister") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.Owner, s.Holds)
	}
	// Output:
	// listed/1 HELD lister
	// listed/2 HELD lister
	// lister 2
}
