package transport

import (
	"fmt"

	"github.com/coordd/coordd/pkg/raft"
)

// Refusal says why a handshake was refused. The text is for the log of an operator and names what to do
// where there is something to do.
type Refusal struct {
	Kind Rejection
	Text string
}

// Error returns the kind and the text.
func (r *Refusal) Error() string { return fmt.Sprintf("peer refused (%s): %s", r.Kind, r.Text) }

// refuse makes a Refusal.
func refuse(kind Rejection, format string, args ...any) *Refusal {
	return &Refusal{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Admit decides whether a node takes a connection from a caller that says it is theirs and that it
// expects to meet member expected. It returns nil where it does.
//
// A node that has no peers and no cluster ID waits for a leader's configuration to tell it both, and so
// takes any caller; every other node takes the members of its list, and who knows a newer configuration of the same
// cluster than it does. [Who was away while the others were replaced would refuse all of them, and they may need its
// vote.]
func Admit(ours, theirs Identity, expected raft.MemberID, peers []Peer) *Refusal {
	if r := sameCluster(ours, theirs); r != nil {
		return r
	}
	if expected != ours.Member {
		return refuse(RejectMember, "caller %s expects member %s at this address, but it is member %s",
			label(theirs), expected, label(ours))
	}
	if theirs.Member == 0 || theirs.Member == ours.Member {
		return refuse(RejectMember, "caller claims to be member %s, which cannot call member %s",
			theirs.Member, ours.Member)
	}
	if IsAhead(ours, theirs) {
		return nil
	}
	for i := range peers {
		if peers[i].ID == theirs.Member {
			return sameIncarnation(theirs, peers[i])
		}
	}
	if len(peers) == 0 && ours.Cluster.IsZero() {
		return nil
	}
	return refuse(RejectMember, "member %s is not in the configuration of member %s: it was removed, or never added; to bring it "+
		"in, start it with an empty data directory and --join", label(theirs), label(ours))
}

// IsAhead reports whether a node of the same cluster knows a newer configuration than we do, so that our list says
// nothing of it.
func IsAhead(ours, theirs Identity) bool {
	return !ours.Cluster.IsZero() && ours.Cluster == theirs.Cluster && theirs.ConfigIndex > ours.ConfigIndex
}

// AdmitStranger decides whether a node hears what a caller announces, who need not be a member: it has to be one of
// the same cluster, as far as both know theirs. It returns nil where it does.
func AdmitStranger(ours, theirs Identity) *Refusal { return sameCluster(ours, theirs) }

// Confirm decides whether a caller goes on with the node that answered as theirs where it wanted to meet
// peer. It returns nil where it does.
func Confirm(ours, theirs Identity, peer Peer) *Refusal {
	if r := sameCluster(ours, theirs); r != nil {
		return r
	}
	if theirs.Member != peer.ID {
		return refuse(RejectMember, "address %s belongs to member %s, not to member %s",
			peer.Address, label(theirs), peer.ID)
	}
	if IsAhead(ours, theirs) {
		return nil // it may have been replaced since
	}
	return sameIncarnation(theirs, peer)
}

// sameCluster compares cluster IDs and names and, as long as one side has no ID, what both were started with.
func sameCluster(ours, theirs Identity) *Refusal {
	bothKnow := !ours.Cluster.IsZero() && !theirs.Cluster.IsZero()
	switch {
	case bothKnow && ours.Cluster != theirs.Cluster:
		return refuse(RejectCluster, "member %s is of cluster %s, member %s of cluster %s",
			label(ours), ours.Cluster, label(theirs), theirs.Cluster)
	case differ(ours.NameHash, theirs.NameHash):
		return refuse(RejectCluster, "member %s and member %s were started with different cluster names (--cluster)", label(ours), label(theirs))
	case !bothKnow && differ(ours.ClusterHash, theirs.ClusterHash):
		return refuse(RejectCluster,
			"member %s and member %s were started with different cluster names or lists of members", label(ours), label(theirs))
	}
	return nil
}

// differ reports whether two hashes are both known and not the same.
func differ(a, b [16]byte) bool {
	var none [16]byte
	return a != none && b != none && a != b
}

// sameIncarnation compares a claimed incarnation with the recorded one, where there is one.
func sameIncarnation(theirs Identity, peer Peer) *Refusal {
	if peer.Incarnation.IsZero() || theirs.Incarnation == peer.Incarnation {
		return nil
	}
	return refuse(RejectIncarnation, "member %s has incarnation %s, but the configuration records %s: its data directory "+
		"was lost, replaced or restored; run `coordd member replace` to accept it as a new one",
		label(theirs), theirs.Incarnation, peer.Incarnation)
}

// label names a member for an operator.
func label(id Identity) string {
	if id.Name == "" {
		return id.Member.String()
	}
	return fmt.Sprintf("%s (%s)", id.Name, id.Member)
}

// Label is the name under which a peer is counted: its name or, without one, its ID.
func (p Peer) Label() string {
	if p.Name == "" {
		return p.ID.String()
	}
	return p.Name
}
