package daemon

import (
	"os"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// softMemoryLimit is where the collector begins to work harder; a node that needs more gets more. An
	// idle node's heap is some 20 MiB, Badger's memtables are outside it.
	softMemoryLimit = 64 << 20
	// gcPercent keeps the garbage of a small heap small. The processor time that it costs is bounded by the
	// heap's size, which is small.
	gcPercent = 75
)

// boundMemory sets the collector's targets, unless the environment says what they should be.
func boundMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softMemoryLimit)
	}
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
