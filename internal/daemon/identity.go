package daemon

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/coordd/coordd/pkg/raft"
)

// memberID returns the numeric ID of a member: a hash of cluster and member name, so that every node
// derives the same IDs from the same --peers. It is never 0.
func memberID(cluster, member string) raft.MemberID {
	h := sha256.New()
	writePart(h, "coordd member")
	writePart(h, cluster)
	writePart(h, member)
	if id := raft.MemberID(binary.BigEndian.Uint64(h.Sum(nil))); id != 0 {
		return id
	}
	return 1 // one name in 2^64
}

// clusterHash names a static start until the first leader draws a random cluster ID: a hash of the
// cluster's name and its members as they stand in --peers. Alone: the member itself without an address,
// which may change. Zero, so that it is compared with nothing, for a node that joins: it knows no list.
func clusterHash(c *Config) (h [16]byte) {
	if len(c.Join) > 0 {
		return h
	}
	sum := sha256.New()
	writePart(sum, "coordd cluster")
	writePart(sum, c.Cluster)
	peers := slices.Clone(c.Peers)
	if len(peers) == 0 {
		peers = []Peer{{Name: c.Name}}
	}
	slices.SortFunc(peers, func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range peers {
		writePart(sum, p.Name)
		writePart(sum, p.Address)
	}
	copy(h[:], sum.Sum(nil))
	return h
}

// writePart writes a length and a text, so that no two lists of texts look alike.
func writePart(w interface{ Write([]byte) (int, error) }, s string) {
	_, _ = w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) // a hash never fails
	_, _ = w.Write([]byte(s))
}

// warnOfOtherMembers says so once if the log holds other members than the settings name. The log's count: they
// were agreed upon, and settings are for a first start. A node by itself may have a new address at each start.
func (d *Daemon) warnOfOtherMembers(static []raft.Member) {
	logged, ok := d.storedConfig()
	if !ok {
		return
	}
	if len(d.cfg.Join) > 0 {
		d.log.Info("this directory belongs to a member already; --join is not used", "members", memberList(logged.Members, true))
		return
	}
	if len(d.cfg.Peers) == 0 && len(logged.Members) > 1 {
		return // a node that began alone, and others joined
	}
	withAddress := len(d.cfg.Peers) > 0
	inLog, inSettings := memberList(logged.Members, withAddress), memberList(static, withAddress)
	if inLog != inSettings {
		d.log.Warn("the log holds another configuration than --peers says; the log's counts", "log", inLog, "peers", inSettings)
	}
}

// storedConfig is the newest configuration of this member's directory; false: there is none.
func (d *Daemon) storedConfig() (raft.Configuration, bool) {
	if entry := d.store.State().Config; entry != nil {
		c, err := raft.DecodeConfiguration(entry.Data)
		return c, err == nil // the core refuses a bad one with a better text
	}
	if list := d.snaps.List(); len(list) > 0 {
		return list[0].Meta.Config, true
	}
	return raft.Configuration{}, false
}

// memberList writes members as --peers does, ordered by name.
func memberList(ms []raft.Member, withAddress bool) string {
	var out []string
	for _, m := range ms {
		text := m.Name
		if withAddress {
			text += "=" + m.Address
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// members returns the static configuration of a first start, ordered by ID; none for a node that joins.
func members(c *Config, self string) []raft.Member {
	if len(c.Join) > 0 {
		return nil
	}
	if len(c.Peers) == 0 {
		return []raft.Member{{ID: memberID(c.Cluster, c.Name), Name: c.Name, Address: self, Standby: c.Standby}}
	}
	var ms []raft.Member
	for _, p := range c.Peers {
		ms = append(ms, raft.Member{ID: memberID(c.Cluster, p.Name), Name: p.Name, Address: p.Address, Standby: p.Name == c.Name && c.Standby})
	}
	slices.SortFunc(ms, func(a, b raft.Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return ms
}
