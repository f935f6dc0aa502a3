//go:build unix

package cli

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is the controlling terminal of this process. A nil terminal does nothing.
type terminal struct {
	file *os.File
	ours int // our process group
	away bool
}

// openTerminal returns the controlling terminal, nil where there is none.
func openTerminal() *terminal {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	return &terminal{file: f, ours: unix.Getpgrp()}
}

func (t *terminal) fd() int { return int(t.file.Fd()) }

func (t *terminal) foreground() int {
	pgrp, err := unix.IoctlGetInt(t.fd(), unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return pgrp
}

// shouldHandOver reports whether the command belongs in the foreground from the start. In a pipeline it
// does not: the others, a pager for one, need the terminal too; the command gets it when it asks (SIGTTIN).
func (t *terminal) shouldHandOver() bool {
	if t == nil || t.foreground() != t.ours || !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stdout.Fd())) {
		return false
	}
	t.away = true
	return true
}

// handOver puts a group into the foreground if we are there.
func (t *terminal) handOver(pgrp int) bool {
	if t == nil || t.foreground() != t.ours {
		return false
	}
	t.away = unix.IoctlSetPointerInt(t.fd(), unix.TIOCSPGRP, pgrp) == nil
	return t.away
}

// takeBack puts our own group into the foreground if the command had it.
func (t *terminal) takeBack() bool {
	if t == nil || !t.away {
		return false
	}
	t.away = false
	return unix.IoctlSetPointerInt(t.fd(), unix.TIOCSPGRP, t.ours) == nil
}

// ignoreOutputStop lets a process in the background change the foreground without being stopped for it.
func (t *terminal) ignoreOutputStop() {
	if t != nil {
		signal.Ignore(unix.SIGTTOU)
	}
}

func (t *terminal) close() {
	if t != nil {
		_ = t.file.Close() // nothing was written
	}
}

// shellWaits reports whether a shell with job control started our process group: an ancestor in the same
// session and another group. A group without one is orphaned (POSIX, XBD 3.261), and the kernel doesn't stop it.
func shellWaits() bool {
	ours := unix.Getpgrp()
	session, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	for pid := os.Getppid(); pid > 1; {
		s, err := unix.Getsid(pid)
		if err != nil || s != session {
			return false
		}
		if g, err := unix.Getpgid(pid); err != nil || g != ours {
			return err == nil
		}
		p, ok := readProcess(pid)
		if !ok {
			return false
		}
		pid = p.parent
	}
	return false
}
