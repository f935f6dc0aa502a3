package sim

import (
	"fmt"
	"time"
)

// chain is a row of decisions: what somebody does to the cluster, one act after the other.
type chain uint8

const (
	faultChain    chain = iota // what breaks
	operatorChain              // what operators do
	clientChain                // what clients do
	chains
)

// letters name the chains in a decision's name.
const letters = "foc"

// Decision names one act of a run: the chain that it is of, and its number there, from 1 on.
type Decision struct {
	chain  chain
	number uint64
}

// String prints f for a fault, o for an operator's act and c for a client's, and the number: f12.
func (d Decision) String() string { return fmt.Sprintf("%c%d", letters[d.chain], d.number) }

// decide takes the next decision of a chain. When the one behind it comes, and all that is drawn for this one, comes from
// a stream of its own: to leave one out changes nothing but what follows from it. It is false for one that is left out;
// otherwise w.act is its stream.
func (w *world) decide(c chain, every time.Duration, again func()) bool {
	w.decided[c]++
	d := Decision{c, w.decided[c]}
	act := newStream(w.opt.Seed, "decision", uint64(c)<<32|d.number)
	w.after(act.between(every/4, 2*every), again)
	if w.opt.Keep != nil && !w.opt.Keep(d) {
		return false
	}
	w.act = &act
	w.hash = w.hash.word(uint64(w.now)).word(uint64(c)<<32 | d.number)
	if w.opt.Trace != nil {
		w.show("decision %v", d)
	}
	return true
}

// chance is true once in n times, by the stream of the decision that is being carried out.
func (w *world) chance(n int) bool { return w.act.chance(n) }

// between draws a duration from that stream.
func (w *world) between(lo, hi time.Duration) time.Duration { return w.act.between(lo, hi) }
