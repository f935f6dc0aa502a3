package sim

import (
	replicated "github.com/coordd/coordd/internal/machine"
)

// kinds is a set of kinds of transitions.
type kinds uint16

// endings are those that end a hold, or begin to.
const endings kinds = 1<<replicated.TransitionReleased | 1<<replicated.TransitionExpired | 1<<replicated.TransitionForced |
	1<<replicated.TransitionHandedOver | 1<<replicated.TransitionRefenced

// changes checks the transitions that are told to whoever watches a lock: each grant is among them, once, and they are
// counted without gaps.
func (o *observer) changes(cs []replicated.Change) {
	w := o.w
	for i := range cs {
		c := &cs[i]
		l := o.lock(c.Name)
		l.touched = true
		if c.Number != 0 {
			if c.Number != 1 && c.Number != l.number+1 {
				w.fail("entry %d: transition %d of %s comes after %d", o.index, c.Number, l.name, l.number)
			}
			l.number = c.Number
		}
		if c.Index != o.index || c.At != o.now {
			w.fail("entry %d at %d tells of a transition of %s at %d in entry %d", o.index, o.now, l.name, c.At, c.Index)
		}
		if c.Kind == replicated.TransitionGranted || c.Kind == replicated.TransitionRefenced {
			if o.noted[c.Fence]&(1<<c.Kind) != 0 {
				w.fail("entry %d tells twice that fence %d of %s is given", o.index, c.Fence, l.name)
			}
			if g := o.fences[c.Fence]; g.acquire == nil || g.lock != l.name || g.key.session != c.Session {
				w.fail("entry %d tells watchers that session %d holds %s under fence %d, and nobody else", o.index, c.Session, l.name, c.Fence)
			}
		}
		o.noted[c.Fence] |= 1 << c.Kind
	}
	for _, f := range o.granted {
		if o.noted[f]&(1<<replicated.TransitionGranted|1<<replicated.TransitionRefenced) == 0 {
			w.fail("entry %d grants fence %d of %s, and does not tell those who watch", o.index, f, o.fences[f].lock)
		}
	}
}
