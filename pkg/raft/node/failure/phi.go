package failure

import (
	"math"
	"time"
)

// Detector judges one member.
type Detector interface {
	// Heard notes that the member was heard.
	Heard(now time.Duration)
	// Level is how much there is to suspect; 0: nothing. It only grows until the member is heard again.
	Level(now time.Duration) float64
	// Failed reports whether the level has reached the point at which the member counts as failed.
	Failed(now time.Duration) bool
}

// The defaults of PhiConfig.
const (
	DefaultThreshold    = 16
	DefaultSamples      = 100
	DefaultMinDeviation = 500 * time.Millisecond
)

// PhiConfig is what a Phi is made from; a zero field takes its default.
type PhiConfig struct {
	Threshold    float64       // φ at which a member counts as failed: 16
	Samples      int           // intervals that are remembered: 100
	MinDeviation time.Duration // lower bound of σ, so that a very regular member is not given up in an instant: 500 ms
	Pause        time.Duration // silence beyond the mean that is nothing to suspect: 0
	// Expected is the interval that is expected before any was seen. It stands in for two samples, a quarter below and
	// a quarter above it.
	Expected time.Duration
}

// Phi is the φ accrual failure detector.
type Phi struct {
	cfg   PhiConfig
	ring  []float64 // the last intervals, in seconds; the oldest is overwritten
	next  int
	heard bool
	last  time.Duration
}

var _ Detector = (*Phi)(nil)

// NewPhi makes a detector of a member that was not heard yet.
func NewPhi(cfg PhiConfig) *Phi {
	if cfg.Threshold <= 0 {
		cfg.Threshold = DefaultThreshold
	}
	if cfg.Samples <= 0 {
		cfg.Samples = DefaultSamples
	}
	if cfg.MinDeviation <= 0 {
		cfg.MinDeviation = DefaultMinDeviation
	}
	p := &Phi{cfg: cfg}
	quarter := cfg.Expected / 4
	p.add(cfg.Expected - quarter)
	p.add(cfg.Expected + quarter)
	return p
}

func (p *Phi) add(interval time.Duration) {
	if len(p.ring) < p.cfg.Samples {
		p.ring = append(p.ring, interval.Seconds())
		return
	}
	p.ring[p.next] = interval.Seconds()
	p.next = (p.next + 1) % len(p.ring)
}

// Heard implements Detector.
func (p *Phi) Heard(now time.Duration) {
	if p.heard {
		p.add(max(now-p.last, 0))
	}
	p.heard, p.last = true, max(now, p.last)
}

// Level implements Detector: it is φ.
func (p *Phi) Level(now time.Duration) float64 {
	if !p.heard {
		return 0
	}
	mean, deviation := p.spread()
	return phi((now - p.last).Seconds(), mean+p.cfg.Pause.Seconds(), max(deviation, p.cfg.MinDeviation.Seconds()))
}

// Failed implements Detector.
func (p *Phi) Failed(now time.Duration) bool { return p.heard && p.Level(now) >= p.cfg.Threshold }

// spread returns the mean of the remembered intervals and their standard deviation, in seconds.
func (p *Phi) spread() (mean, deviation float64) {
	for _, s := range p.ring {
		mean += s
	}
	mean /= float64(len(p.ring))
	for _, s := range p.ring {
		deviation += (s - mean) * (s - mean)
	}
	return mean, math.Sqrt(deviation / float64(len(p.ring)))
}

// phi is the formula of doc.go: t is the silence so far, expected the mean and the pause.
func phi(t, expected, deviation float64) float64 {
	y := (t - expected) / deviation
	e := math.Exp(-y * (1.5976 + 0.070566*y*y))
	if t > expected {
		return -math.Log10(e / (1 + e))
	}
	return -math.Log10(1 - 1/(1+e))
}
