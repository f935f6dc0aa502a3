package daemon

import (
	"os"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
)

// gcPercent keeps the garbage of a heap below its live size. There is no memory limit on purpose: the machine's
// state may outgrow any, and a collector above its limit takes half of the processor for nothing.
const gcPercent = 75

// boundMemory sets the collector's target, unless the environment says what it should be.
func boundMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

const (
	clockLook = time.Second
	// clockJump is how far wall and monotonic time may move apart between two looks.
	clockJump = time.Second
)

// watchClock counts jumps of the wall clock against the monotonic one: the machine slept, or its clock was
// set. Nothing here depends on the wall clock; clients' leases and operators' reading of logs may.
func watchClock(jumped func(), log hclog.Logger) (stop func()) {
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(clockLook)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			now := time.Now()
			mono, wall := now.Sub(last), now.Round(0).Sub(last.Round(0))
			if apart := wall - mono; apart > clockJump || apart < -clockJump {
				jumped()
				log.Warn("the wall clock jumped", "by", apart)
			}
			last = now
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
