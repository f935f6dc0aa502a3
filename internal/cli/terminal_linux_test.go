package cli

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty is a terminal with a program on it, and what the program wrote.
type pty struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	done   chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

// onTerminal runs a program as the leader of a session on a terminal of its own.
func onTerminal(t *testing.T, dir string, args ...string) *pty {
	t.Helper()
	// Not blocking, so that closing it ends a read.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	p := &pty{t: t, master: master, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			p.mu.Lock()
			p.out.Write(buf[:n])
			p.mu.Unlock()
			if err != nil {
				return // EIO: the last one on the terminal has gone
			}
		}
	}()
	go func() {
		_ = p.cmd.Wait() // the code is asked for
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		_ = master.Close()
	})
	return p
}

func (p *pty) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.ReplaceAll(p.out.String(), "\r\n", "\n")
}

func (p *pty) expect(want string) {
	p.t.Helper()
	limit := time.Now().Add(waitLimit)
	for !strings.Contains(p.text(), want) {
		if time.Now().After(limit) {
			p.t.Fatalf("the terminal does not show %q but:\n%s", want, p.text())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *pty) typeIn(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.master, s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pty) code() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(waitLimit):
		p.t.Fatalf("the program on the terminal did not end:\n%s", p.text())
	}
	return p.cmd.ProcessState.ExitCode()
}

func TestOnATerminalTheCommandIsInTheForeground(t *testing.T) {
	t.Parallel()
	p := onTerminal(t, t.TempDir(), "fakelock", "sh", "-c", `echo up; read x; echo "got $x"; read y`)
	p.expect("up\n")
	p.typeIn("hello\n")
	p.expect("got hello\n")
	p.typeIn("\x03") // Ctrl-C reaches the command's group alone
	if code := p.code(); code != 130 {
		t.Errorf("code %d, want 130:\n%s", code, p.text())
	}
}

func TestCtrlZStopsTheRunToo(t *testing.T) {
	t.Parallel()
	p := onTerminal(t, t.TempDir(), "sh", "-c", `set -m
fakelock sh -c 'echo up; read x; echo "got $x"; exit 9'
echo "stopped $?"
fg
echo "ended $?"`)
	p.expect("up\n")
	p.typeIn("\x1a")
	p.expect("stopped 148\n")
	p.typeIn("again\n")
	p.expect("got again\n")
	p.expect("ended 9\n")
}

func TestCtrlZWithoutAShellIsNotTheEnd(t *testing.T) {
	t.Parallel()
	p := onTerminal(t, t.TempDir(), "fakelock", "sh", "-c", `echo up; read x; echo "got $x"`)
	p.expect("up\n")
	p.typeIn("\x1a")
	p.typeIn("still\n")
	p.expect("got still\n")
	if code := p.code(); code != 0 {
		t.Errorf("code %d:\n%s", code, p.text())
	}
}

func TestInAPipelineTheCommandGetsTheTerminalWhenItAsks(t *testing.T) {
	t.Parallel()
	p := onTerminal(t, t.TempDir(), "sh", "-c", `set -m
fakelock sh -c 'echo up >&2; read x; echo "got $x"' | cat
echo ended`)
	p.expect("up\n")
	p.typeIn("hello\n")
	p.expect("got hello\n")
	p.expect("ended\n")
}

func TestAClosedTerminalEndsTheCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := onTerminal(t, dir, "fakelock", "sh", "-c", `echo $$ > pids; echo up; while :; do sleep 0.02; done`)
	p.expect("up\n")
	b, err := os.ReadFile(filepath.Join(dir, "pids"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.master.Close(); err != nil {
		t.Fatal(err)
	}
	p.code()
	if alive(pid) {
		t.Error("the command is left")
	}
}
