// Locks shows each of coordd's primitives in a few lines, against a cluster:
//
//	go run ./cmd/coordd dev                 # in another terminal
//	go run ./examples/locks exclusive       # or shared, semaphore, election, barrier, latch, all, reentrant, deadlock
//
// Two need no cluster, as they bring one with a clock that they move:
//
//	go run ./examples/locks paused          # what a fence is for
//	go run ./examples/locks lost            # how a holder learns that its lock is gone
//
// docs/locks.md explains what is seen.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coordd/coordd/pkg/client"
)

// demos are what can be asked for.
var demos = map[string]func(context.Context, *client.Client, io.Writer) error{
	"exclusive": exclusive, "shared": shared, "semaphore": semaphore, "election": election, "barrier": barrier,
	"latch": latch, "all": all, "reentrant": reentrant, "deadlock": deadlock,
}

// alone are those that bring their own cluster.
var alone = map[string]func(context.Context, io.Writer) error{"paused": paused, "lost": lost}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if len(args) == 1 && alone[args[0]] != nil {
		return alone[args[0]](ctx, out)
	}
	if len(args) != 1 || demos[args[0]] == nil {
		return fmt.Errorf("usage: locks %s", strings.Join(names(), "|"))
	}
	url := os.Getenv("COORDD_NATS_URL")
	if url == "" {
		url = "nats://127.0.0.1:4222"
	}
	c, err := client.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close()
	return demos[args[0]](ctx, c, out)
}

func names() (all []string) {
	for name := range demos {
		all = append(all, name)
	}
	for name := range alone {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// queued waits until so many wait for a lock.
func queued(ctx context.Context, c *client.Client, name string, n int) error {
	for {
		l, err := c.LockInfo(ctx, name)
		if err != nil || len(l.Queue) == n {
			return err
		}
	}
}
