package transport_test

import (
	"strings"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport"
)

// TestAdmit goes through the table of who may call whom.
func TestAdmit(t *testing.T) {
	t.Parallel()
	type id = transport.Identity
	var (
		x, y   = raft.ClusterID{1}, raft.ClusterID{2}
		h, g   = [16]byte{1}, [16]byte{2}
		inc    = raft.Incarnation{7}
		known  = []transport.Peer{{ID: 1}, {ID: 2}}
		strict = []transport.Peer{{ID: 1}, {ID: 2, Incarnation: inc}}
	)
	for name, test := range map[string]struct {
		ours, theirs id
		expected     raft.MemberID
		peers        []transport.Peer
		want         transport.Rejection
	}{
		"member":                          {id{Cluster: x, Member: 1}, id{Cluster: x, Member: 2}, 1, known, ""},
		"other cluster":                   {id{Cluster: x, Member: 1}, id{Cluster: y, Member: 2}, 1, known, transport.RejectCluster},
		"IDs count more than hashes":      {id{Cluster: x, ClusterHash: h, Member: 1}, id{Cluster: x, ClusterHash: g, Member: 2}, 1, known, ""},
		"static start":                    {id{ClusterHash: h, Member: 1}, id{ClusterHash: h, Member: 2}, 1, known, ""},
		"other static start":              {id{ClusterHash: h, Member: 1}, id{ClusterHash: g, Member: 2}, 1, known, transport.RejectCluster},
		"we know the ID":                  {id{Cluster: x, ClusterHash: h, Member: 1}, id{ClusterHash: h, Member: 2}, 1, known, ""},
		"they know the ID":                {id{ClusterHash: h, Member: 1}, id{Cluster: x, ClusterHash: g, Member: 2}, 1, known, transport.RejectCluster},
		"nothing to compare":              {id{Member: 1}, id{Cluster: x, Member: 2}, 1, known, ""},
		"other name":                      {id{ClusterHash: h, NameHash: h, Member: 1}, id{NameHash: g, Member: 2}, 1, known, transport.RejectCluster},
		"other name in the same cluster":  {id{Cluster: x, NameHash: h, Member: 1}, id{Cluster: x, NameHash: g, Member: 2}, 1, known, transport.RejectCluster},
		"same name":                       {id{ClusterHash: h, NameHash: h, Member: 1}, id{NameHash: h, Member: 2}, 1, known, ""},
		"name not told":                   {id{Cluster: x, NameHash: h, Member: 1}, id{Cluster: x, Member: 2}, 1, known, ""},
		"joined without a static list":    {id{ClusterHash: h, NameHash: h, Member: 1}, id{Cluster: x, NameHash: h, Member: 2}, 1, known, ""},
		"other member meant":              {id{Cluster: x, Member: 1}, id{Cluster: x, Member: 2}, 3, known, transport.RejectMember},
		"nobody":                          {id{Cluster: x, Member: 1}, id{Cluster: x}, 1, known, transport.RejectMember},
		"ourselves":                       {id{Cluster: x, Member: 1}, id{Cluster: x, Member: 1}, 1, known, transport.RejectMember},
		"stranger":                        {id{Cluster: x, Member: 1}, id{Cluster: x, Member: 9}, 1, known, transport.RejectMember},
		"stranger to a blank one":         {id{Member: 1}, id{Cluster: x, Member: 9}, 1, nil, ""},
		"stranger to one without peers":   {id{Cluster: x, Member: 1}, id{Cluster: x, Member: 9}, 1, nil, transport.RejectMember},
		"stranger who is ahead":           {id{Cluster: x, Member: 1, ConfigIndex: 4}, id{Cluster: x, Member: 9, ConfigIndex: 5}, 1, known, ""},
		"stranger who is not":             {id{Cluster: x, Member: 1, ConfigIndex: 5}, id{Cluster: x, Member: 9, ConfigIndex: 5}, 1, known, transport.RejectMember},
		"ahead in another cluster":        {id{Cluster: x, Member: 1, ConfigIndex: 4}, id{Cluster: y, Member: 9, ConfigIndex: 5}, 1, known, transport.RejectCluster},
		"ahead in none":                   {id{Member: 1}, id{Member: 9, ConfigIndex: 5}, 1, known, transport.RejectMember},
		"replaced and ahead":              {id{Cluster: x, Member: 1, ConfigIndex: 4}, id{Cluster: x, Member: 2, Incarnation: raft.Incarnation{8}, ConfigIndex: 5}, 1, strict, ""},
		"wiped":                           {id{Cluster: x, Member: 1, ConfigIndex: 4}, id{Cluster: x, Member: 2, Incarnation: raft.Incarnation{8}}, 1, strict, transport.RejectIncarnation},
		"recorded incarnation":            {id{Cluster: x, Member: 1}, id{Cluster: x, Member: 2, Incarnation: inc}, 1, strict, ""},
		"other incarnation":               {id{Cluster: x, Member: 1}, id{Cluster: x, Member: 2, Incarnation: raft.Incarnation{8}}, 1, strict, transport.RejectIncarnation},
		"no incarnation":                  {id{Cluster: x, Member: 1}, id{Cluster: x, Member: 2}, 1, strict, transport.RejectIncarnation},
		"incarnation that isn't recorded": {id{Cluster: x, Member: 1}, id{Cluster: x, Member: 2, Incarnation: inc}, 1, known, ""},
	} {
		got := transport.Admit(test.ours, test.theirs, test.expected, test.peers)
		if (got == nil) != (test.want == "") || (got != nil && got.Kind != test.want) {
			t.Errorf("%s: %v, want %q", name, got, test.want)
		}
		if got != nil && test.want == transport.RejectIncarnation && !strings.Contains(got.Error(), "coordd member replace") {
			t.Errorf("%s: %q does not say what to do", name, got)
		}
	}
	peer := transport.Peer{ID: 2, Address: "host:1", Incarnation: inc}
	for name, test := range map[string]struct {
		theirs id
		want   transport.Rejection
	}{
		"as expected":       {id{Cluster: x, Member: 2, Incarnation: inc}, ""},
		"other cluster":     {id{Cluster: y, Member: 2, Incarnation: inc}, transport.RejectCluster},
		"other member":      {id{Cluster: x, Member: 3, Incarnation: inc}, transport.RejectMember},
		"other incarnation": {id{Cluster: x, Member: 2}, transport.RejectIncarnation},
	} {
		got := transport.Confirm(id{Cluster: x, Member: 1}, test.theirs, peer)
		if (got == nil) != (test.want == "") || (got != nil && got.Kind != test.want) {
			t.Errorf("answer of %s: %v, want %q", name, got, test.want)
		}
	}
}

// TestAdmitStranger goes through who may announce itself.
func TestAdmitStranger(t *testing.T) {
	t.Parallel()
	type id = transport.Identity
	x, y := raft.ClusterID{1}, raft.ClusterID{2}
	a, b := transport.NameHash("a"), transport.NameHash("b")
	for name, test := range map[string]struct {
		ours, theirs id
		want         string // in the refusal; empty: heard
	}{
		"joins":                      {id{Cluster: x, NameHash: a, ClusterHash: a, Member: 1}, id{NameHash: a, Member: 9}, ""},
		"says nothing of itself":     {id{Cluster: x, NameHash: a, Member: 1}, id{}, ""},
		"comes back":                 {id{Cluster: x, NameHash: a, Member: 1}, id{Cluster: x, NameHash: a, Member: 9}, ""},
		"has the ID of the one here": {id{Cluster: x, Member: 1}, id{Member: 1}, ""},
		"other cluster":              {id{Cluster: x, NameHash: a, Member: 1}, id{Cluster: y, NameHash: a, Member: 9}, "is of cluster"},
		"other name":                 {id{Cluster: x, NameHash: a, Member: 1}, id{NameHash: b, Member: 9}, "cluster names"},
		"other static list":          {id{ClusterHash: a, Member: 1}, id{ClusterHash: b, Member: 9}, "lists of members"},
	} {
		got := transport.AdmitStranger(test.ours, test.theirs)
		if (got == nil) != (test.want == "") || (got != nil && (got.Kind != transport.RejectCluster || !strings.Contains(got.Text, test.want))) {
			t.Errorf("%s: %v, want %q", name, got, test.want)
		}
	}
	if a == b || a == ([16]byte{}) {
		t.Error("names have no hash of their own")
	}
}
