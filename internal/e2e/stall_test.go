//go:build disk

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testStalls stops the disk of the leader in two ways: the device under its file system takes no write any more, so that
// syncs hang; and the file system itself is frozen, so that even a write to memory hangs that is mapped to a file.
func testStalls(t *testing.T) (stalls int) {
	outer := newDisk(t, t.TempDir(), "device", 2400)
	d := &drill{t: t, disks: []*disk{newDisk(t, outer.mount, "disk1", 1200)}}
	for _, name := range []string{"disk2", "disk3"} {
		d.disks = append(d.disks, newDisk(t, filepath.Dir(outer.image), name, 1200))
	}
	d.begin()
	d.load(8)
	for _, frozen := range []struct {
		what string
		disk *disk
	}{{"device", outer}, {"file system", d.disks[0]}} {
		d.stall(d.c.nodes[0], frozen.disk, frozen.what)
		stalls++
	}
	d.end()
	return stalls
}

// stall freezes the leader's disk, shows that the cluster goes on without it, and that it comes back.
func (d *drill) stall(nd *node, frozen *disk, what string) {
	d.t.Helper()
	d.lead(nd)
	d.w.waitFor(d.t, 50)
	term := d.term(nd)
	if err := frozen.freeze(); err != nil {
		d.t.Fatal(err)
	}
	thawed := false
	thaw := func() {
		if thawed {
			return
		}
		thawed = true
		if err := frozen.thaw(); err != nil {
			d.t.Error(err)
		}
	}
	defer thaw()
	began := time.Now()
	var next *node
	d.eventually("another node leads", func() bool {
		next = d.c.leaderOf(d.others(nd))
		return next != nil
	})
	took := time.Since(began)
	d.w.waitFor(d.t, 100)
	answers := "it answers"
	if nd.applied() == 0 {
		answers = "it hangs as a whole"
	}
	how := "by an election"
	if strings.Contains(nd.said(), "the disk has stalled") {
		how = "after it noticed"
	}
	thaw()
	back := time.Now()
	d.c.waitReady(hangLimit, nd)
	d.t.Logf("%s of the leader's disk frozen: another one leads after %v, %s (term %s, then %s), meanwhile %s; ready %v after the thaw",
		what, took.Round(time.Millisecond), how, term, d.term(next), answers, time.Since(back).Round(time.Millisecond))
	if err := checkTrace(nd.said()); err != nil {
		d.t.Error(err)
	}
	if what == "device" && (how != "after it noticed" || answers != "it answers") {
		d.t.Errorf("with a stalled device, leadership went over %s and %s", how, answers)
	}
}

// term is the term that a node is in.
func (d *drill) term(nd *node) string {
	st, err := nd.status(d.t.Context())
	if err != nil {
		return "?"
	}
	return st.Term
}

// leaderOf is the leader among some nodes.
func (c *cluster) leaderOf(nodes []*node) *node {
	some := cluster{nodes: nodes}
	return some.leader(c.t.Context())
}
