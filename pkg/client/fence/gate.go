package fence

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Mode is how a lock is held; it decides what its fence may refuse.
type Mode string

// The modes of holds, as the contract writes them (api/coordd/v1).
const (
	ModeExclusive Mode = "EXCLUSIVE"
	ModeShared    Mode = "SHARED"
	ModeSemaphore Mode = "SEMAPHORE"
)

// Hold is what a gate needs to know of a lock's holder. *client.Lock has it; [Exclusive] and [Shared] make one of the
// number that came with a request.
type Hold interface {
	Fence() uint64
	Mode() Mode
}

// Exclusive is the fence of an exclusive hold.
type Exclusive uint64

// Fence returns the number.
func (f Exclusive) Fence() uint64 { return uint64(f) }

// Mode returns ModeExclusive.
func (f Exclusive) Mode() Mode { return ModeExclusive }

// Shared is the fence of a shared hold.
type Shared uint64

// Fence returns the number.
func (f Shared) Fence() uint64 { return uint64(f) }

// Mode returns ModeShared.
func (f Shared) Mode() Mode { return ModeShared }

var (
	// ErrNoFence is the error for a hold whose fence is 0: fences begin at 1.
	ErrNoFence = errors.New("no fence: fences begin at 1")
	// ErrNoGate is the error for a hold that no gate can judge. Holders of a semaphore work beside each other, so that the
	// fence of one says nothing about another's.
	ErrNoGate = errors.New("only exclusive and shared holds have a gate")
)

// StaleError says that a hold is over: another one that excludes it was seen before.
type StaleError struct {
	Fence uint64 // of the hold that was refused
	Mode  Mode
	Seen  uint64 // the fence for which it was refused; greater than Fence
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("the %s hold with fence %d is over: fence %d was seen", strings.ToLower(string(e.Mode)), e.Fence, e.Seen)
}

// Gate stands before a resource and refuses holders of its lock whose time is over. The zero value has seen nothing. It is
// safe for concurrent use, and not to be copied after its first use.
type Gate struct {
	actions sync.RWMutex // written to by exclusive holds, read by shared ones, while they act

	mu        sync.Mutex
	exclusive uint64 // the highest fence of an exclusive hold
	newest    uint64 // the highest of all
}

// Check notes the hold's fence, or refuses it: *[StaleError], [ErrNoFence], [ErrNoGate]. What the caller does afterwards
// is not guarded, as a newer holder may have come by then: use [Gate.Do], unless the resource itself compares again.
func (g *Gate) Check(h Hold) error { return g.Do(h, func() error { return nil }) }

// Do checks as [Gate.Check] does, and calls act if the hold is not refused. Until act returns the gate lets no newer hold in
// that excludes this one: shared holds act beside each other, an exclusive one alone. It returns act's error, or why the hold
// was refused; act was not called then. act must not use the gate.
func (g *Gate) Do(h Hold, act func() error) error {
	fence, mode := h.Fence(), h.Mode()
	switch mode {
	case ModeExclusive:
		g.actions.Lock()
		defer g.actions.Unlock()
	case ModeShared:
		g.actions.RLock()
		defer g.actions.RUnlock()
	default:
		return fmt.Errorf("%w: this is a hold %q", ErrNoGate, mode)
	}
	if err := g.admit(fence, mode); err != nil {
		return err
	}
	return act()
}

// admit compares a fence with those that were seen, and notes it. An exclusive hold began after all earlier holds had ended:
// one that is older than anything seen is over. A shared hold is over only if an exclusive one came after it; other shared
// ones don't end it, whichever was granted first.
func (g *Gate) admit(fence uint64, mode Mode) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := g.newest
	if mode == ModeShared {
		seen = g.exclusive
	}
	switch {
	case fence == 0:
		return ErrNoFence
	case fence < seen:
		return &StaleError{Fence: fence, Mode: mode, Seen: seen}
	}
	g.newest = max(g.newest, fence)
	if mode == ModeExclusive {
		g.exclusive = fence
	}
	return nil
}

// Seen returns the highest fence of an exclusive hold that was let in, and the highest of all; 0: none.
func (g *Gate) Seen() (exclusive, newest uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.exclusive, g.newest
}

// MarshalText returns the two numbers of [Gate.Seen], with a blank between them. A resource that outlives its process has to
// keep them with its data: a gate that has forgotten lets in who was refused.
func (g *Gate) MarshalText() ([]byte, error) {
	exclusive, newest := g.Seen()
	return fmt.Appendf(nil, "%d %d", exclusive, newest), nil
}

// UnmarshalText takes over what MarshalText wrote. It never lowers what the gate has seen itself: the greater numbers stay.
func (g *Gate) UnmarshalText(text []byte) error {
	var exclusive, newest uint64
	n, err := fmt.Sscanf(string(text), "%d %d", &exclusive, &newest)
	if err != nil || n != 2 || exclusive > newest || !bytes.Equal(text, fmt.Appendf(nil, "%d %d", exclusive, newest)) {
		return fmt.Errorf("%.40q is not the state of a gate", text)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.exclusive, g.newest = max(g.exclusive, exclusive), max(g.newest, newest)
	return nil
}
