package failure

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The values were computed from the formula with 60 decimal digits.
func TestPhiFollowsTheFormula(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ silence, expected, deviation, want float64 }{
		{0, 1, 0.5, 0.00999876162996},
		{0.5, 1, 0.5, 0.0750330321409},
		{1, 1, 0.5, 0.301029995664},
		{1.5, 1, 0.5, 0.79950832084},
		{2, 1, 0.5, 1.64282788549},
		{3, 1, 0.5, 4.73669458271},
		{5, 1, 0.5, 21.2416002122},
		{0.075, 0.075, 0.5, 0.301029995664},
		{4, 0.075, 0.5, 20.2713544971},
		{4.3, 0.075, 0.5, 24.3534085482},
		{0.001, 10, 0.5, 0},
	} {
		if got := phi(c.silence, c.expected, c.deviation); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("phi(%v, %v, %v) is %.12g, want %.12g", c.silence, c.expected, c.deviation, got, c.want)
		}
	}
	if got := phi(1e6, 1, 0.5); !math.IsInf(got, 1) {
		t.Errorf("after eleven days of silence φ is %v", got)
	}
}

func TestTheSeedStandsForTwoSamples(t *testing.T) {
	t.Parallel()
	p := NewPhi(PhiConfig{Expected: 100 * time.Millisecond})
	mean, deviation := p.spread()
	if math.Abs(mean-0.1) > 1e-12 || math.Abs(deviation-0.025) > 1e-12 {
		t.Errorf("mean %v, deviation %v, want 0.1 and 0.025", mean, deviation)
	}
	if p.cfg.Threshold != 16 || p.cfg.Samples != 100 || p.cfg.MinDeviation != 500*time.Millisecond || p.cfg.Pause != 0 {
		t.Errorf("defaults %+v", p.cfg)
	}
}

func TestAMemberNeverHeardIsNotJudged(t *testing.T) {
	t.Parallel()
	p := NewPhi(PhiConfig{Expected: 75 * time.Millisecond})
	if p.Failed(time.Hour) || p.Level(time.Hour) != 0 {
		t.Errorf("φ %v of a member that was never heard", p.Level(time.Hour))
	}
	p.Heard(time.Hour)
	if p.Failed(time.Hour+3*time.Second) || !p.Failed(time.Hour+5*time.Second) {
		t.Errorf("φ %v after 3 s, %v after 5 s", p.Level(time.Hour+3*time.Second), p.Level(time.Hour+5*time.Second))
	}
}

func TestOldSamplesGoAndPausesCount(t *testing.T) {
	t.Parallel()
	p := NewPhi(PhiConfig{Expected: time.Second, Samples: 10, Pause: time.Second, MinDeviation: time.Millisecond})
	now := time.Duration(0)
	for range 11 { // ten intervals
		p.Heard(now)
		now += 100 * time.Millisecond
	}
	now -= 100 * time.Millisecond
	if mean, deviation := p.spread(); math.Abs(mean-0.1) > 1e-9 || deviation > 1e-9 {
		t.Errorf("mean %v, deviation %v after ten intervals of 0.1 s", mean, deviation)
	}
	if p.Failed(now + 1090*time.Millisecond) {
		t.Error("failed within the pause")
	}
	if !p.Failed(now + 1120*time.Millisecond) {
		t.Errorf("φ %v behind the pause", p.Level(now+1120*time.Millisecond))
	}
}

// φ never falls during a silence, is never negative nor no number, and is low once the member is heard.
func TestPhiOnlyGrowsDuringASilence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := NewPhi(PhiConfig{
			Expected:     time.Duration(rapid.Int64Range(1, int64(time.Second)).Draw(t, "expected")),
			Samples:      rapid.IntRange(2, 20).Draw(t, "samples"),
			MinDeviation: time.Duration(rapid.Int64Range(1, int64(time.Second)).Draw(t, "deviation")),
			Pause:        time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause")),
		})
		now := time.Duration(0)
		for range rapid.IntRange(1, 30).Draw(t, "heard") {
			now += time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "interval"))
			p.Heard(now)
		}
		last := p.Level(now)
		for range rapid.IntRange(1, 30).Draw(t, "looks") {
			now += time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "silence"))
			level := p.Level(now)
			if math.IsNaN(level) || level < 0 || level < last-1e-9 {
				t.Fatalf("φ went from %v to %v", last, level)
			}
			if p.Failed(now) != (level >= DefaultThreshold) {
				t.Fatalf("φ %v, failed %v", level, p.Failed(now))
			}
			last = level
		}
		p.Heard(now)
		if level := p.Level(now); level > 0.302 { // log10 of 2: it is as likely to be late as not
			t.Fatalf("φ %v right after it was heard", level)
		}
	})
}
