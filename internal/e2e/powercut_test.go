//go:build disk

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	flagCuts    = flag.Int("disk.cuts", 20, "power cuts of one node")
	flagCutsAll = flag.Int("disk.cuts-all", 5, "power cuts of all nodes at once")
)

// diskMiB is the size of one node's disk.
const diskMiB = 1200

// disk is an ext4 file system in a file, mounted over a loop device.
type disk struct {
	image, mount string
	mounted      bool
}

func newDisk(t *testing.T, dir, name string) *disk {
	t.Helper()
	d := &disk{image: filepath.Join(dir, name+".img"), mount: filepath.Join(dir, name)}
	if err := os.Mkdir(d.mount, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Truncate(diskMiB<<20), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", d.image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	if err := d.up(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.down(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *disk) up() error {
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.mount).CombinedOutput(); err != nil {
		return fmt.Errorf("mount %s: %w\n%s", d.image, err, out)
	}
	d.mounted = true
	return nil
}

func (d *disk) down() error {
	if !d.mounted {
		return nil
	}
	if out, err := exec.Command("umount", d.mount).CombinedOutput(); err != nil {
		return fmt.Errorf("umount %s: %w\n%s", d.mount, err, out)
	}
	d.mounted = false
	return nil
}

// ext4Shutdown is EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32); noFlush leaves even the journal unwritten.
const (
	ext4Shutdown = 0x8004587d
	noFlush      = 2
)

// cut takes the power away: whatever was not synced is gone.
func (d *disk) cut() error {
	f, err := os.Open(d.mount)
	if err != nil {
		return err
	}
	defer f.Close()
	mode := uint32(noFlush)
	if _, _, errno := unix.Syscall(syscall.SYS_IOCTL, f.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&mode))); errno != 0 {
		return fmt.Errorf("power cut on %s: %w", d.mount, errno)
	}
	return nil
}

// TestPowerCut takes the power from one node again and again under load, then from all at once.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	var disks []*disk
	var dirs []string
	for i := range 3 {
		d := newDisk(t, dir, fmt.Sprintf("disk%d", i+1))
		disks = append(disks, d)
		dirs = append(dirs, filepath.Join(d.mount, "data"))
	}
	c := newCluster(t, buildBinary(t), dirs)
	c.startAll()

	w := newWorkload(t, c.urls(), 12)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { defer wg.Done(); w.run(ctx, 16) }()

	var one, all []time.Duration
	for i := range *flagCuts {
		w.waitFor(t, 300)
		k := rand.IntN(len(c.nodes))
		at := time.Now()
		c.powerCut(t, disks, k)
		c.waitReady(60*time.Second, c.nodes[k])
		one = append(one, time.Since(at))
		t.Logf("power cut %d of %d: n%d is back after %v", i+1, *flagCuts, k+1, time.Since(at).Round(time.Millisecond))
	}
	for i := range *flagCutsAll {
		w.waitFor(t, 300)
		at := time.Now()
		c.powerCut(t, disks, 0, 1, 2)
		c.waitReady(60*time.Second, c.nodes...)
		all = append(all, time.Since(at))
		t.Logf("power cut of all, %d of %d: the cluster is back after %v", i+1, *flagCutsAll, time.Since(at).Round(time.Millisecond))
	}
	w.waitFor(t, 300)
	cancel()
	wg.Wait()

	w.report()
	t.Logf("one node cut off, until it is ready again: %s", distribution(one))
	t.Logf("all nodes cut off, until all are ready again: %s", distribution(all))
	w.hist.check(t, 5*time.Minute)
	checkNothingLost(t, c, w)
}

// powerCut cuts the disks of some nodes, ends their processes, and starts them on what is left.
func (c *cluster) powerCut(t *testing.T, disks []*disk, which ...int) {
	t.Helper()
	for _, k := range which {
		if err := disks[k].cut(); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range which {
		c.nodes[k].kill()
	}
	for _, k := range which {
		if err := errors.Join(disks[k].down(), disks[k].up(), c.nodes[k].start(c.bin)); err != nil {
			t.Fatal(err)
		}
	}
}

// waitFor waits until n more pairs are done.
func (w *workload) waitFor(t *testing.T, n int64) {
	t.Helper()
	goal := w.ops.Load() + n
	deadline := time.Now().Add(60 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for w.ops.Load() < goal {
		if time.Now().After(deadline) {
			t.Fatal("the clients do nothing any more")
		}
		<-tick.C
	}
}
