package sim

import (
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// backup is a copy of a directory.
type backup struct {
	directory
	hard raft.HardState
	end  raft.Mark
	snap *snapshot
}

func (d *disk) copy() *backup { return &backup{d.directory.copied(), d.hard, d.end(), d.snap} }

// backUp keeps a copy of a directory that is whole.
func (d *disk) backUp() {
	if d.mark == nil && d.segment.last() > 0 {
		d.backup = d.copy()
	}
}

// oldCopy is the kind of an old copy that comes back.
const oldCopy = "old copy of the directory"

// restoreCopy brings an old copy of a whole directory back. Nothing in it tells, and only a peer that has seen more may.
// Where there is none, such a copy can vote away what it once acknowledged; so this happens only where the cluster
// does not need its word: the others hold all of that, and nobody can stand in a term in which it has voted. The node is
// down for a while first, in which the others may get there.
func (w *world) restoreCopy(n *node) bool {
	i := slices.IndexFunc(w.nodes, w.mayGoBack)
	if !w.mayGoBack(n) && i >= 0 {
		n = w.nodes[i]
	} else if i < 0 {
		return false
	}
	back := w.between(20*time.Millisecond, time.Second)
	n.stop()
	life := n.life
	w.after(w.between(100*time.Millisecond, 1500*time.Millisecond), func() {
		if n.life == life && w.faulty && w.mayGoBack(n) {
			n.goBack()
		}
		w.after(back, n.start)
	})
	return false // not yet
}

// mayGoBack reports whether an old copy of a node's directory may come back.
func (w *world) mayGoBack(n *node) bool {
	d := &n.disk
	b := d.backup
	return !n.gone && n.refused == nil && d.mark == nil && d.harm == nil && b != nil && b.end.Before(d.end()) && b.hard.Promise == d.hard.Promise &&
		w.mayLose(n) && w.needless(n) && w.survives(w.confOf(n, b), n)
}

// confOf is the configuration in effect in a copy. [Who is a majority by it, or makes one with others that lost something,
// leads by it and commits, and nobody is left to be asked: seed 1241 of the long pace, where the copy was of the only voter.]
func (w *world) confOf(n *node, b *backup) *raft.Configuration {
	for i := len(b.keys) - 1; i >= 0; i-- {
		if it := b.keys[i]; it != nil && it.entry.Kind == raft.EntryConfig { // nil: cut off, and not gone yet
			return &w.truth.configs[position{it.entry.Index, it.entry.Term}].conf
		}
	}
	if b.snap != nil {
		return &w.truth.configAt(b.snap.meta.ConfigIndex).conf
	}
	return &raft.Configuration{Members: n.flags}
}

func (n *node) goBack() {
	d, w, b := &n.disk, n.w, n.disk.backup
	if _, ok := n.open(); !ok || !b.end.Before(d.end()) || !w.needless(n) || !w.survives(w.confOf(n, b), n) {
		return
	}
	d.ledger, d.markAt = nil, 0
	n.restoreConfigs()
	d.harm = &harm{kind: oldCopy, whole: true, older: true, before: d.copy()}
	d.lose()
	d.unaware = true
	d.directory, d.snap = b.directory.copied(), b.snap
	w.happened(oldCopy)
	w.note("node %d goes back to a copy up to %d/%d", n.id, b.end.Last, b.end.LastTerm)
}

// needless reports whether all that a node has is held by a majority without it, and everybody else is at least in its
// term.
func (w *world) needless(n *node) bool {
	d := &n.disk
	end := d.end()
	at, _ := d.segment.at(end.Last)
	for _, c := range append(slices.Clone(w.truth.open), w.truth.active()) {
		hold, voters := 0, 0
		for i := range c.conf.Members {
			m := &c.conf.Members[i]
			o := w.byID[m.ID]
			if m.Learner && !m.Promote || m.ID == n.id {
				continue
			}
			if w.lost(m) || o.disk.hard.Term < d.hard.Term {
				return false
			}
			voters++
			if (&held{log: o.disk.segment}).has(end.Last, at) {
				hold++
			}
		}
		if hold <= (voters+1)/2 {
			return false
		}
	}
	return true
}
