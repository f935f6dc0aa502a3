//go:build disk

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is done to a directory as a whole, beside the injuries of single files.
const (
	oldCopy   = "old copy of the directory"
	emptied   = "empty directory with the old flags"
	inUse     = "directory that another process has"
	notWriter = "directory on a read-only disk"
)

var wholeDir = []string{oldCopy, emptied, inUse, notWriter}

// trial is one corruption: of which node, what, and where.
type trial struct {
	number int
	kind   string // "injury: file kind", or one of wholeDir
	injury *injury
	files  fileKind
	nd     *node
	rnd    *rand.Rand
	// needed: the cluster can go on only with what this node has, because the only other node that is there lacks it,
	// until the third one comes back. Otherwise the two others went on without this node.
	needed  bool
	orderly bool // stopped with SIGTERM
}

// corruptions is what the corruptions came to: outcomes by kind.
type corruptions struct {
	byKind map[string]map[string]uint64
	total  map[string]uint64
	count  uint64
	needed map[string]uint64 // the outcomes of trials in which the node was needed
}

// plan draws what is done in n trials: each kind of damage comes equally often, in a random order.
func plan(seed uint64, n int) (trials []trial) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	for len(trials) < n {
		var round []trial
		for _, files := range fileKinds {
			for i := range injuries {
				round = append(round, trial{kind: injuries[i].name + ": " + files.name, injury: &injuries[i], files: files})
			}
		}
		for range 2 {
			for _, kind := range wholeDir {
				round = append(round, trial{kind: kind})
			}
		}
		rnd.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		trials = append(trials, round...)
	}
	trials = trials[:n]
	for i := range trials {
		tr := &trials[i]
		tr.number = i + 1
		tr.rnd = rand.New(rand.NewPCG(seed, 1000+uint64(i)))
		tr.needed = tr.rnd.IntN(3) == 0 && (tr.injury != nil || tr.kind == emptied)
		tr.orderly = tr.rnd.IntN(2) == 0 && tr.files.name != "memtable log" // an orderly stop leaves none of these
	}
	return trials
}

// testCorruptions damages one stopped directory after the other, always with a healthy copy of everything on the
// others, and judges what the node makes of it.
func testCorruptions(t *testing.T, seed uint64, n int) *corruptions {
	c := &corruptions{map[string]map[string]uint64{}, map[string]uint64{}, 0, map[string]uint64{}}
	d := newDrill(t, 1200, 1200, 1200)
	d.load(6)
	failures := 0
	for i, tr := range plan(seed, n) {
		if i > 0 && i%25 == 0 {
			d.settle()
			d.load(6)
		}
		tr.nd = d.c.nodes[tr.rnd.IntN(len(d.c.nodes))]
		v, what, err := d.try(&tr)
		if err != nil {
			t.Errorf("corruption %d, %s of %s (%s): %v", tr.number, tr.kind, tr.nd.name, what, err)
			d.keep(fmt.Sprintf("corruption-%d", tr.number), d.aside())
			if failures++; failures == 5 {
				t.Fatal("too many failures")
			}
			v.outcome = "FAILED"
		}
		c.count++
		c.total[v.outcome]++
		if c.byKind[tr.kind] == nil {
			c.byKind[tr.kind] = map[string]uint64{}
		}
		c.byKind[tr.kind][v.outcome]++
		if tr.needed {
			c.needed[v.outcome]++
		}
		t.Logf("corruption %d of %d, %s of %s (%s): %s after %v%s", tr.number, n, tr.kind, tr.nd.name, what, v.outcome, v.took.Round(time.Millisecond), lastWords(&v))
		d.repair(&tr, v.outcome)
	}
	d.end()
	c.report(t)
	return c
}

func lastWords(v *verdict) string {
	if v.outcome != refused {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(v.says), "\n")
	return ": " + lines[len(lines)-1]
}

// report prints the outcomes by kind.
func (c *corruptions) report(t *testing.T) {
	var kinds []string
	for kind := range c.byKind {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		n := c.byKind[kind]
		t.Logf("%-42s %3d whole, %3d recovering, %3d refused", kind, n[whole], n[recovered], n[refused])
	}
	t.Logf("where the cluster needed the damaged node: %d whole, %d recovering, %d refused", c.needed[whole], c.needed[recovered], c.needed[refused])
}

// aside is where a copy of the damaged directory is kept until its node is judged.
func (d *drill) aside() string { return filepath.Join(os.TempDir(), "aside") }

// try stops a node, damages its directory, starts it and judges it. The nodes are as they are then; repair follows.
func (d *drill) try(tr *trial) (v verdict, what string, err error) {
	others := d.others(tr.nd)
	tr.rnd.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	switch tr.kind {
	case inUse:
		return d.tryInUse(tr)
	case notWriter:
		return d.tryReadOnly(tr)
	case oldCopy:
		if err := d.takeOldCopy(tr); err != nil {
			return v, "", err
		}
	}
	if tr.injury != nil && tr.files.name == "snapshot" {
		if err := d.giveSnapshot(tr.nd); err != nil {
			return v, "", err
		}
	}
	witness, lagging := others[0], others[1]
	if tr.needed {
		lagging.kill()
	}
	d.w.waitFor(d.t, 15)
	if tr.needed {
		witness.kill()
		// Nothing is acknowledged any more; the mark, which lags by 5 ms, catches up. (A crash within these 5 ms
		// together with damage of the log's end is the double fault that guarantees.md names.)
		pause(d.t.Context(), 100*time.Millisecond)
	}
	if tr.orderly && !tr.needed {
		tr.nd.terminate(d.t)
	} else {
		tr.nd.kill()
	}
	if !tr.needed {
		d.w.waitFor(d.t, 15) // the others have all that this node ever acknowledged
	}
	if what, err = d.damage(tr, witness.dataDir); err != nil {
		return v, what, err
	}
	began := time.Now()
	if err := tr.nd.start(d.c.bin); err != nil {
		return v, what, err
	}
	if tr.needed {
		if err := lagging.start(d.c.bin); err != nil {
			return v, what, err
		}
		d.waitForEither(tr.nd, lagging)
		if err := witness.start(d.c.bin); err != nil {
			return v, what, err
		}
		what += "; needed"
	}
	v, err = d.judge(tr.nd, began)
	return v, what, err
}

// waitForEither gives two nodes a moment in which they elect a leader, if they are going to.
func (d *drill) waitForEither(a, b *node) {
	for deadline := time.Now().Add(1500 * time.Millisecond); time.Now().Before(deadline); pause(d.t.Context(), 20*time.Millisecond) {
		if a.pid() == 0 {
			return
		}
		if code, _ := b.readyz(); code == 200 {
			return
		}
	}
}

// damage does it. Where the directory has no file of the kind, or none for this injury, another kind's has its turn.
func (d *drill) damage(tr *trial, healthy string) (what string, err error) {
	dir := tr.nd.dataDir
	switch tr.kind {
	case oldCopy:
		err = errors.Join(os.RemoveAll(dir), system("cp", "-a", "--sparse=always", dir+".old", dir), os.RemoveAll(dir+".old"))
		return "restored", errors.Join(err, d.putAside(dir))
	case emptied:
		return "emptied", errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), d.putAside(dir))
	}
	p := &patient{dir: dir, healthy: healthy, rnd: tr.rnd}
	for _, kind := range append([]fileKind{tr.files}, fileKinds...) {
		files, err := filepath.Glob(filepath.Join(dir, kind.pattern))
		if err != nil {
			return "", err
		}
		p.rnd.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		for _, file := range files {
			what, err = tr.injury.do(p, file)
			if err != nil {
				return what, err
			}
			if what != "" {
				tr.kind = tr.injury.name + ": " + kind.name
				return filepath.Base(file) + ": " + what, d.putAside(dir)
			}
		}
	}
	return "", fmt.Errorf("no file that could be %s", tr.injury.name)
}

// putAside keeps a copy of the damaged directory as evidence, but for the ballast.
func (d *drill) putAside(dir string) error {
	aside := d.aside()
	return errors.Join(os.RemoveAll(aside), system("cp", "-a", "--sparse=always", dir, aside))
}

// takeOldCopy copies a node's directory and lets the node go on.
func (d *drill) takeOldCopy(tr *trial) error {
	tr.nd.kill()
	dir := tr.nd.dataDir
	if err := system("cp", "-a", "--sparse=always", dir, dir+".old"); err != nil {
		return err
	}
	if err := tr.nd.start(d.c.bin); err != nil {
		return err
	}
	d.c.waitReady(hangLimit, tr.nd)
	d.w.waitFor(d.t, 15)
	return nil
}

// giveSnapshot sees to it that a node has a snapshot: as the leader it takes one.
func (d *drill) giveSnapshot(nd *node) error {
	have, err := filepath.Glob(filepath.Join(nd.dataDir, "snapshots", "*.snap"))
	if err != nil || len(have) > 0 {
		return err
	}
	d.lead(nd)
	if out, err := d.coordd("snapshot", "save", filepath.Join(os.TempDir(), "backup.snap")); err != nil {
		return fmt.Errorf("snapshot save: %w\n%s", err, out)
	}
	return nil
}

// tryInUse starts a second process on a directory that is in use.
func (d *drill) tryInUse(tr *trial) (v verdict, what string, err error) {
	second := &node{name: tr.nd.name, args: tr.nd.args, dataDir: tr.nd.dataDir, logPath: tr.nd.logPath + ".second", httpAddr: "127.0.0.1:0"}
	began := time.Now()
	if err := second.start(d.c.bin); err != nil {
		return v, "", err
	}
	defer second.kill()
	v, err = d.judge(second, began)
	if owner := fmt.Sprintf("process ID %d", tr.nd.pid()); err == nil && !strings.Contains(v.says, owner) {
		err = fmt.Errorf("the refusal does not name the owner, %s: %s", owner, v.says)
	}
	if v.outcome != refused && err == nil {
		err = fmt.Errorf("a second process on the directory is %s", v.outcome)
	}
	return v, "second process", err
}

// tryReadOnly starts a node on a disk that takes no writes.
func (d *drill) tryReadOnly(tr *trial) (v verdict, what string, err error) {
	tr.nd.kill()
	disk := d.disks[slices.Index(d.c.nodes, tr.nd)]
	if err := disk.readOnly(true); err != nil {
		return v, "", err
	}
	began := time.Now()
	if err := tr.nd.start(d.c.bin); err != nil {
		return v, "", err
	}
	v, err = d.judge(tr.nd, began)
	if v.outcome != refused && err == nil {
		err = fmt.Errorf("a node on a read-only disk is %s", v.outcome)
	}
	tr.nd.kill()
	return v, "remounted", errors.Join(err, disk.readOnly(false))
}

// repair does what the refusal of a node asks for and waits until all nodes are whole.
func (d *drill) repair(tr *trial, outcome string) {
	d.t.Helper()
	var err error
	switch {
	case outcome == whole || outcome == recovered || tr.kind == inUse && outcome == refused:
	case tr.kind == notWriter && outcome == refused:
		err = tr.nd.start(d.c.bin)
	default:
		err = d.replace(tr.nd)
	}
	if err != nil {
		d.keep(fmt.Sprintf("repair-%d", tr.number), d.aside())
		d.t.Fatalf("repair after corruption %d, %s: %v", tr.number, tr.kind, err)
	}
	d.c.waitReady(hangLimit, d.c.nodes...)
	for _, nd := range d.c.nodes {
		if err := checkTrace(nd.said()); err != nil {
			d.t.Errorf("after corruption %d, %s: %v", tr.number, tr.kind, err)
		}
	}
}
