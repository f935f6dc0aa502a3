package client

import (
	"context"
	"slices"
)

// holding is a lock, or several that were taken together: what a context may come from.
type holding interface {
	Valid() error
	chain() []*Lock
	end(why error) bool
}

// heldContext is the context of a holding. It looks at the clock when it is asked whether it has ended: a timer alone fires
// late after a pause.
type heldContext struct {
	context.Context
	h holding
}

// Err returns nil while the holding is valid.
func (c heldContext) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	if why := c.h.Valid(); why != nil {
		c.h.end(why) // the goroutine that ended it may not have come to the context yet
	}
	return c.Context.Err()
}

type heldKey struct{}

// Value returns the holding for its key.
func (c heldContext) Value(key any) any {
	if key == (heldKey{}) {
		return c.h
	}
	return c.Context.Value(key)
}

// heldUnder returns the locks that a context comes from and that are held, the innermost first.
func heldUnder(ctx context.Context) (locks []*Lock) {
	h, _ := ctx.Value(heldKey{}).(holding)
	if h == nil {
		return nil
	}
	for _, l := range h.chain() {
		if l.Valid() == nil {
			locks = append(locks, l)
		}
	}
	return locks
}

// fencesOf returns the fences of locks, each once: a reentrant hold has several locks.
func fencesOf(locks []*Lock) (fences []uint64) {
	for _, l := range locks {
		if !slices.Contains(fences, l.fence) {
			fences = append(fences, l.fence)
		}
	}
	return fences
}
