package client

import (
	"testing"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// waitLimit bounds every wait; it is far beyond what any of them needs on a machine that does much else.
const waitLimit = 2 * time.Minute

// until asks again and again until cond holds.
func (r *Rig) until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitLimit)
	for tick := time.NewTicker(2 * time.Millisecond); ; <-tick.C {
		if cond() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", waitLimit, what)
		}
	}
}

// lookAt returns a lock as the service sees it.
func lookAt(t testing.TB, c *Client, name string) *coorddv1.Lock {
	t.Helper()
	var rep coorddv1.LockGetReply
	if _, err := c.ask(t.Context(), c.cfg, "lock.get", name, &coorddv1.LockGetRequest{}, &rep); err != nil {
		t.Fatal(err)
	}
	return rep.GetLock()
}

func queueLength(t testing.TB, c *Client, name string) int { return len(lookAt(t, c, name).GetQueue()) }
