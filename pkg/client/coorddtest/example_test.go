package coorddtest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coordd/coordd/pkg/client"
	"github.com/coordd/coordd/pkg/client/coorddtest"
)

// start stands for coorddtest.New(t) in a test.
func start(opts ...coorddtest.Option) *coorddtest.Server {
	s, err := coorddtest.Start(opts...)
	if err != nil {
		panic(err)
	}
	return s
}

func ExampleServer_Advance() {
	s := start() // in a test: coorddtest.New(t)
	defer s.Close()
	ctx := context.Background()

	l, err := s.Client().Lock(ctx, "orders/42")
	if err != nil {
		panic(err)
	}
	s.Advance(time.Hour)
	fmt.Println(s.Now(), l.Valid())
	// Output: 1h0m0s <nil>
}

func ExampleServer_ExpireClient() {
	s := start()
	defer s.Close()
	ctx := context.Background()

	c := s.Client()
	l, err := c.Lock(ctx, "orders/42")
	if err != nil {
		panic(err)
	}
	s.ExpireClient(c)
	fmt.Println(context.Cause(l.Context()) == client.ErrSessionExpired)
	// Output: true
}

func ExampleServer_Pause() {
	s := start()
	defer s.Close()
	ctx := context.Background()

	a, b := s.Client(), s.Client()
	first, err := a.Lock(ctx, "table")
	if err != nil {
		panic(err)
	}
	wake := s.Pause(a) // as by SIGSTOP
	s.Advance(20 * time.Second)
	second, err := b.TryLock(ctx, "table")
	if err != nil {
		panic(err)
	}
	fmt.Println("asleep, it believes that it holds the lock:", first.Valid() == nil)
	wake()
	fmt.Println("awake, it doesn't:", first.Valid() != nil, second.Fence() > first.Fence())
	// Output:
	// asleep, it believes that it holds the lock: true
	// awake, it doesn't: true true
}

func ExampleServer_PauseClient() {
	s := start()
	defer s.Close()
	ctx := context.Background()

	c := s.Client(client.WithTTL(10 * time.Second))
	l, err := c.Lock(ctx, "table")
	if err != nil {
		panic(err)
	}
	s.PauseClient(c, 3*time.Second)
	fmt.Println("after 3 s:", l.Valid())
	s.PauseClient(c, 15*time.Second)
	fmt.Println("after 15 s:", l.Valid())
	// Output:
	// after 3 s: <nil>
	// after 15 s: session has expired
}

func ExampleServer_DropReply() {
	s := start()
	defer s.Close()
	ctx := context.Background()

	c := s.Client()
	s.DropReply(1, coorddtest.Verb("lock.acquire"))
	l, err := c.Lock(ctx, "orders/42") // executed; its answer is lost; asked again: the same answer
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Fence(), s.Now() > 0)
	// Output: 1 true
}

func ExampleServer_DuplicateRequest() {
	s := start()
	defer s.Close()
	ctx := context.Background()

	c := s.Client()
	l, err := c.Lock(ctx, "orders/42")
	if err != nil {
		panic(err)
	}
	s.DuplicateRequest(1, coorddtest.Verb("lock.release"), coorddtest.Named("orders/42"))
	fmt.Println(l.Unlock(ctx)) // the second one frees nobody's lock
	// Output: <nil>
}

func ExampleServer_Failover() {
	s := start()
	defer s.Close()
	ctx := context.Background()

	l, err := s.Client().Lock(ctx, "orders/42")
	if err != nil {
		panic(err)
	}
	s.Failover()
	fmt.Println(l.Verify(ctx))
	// Output: <nil>
}

func ExampleServer_Outage() {
	s := start()
	defer s.Close()
	ctx := context.Background()

	l, err := s.Client(client.WithTTL(5*time.Second)).Lock(ctx, "orders/42")
	if err != nil {
		panic(err)
	}
	s.Outage(4 * time.Second)
	fmt.Println("after 4 s:", l.Valid())
	s.Outage(10 * time.Second)
	fmt.Println("after 10 s:", l.Valid())
	// Output:
	// after 4 s: <nil>
	// after 10 s: session has expired
}

func ExampleServer_AwaitQueued() {
	s := start()
	defer s.Close()
	ctx := context.Background()

	a, b := s.Client(), s.Client()
	l, err := a.Lock(ctx, "orders/42")
	if err != nil {
		panic(err)
	}
	done := make(chan error)
	go func() {
		_, err := b.Lock(ctx, "orders/42", client.Wait(time.Minute))
		done <- err
	}()
	s.AwaitQueued("orders/42", 1)
	s.Advance(time.Minute)
	fmt.Println(errors.Is(<-done, client.ErrWaitTimeout))
	_ = l.Unlock(ctx)
	// Output: true
}

func ExampleFlowing() {
	s := start(coorddtest.Flowing())
	defer s.Close()
	ctx := context.Background()

	if _, err := s.Client().Lock(ctx, "orders/42"); err != nil {
		panic(err)
	}
	_, err := s.Client().Lock(ctx, "orders/42", client.Wait(10*time.Millisecond))
	fmt.Println(errors.Is(err, client.ErrWaitTimeout))
	// Output: true
}
