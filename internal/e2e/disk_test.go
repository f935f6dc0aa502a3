//go:build disk

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disk is an ext4 file system in a file, mounted over a loop device.
type disk struct {
	image, mount string
	mounted      bool
}

// newDisk makes a disk of so many MiB in a directory, which may be on another such disk. The image is sparse.
func newDisk(t *testing.T, dir, name string, mib int64) *disk {
	t.Helper()
	d := &disk{image: filepath.Join(dir, name+".img"), mount: filepath.Join(dir, name)}
	if err := os.Mkdir(d.mount, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Truncate(mib<<20), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	if err := system("mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		t.Fatal(err)
	}
	if err := d.up(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.down(); err != nil {
			t.Error(err)
		}
		if err := os.Remove(d.image); err != nil {
			t.Error(err)
		}
	})
	return d
}

// system runs a program of the system's.
func system(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}

func (d *disk) up() error {
	if err := system("mount", "-o", "loop", d.image, d.mount); err != nil {
		return err
	}
	d.mounted = true
	return nil
}

func (d *disk) down() error {
	if !d.mounted {
		return nil
	}
	if err := system("umount", d.mount); err != nil {
		return err
	}
	d.mounted = false
	return nil
}

// readOnly makes the file system refuse writes, or take them again.
func (d *disk) readOnly(on bool) error {
	mode := "rw"
	if on {
		mode = "ro"
	}
	return system("mount", "-o", "remount,"+mode, d.mount)
}

// fillUp puts a file on the disk that leaves so many MiB free, and returns its path.
func (d *disk) fillUp(leaveMiB int64) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.mount, &fs); err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(d.mount, "foreign"))
	if err != nil {
		return "", err
	}
	size := int64(fs.Bavail)*fs.Bsize - leaveMiB<<20
	if size > 0 {
		err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	}
	return f.Name(), errors.Join(err, f.Close())
}

// The ioctls of ext4 and of every file system; x/sys/unix does not name them.
const (
	ext4Shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
	noFlush      = 2          // not even the journal is written
	fiFreeze     = 0xc0045877 // FIFREEZE, _IOWR('X', 119, int)
	fiThaw       = 0xc0045878 // FITHAW, _IOWR('X', 120, int)
)

func (d *disk) ioctl(what string, request uintptr, arg uint32) error {
	f, err := os.Open(d.mount)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return fmt.Errorf("%s of %s: %w", what, d.mount, errno)
	}
	return nil
}

// cut takes the power away: whatever was not synced is gone.
func (d *disk) cut() error { return d.ioctl("power cut", ext4Shutdown, noFlush) }

// freeze has every write to the file system wait until it is thawed.
func (d *disk) freeze() error { return d.ioctl("freeze", fiFreeze, 0) }

func (d *disk) thaw() error { return d.ioctl("thaw", fiThaw, 0) }
