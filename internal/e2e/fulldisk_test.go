//go:build disk

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// eventually waits until something is so.
func (d *drill) eventually(what string, so func() bool) {
	d.t.Helper()
	deadline := time.Now().Add(hangLimit)
	for !so() {
		if time.Now().After(deadline) {
			d.c.dumpLogs()
			d.t.Fatalf("in %v it did not come about that %s", hangLimit, what)
		}
		pause(d.t.Context(), 50*time.Millisecond)
	}
}

// lead hands leadership to a node; on a busy machine one try may be given up.
func (d *drill) lead(nd *node) {
	d.t.Helper()
	said := ""
	defer func() {
		if d.t.Failed() {
			d.t.Log(said)
		}
	}()
	d.eventually(nd.name+" leads", func() bool {
		out, err := d.coordd("leader", "transfer", nd.name)
		said = out
		return err == nil
	})
}

// applied is up to where a node has applied; 0: it does not say.
func (nd *node) applied() uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	st, err := nd.status(ctx)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(st.AppliedIndex, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// readsOn shows that the others go on, and that a client which is connected to a node that can't write reads what they
// acknowledge.
func (d *drill) readsOn(nd *node) {
	d.t.Helper()
	d.w.waitFor(d.t, 100)
	if nd.applied() == 0 {
		d.t.Errorf("%s does not answer", nd.name)
	}
	nc, err := nats.Connect(nd.natsURL)
	if err != nil {
		d.t.Fatal(err)
	}
	defer nc.Close()
	var reply json.RawMessage
	ask(d.t, nc, "coord.v1.default.id.get.e2e-ids", "{}", &reply)
}

// testFullDisk fills the disk of the leader: with a foreign file, and with its own log. Each time the leader has to hand
// over, to say why, to read on, and to take part again when there is room.
func testFullDisk(t *testing.T) (filled int) {
	d := newDrill(t, 200, 1200, 1200)
	d.load(8)
	small, disk := d.c.nodes[0], d.disks[0]

	d.lead(small)
	file, err := disk.fillUp(12)
	if err != nil {
		t.Fatal(err)
	}
	d.gaveWay(small, "foreign file")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	d.takesPart(small)

	// So much room that it is the log that takes the last of it.
	if file, err = disk.fillUp(30); err != nil {
		t.Fatal(err)
	}
	d.lead(small)
	d.eventually("the log fills the disk", func() bool {
		return strings.Count(small.said(), "the disk is full") > 1
	})
	d.gaveWay(small, "log")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	d.takesPart(small)

	// Full again, and it starts on the full disk: the ballast is given back, and it serves.
	if file, err = disk.fillUp(1); err != nil {
		t.Fatal(err)
	}
	d.eventually(small.name+" notices", func() bool { return strings.Count(small.said(), "the disk is full") > 2 })
	small.kill()
	if err := small.start(d.c.bin); err != nil {
		t.Fatal(err)
	}
	d.eventually(small.name+" starts on the full disk, or refuses", func() bool { return small.pid() == 0 || small.applied() > 0 })
	if small.pid() == 0 {
		if err := checkRefusal(small, small.said()); err != nil {
			t.Error(err)
		}
		t.Logf("a start on a disk with 1 MiB: %s", lastWords(&verdict{outcome: refused, says: small.said()}))
	} else {
		d.readsOn(small)
		t.Log("a start on a disk with 1 MiB: answers and reads")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if small.pid() == 0 {
		if err := small.start(d.c.bin); err != nil {
			t.Fatal(err)
		}
	}
	d.c.waitReady(hangLimit, small)
	if err := checkTrace(small.said()); err != nil {
		t.Error(err)
	}
	d.end()
	return 3
}

// gaveWay shows what a leader with a full disk does.
func (d *drill) gaveWay(nd *node, by string) {
	d.t.Helper()
	began := time.Now()
	d.eventually("another node leads", func() bool {
		l := d.c.leader(d.t.Context())
		return l != nil && l != nd
	})
	handed := time.Since(began)
	d.readsOn(nd)
	if code, body := nd.readyz(); code == 200 || !strings.Contains(body, "writes are refused") && !strings.Contains(body, "waits for room") {
		d.t.Errorf("%s with a full disk says of itself: %d %s", nd.name, code, body)
	}
	said := nd.said()
	for _, never := range []string{"the disk has stalled", "coordd: data directory"} {
		if strings.Contains(said, never) {
			d.t.Errorf("%s with a full disk says %q", nd.name, never)
		}
	}
	if err := checkTrace(said); err != nil {
		d.t.Error(err)
	}
	d.t.Logf("disk of the leader full by a %s: another one leads after %v", by, handed.Round(time.Millisecond))
}

// takesPart shows that a node with room again is a whole member: it can lead.
func (d *drill) takesPart(nd *node) {
	d.t.Helper()
	began := time.Now()
	d.c.waitReady(hangLimit, nd)
	d.t.Logf("%s is ready %v after there was room", nd.name, time.Since(began).Round(time.Millisecond))
	d.lead(nd)
	d.w.waitFor(d.t, 50)
}
