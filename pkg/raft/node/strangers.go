package node

import (
	"slices"

	"github.com/coordd/coordd/pkg/transport"
)

// strangersLimit bounds how many nodes are kept that the configuration does not list.
const strangersLimit = 64

// strangers are nodes of this cluster that know a newer configuration than this member does, and are not in its own, or
// are there with another directory. They are answered until this member has a configuration as new as theirs. [Who was
// away while the others were replaced knows none of them, and may have the vote that they need.]
type strangers struct{ known []transport.Identity }

// meet notes a stranger.
func (l *loop) meet(id transport.Identity) {
	if id.ConfigIndex <= l.soft.ConfigIndex || !l.strangers.add(id) {
		return
	}
	l.n.cfg.Logger.Info("a member that is not known here knows of a newer configuration", "peer", id.Name, "id", id.Member, "index", id.ConfigIndex)
	l.setPeers()
}

// add reports whether there is anything new.
func (s *strangers) add(id transport.Identity) bool {
	for i := range s.known {
		k := &s.known[i]
		if k.Member != id.Member {
			continue
		}
		if k.ConfigIndex > id.ConfigIndex || (k.Incarnation == id.Incarnation && k.Address == id.Address) {
			k.ConfigIndex = max(k.ConfigIndex, id.ConfigIndex)
			return false
		}
		*k = id
		return true
	}
	if len(s.known) >= strangersLimit {
		return false
	}
	s.known = append(s.known, id)
	return true
}

// forget lets go of those of whom the configuration at an index speaks.
func (s *strangers) forget(index uint64) {
	s.known = slices.DeleteFunc(s.known, func(id transport.Identity) bool { return id.ConfigIndex <= index })
}

// among returns peers with the strangers among them, in the place of those whom they contradict.
func (s *strangers) among(peers []transport.Peer) []transport.Peer {
	for i := range s.known {
		k := &s.known[i]
		p := transport.Peer{ID: k.Member, Name: k.Name, Address: k.Address, Incarnation: k.Incarnation}
		if at := slices.IndexFunc(peers, func(o transport.Peer) bool { return o.ID == p.ID }); at >= 0 {
			peers[at] = p
		} else {
			peers = append(peers, p)
		}
	}
	return peers
}

// configIndex is the index of the configuration in effect, for any goroutine.
func (n *Node) configIndex() uint64 {
	if v := n.view.Load(); v != nil {
		return v.soft.ConfigIndex
	}
	return 0
}
