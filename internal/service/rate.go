package service

import (
	"sync"
	"time"
)

// maxBuckets bounds the namespaces that are remembered: full buckets are forgotten first, since a new one is
// full too.
const maxBuckets = 4096

// rateLimiter is a token bucket for each namespace, with a burst of one second.
type rateLimiter struct {
	perSecond float64 // 0: no limit

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newRateLimiter(perSecond float64) *rateLimiter {
	return &rateLimiter{perSecond: perSecond, buckets: make(map[string]*bucket)}
}

func (l *rateLimiter) allow(ns string) bool {
	if l.perSecond <= 0 {
		return true
	}
	return l.allowAt(ns, time.Now())
}

func (l *rateLimiter) allowAt(ns string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[ns]
	if !ok {
		if len(l.buckets) >= maxBuckets {
			l.forgetFull(now)
		}
		if len(l.buckets) >= maxBuckets {
			return false
		}
		b = &bucket{tokens: max(1, l.perSecond), at: now}
		l.buckets[ns] = b
	}
	l.fill(b, now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (l *rateLimiter) fill(b *bucket, now time.Time) {
	b.tokens = min(max(1, l.perSecond), b.tokens+now.Sub(b.at).Seconds()*l.perSecond)
	b.at = now
}

func (l *rateLimiter) forgetFull(now time.Time) {
	for ns, b := range l.buckets {
		l.fill(b, now)
		if b.tokens >= max(1, l.perSecond) {
			delete(l.buckets, ns)
		}
	}
}
