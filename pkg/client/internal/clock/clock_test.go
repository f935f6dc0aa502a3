package clock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// another is the machine's clock under another type, as a test's is.
type another struct{ Clock }

func TestATimeoutIsTheClocksOwn(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(Clock) Clock{
		"the machine's": func(c Clock) Clock { return c },
		"another":       func(c Clock) Clock { return another{c} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, cause := wrap(System()), errors.New("over")
				began := c.Now()
				ctx, cancel := WithTimeout(t.Context(), c, time.Minute, cause)
				defer cancel()
				<-ctx.Done()
				if passed := c.Now().Mono - began.Mono; passed != time.Minute || context.Cause(ctx) != cause {
					t.Errorf("it ended after %v by %v", passed, context.Cause(ctx))
				}
				ctx, cancel = WithTimeout(t.Context(), c, time.Minute, cause)
				cancel()
				if context.Cause(ctx) != context.Canceled {
					t.Errorf("a cancelled one: %v", context.Cause(ctx))
				}
				done := make(chan struct{})
				c.AfterFunc(time.Second, func() { close(done) })
				began = c.Now()
				Sleep(c, time.Hour, done)
				Sleep(c, time.Second, nil)
				if passed := c.Now().Mono - began.Mono; passed != 2*time.Second {
					t.Errorf("two sleeps took %v", passed)
				}
				timer := c.NewTimer(time.Hour)
				if !timer.Reset(time.Second) {
					t.Error("a running timer counts as stopped")
				}
				<-timer.C()
				if timer.Stop() {
					t.Error("a timer that fired counts as running")
				}
			})
		})
	}
}
