package machine

import (
	"errors"
	"fmt"
	"math"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/locks"
)

// fencesPerSecond is how far the fence counter of a restored cluster is ahead for each second between two restores:
// no cluster grants as many in one.
const fencesPerSecond = 1 << 20

// The refusals of Renew.
var (
	ErrSameDomain = errors.New("machine: the ID domain is the one that the state has already")
	ErrBadDomain  = errors.New("machine: an ID domain is a number from 1 to 32767")
	ErrFenceLimit = errors.New("machine: no fences are left")
)

// Renewal says what makes the cluster that goes on from an old state another one than the cluster that the state was
// taken from, which may still be there, or may have gone on after the state was taken.
type Renewal struct {
	Domain uint16 // ID domain of the new cluster; not the one of the state
	// Second is the number of whole seconds since 2025-01-01 UTC. The caller waits for the next one after each
	// Renewal, so that no two have the same.
	Second int64
}

// Renew turns the state of a snapshot, or of a member that goes on alone, into that of a new cluster. Sessions,
// locks, queues and sequences stay. What the new cluster gives out differs from everything that was given, and from
// what another restore of the same state gives: fences are above max(counter + 2^20, second × 2^20), IDs are of
// another domain. Nothing expires before a leader serves, and gave each session its grace.
func (m *Machine) Renew(r Renewal) error {
	switch {
	case r.Domain == 0 || r.Domain > math.MaxInt16:
		return fmt.Errorf("%w, not %d", ErrBadDomain, r.Domain)
	case r.Domain == m.domain:
		return fmt.Errorf("%w: %d; choose another one, never used before", ErrSameDomain, r.Domain)
	}
	fence := m.locks.Fence() + fencesPerSecond
	if canary.Broken(canary.RestoreRaisesFence) {
		fence = m.locks.Fence()
	}
	if r.Second > math.MaxInt64/fencesPerSecond {
		return fmt.Errorf("%w: %d seconds after 2025-01-01", ErrFenceLimit, r.Second)
	}
	if r.Second > 0 && !canary.Broken(canary.RestoreRaisesFence) { // a clock from before then tells nothing
		fence = max(fence, uint64(r.Second)*fencesPerSecond)
	}
	if fence > locks.FenceLimit {
		return fmt.Errorf("%w: the counter would be %d, at most %d", ErrFenceLimit, fence, locks.FenceLimit)
	}
	m.locks.SetCounters(fence, m.locks.Arrivals())
	m.domain = r.Domain
	m.serving = false
	return nil
}
