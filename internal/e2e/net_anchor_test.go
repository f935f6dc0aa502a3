//go:build net

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/client"
)

// idleHolders is how many clients hold a lock through the whole run and do nothing else; idleTTL is so long that a session
// ends only if no renewal gets through for longer than service may be away.
const (
	idleHolders = 6
	idleTTL     = 2 * patience
)

// idle takes locks that are held through the whole run by clients that only renew their sessions: what disturbs nobody who is
// at work may still end a lease. It says at once when a hold ends, and what was done just then; the function that it returns
// gives the locks back.
func (r *netRun) idle() func() {
	r.t.Helper()
	dir := r.t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var locks []*client.Lock
	var clients []*client.Client
	for i := range idleHolders {
		path := filepath.Join(dir, fmt.Sprintf("idle-%d.log", i))
		file, err := os.Create(path)
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { file.Close() })
		log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: file, TimeFormat: "15:04:05.000"})
		c, err := client.Connect(ctx, r.w.urls, append(r.w.options, client.WithOwner(fmt.Sprintf("idle-%d", i)), client.WithTTL(idleTTL), client.WithLogger(log))...)
		if err != nil {
			r.t.Fatal(err)
		}
		l, err := c.Lock(ctx, fmt.Sprintf("net/idle-%d", i))
		if err != nil {
			r.t.Fatal(err)
		}
		clients, locks = append(clients, c), append(locks, l)
		context.AfterFunc(l.Context(), func() {
			if r.given.Load() {
				return
			}
			text, _ := os.ReadFile(path)
			r.t.Errorf("%s: a hold that only had to be renewed ended during %q: %v\nthe client's log:\n%s", time.Now().Format("15:04:05.000"),
				r.doing.Load(), context.Cause(l.Context()), text[max(0, len(text)-8000):])
		})
	}
	return func() {
		r.given.Store(true)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for i, l := range locks {
			if err := l.Verify(ctx); err != nil {
				r.t.Errorf("idle holder %d, whose lock is valid (%v), is not its holder: %v", i, l.Valid(), err)
			}
			if err := clients[i].Close(); err != nil {
				r.t.Errorf("idle holder %d: %v", i, err)
			}
		}
	}
}
