package sim

import "time"

// clockFaults are what happens to clocks. Those beyond the drift that the cores are configured for come in some seeds
// only; there a lease promises nothing any more, and fences and Raft's own safety are what is left.
var clockFaults = []fault{
	{"another drift", 2, func(w *world, n *node) bool {
		n.setRate(n.drawRate(w.act))
		return true
	}},
	{"slow timers", 1, func(w *world, n *node) bool {
		n.lag = w.between(time.Millisecond, 150*time.Millisecond)
		w.after(w.between(100*time.Millisecond, 3*time.Second), func() { n.lag = 0 })
		return true
	}},
	{"wall clock jumps", 1, func(w *world, n *node) bool {
		n.wallOff += w.between(0, 48*time.Hour) - 24*time.Hour
		return true
	}},
	{"clock runs wild", 3, func(w *world, n *node) bool {
		if !w.wildClocks {
			return false
		}
		n.setRate(0.3 + 3*w.act.float())
		w.after(w.between(50*time.Millisecond, 3*time.Second), func() { n.setRate(n.drawRate(&n.rnd)) })
		return true
	}},
	{"clock jumps forward", 3, func(w *world, n *node) bool {
		if !w.wildClocks {
			return false
		}
		n.jump(w.between(10*time.Millisecond, 5*time.Second))
		return true
	}},
	{"machine suspended", 3, func(w *world, n *node) bool { // its clock does not count that time
		if !w.wildClocks || n.core == nil || n.frozen {
			return false
		}
		n.freeze()
		d, stopped, thaw := w.between(50*time.Millisecond, 2*time.Second), n.clock(), n.thawOf(n.life)
		w.after(d, func() {
			n.jump(stopped - n.clock())
			thaw()
		})
		return true
	}},
}

// clock is the node's monotonic clock.
func (n *node) clock() time.Duration { return n.clockAt(n.w.now) }

func (n *node) clockAt(t time.Duration) time.Duration {
	return n.shown + time.Duration(float64(t-n.shownAt)*n.rate)
}

// drawRate draws a speed within the drift that the cores are configured for.
func (n *node) drawRate(rnd *stream) float64 { return 1 + n.w.drift*(2*rnd.float()-1) }

// setRate gives the clock another speed from now on.
func (n *node) setRate(rate float64) {
	n.shown, n.shownAt, n.rate = n.clock(), n.w.now, rate
	n.rearm()
}

// jump moves the clock; backwards only over time in which the process stood still.
func (n *node) jump(d time.Duration) {
	n.shown += d
	n.rearm()
}

func (n *node) rearm() {
	if n.awake() {
		n.arm()
	}
}

// wall is the node's wall clock, in Unix nanoseconds.
func (n *node) wall() int64 { return int64(n.w.now + n.wallOff) }
