//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// envChild tells a process that runs this test binary what it is; set only in processes that a test started.
const envChild = "COORDD_E2E_CHILD"

// task is what such a process does.
type task struct {
	Role string // "hammer" or "holder"
	URLs string
	Name string // of the lock

	File       string // hammer: the memory that all processes share
	Goroutines int    // hammer
	Millis     int    // hammer: how long
}

// TestChildProcess is not a test of its own: it is the body of the processes that the others start.
func TestChildProcess(t *testing.T) {
	text := os.Getenv(envChild)
	if text == "" {
		return // a run of all tests came by
	}
	var k task
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		t.Fatal(err)
	}
	switch k.Role {
	case "hammer":
		k.hammer(t)
	case "holder":
		k.holdForever(t)
	default:
		t.Fatalf("no such role: %q", k.Role)
	}
}

// child is a process of this test binary.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	err *strings.Builder
}

// startChild starts one; it dies with the test.
func startChild(t *testing.T, k task) *child {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	p := &child{cmd: exec.Command("/proc/self/exe", "-test.run", "^TestChildProcess$", "-test.timeout", "90m"), err: new(strings.Builder)}
	p.cmd.Env = append(os.Environ(), envChild+"="+string(text))
	p.cmd.Stderr = p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended long ago
		_ = p.cmd.Wait()
	})
	return p
}

// finish waits for the end of a process that ends by itself, and returns what it wrote.
func (p *child) finish(t *testing.T) (lines []string) {
	t.Helper()
	for p.out.Scan() {
		lines = append(lines, p.out.Text())
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("a process ended with %v:\n%s\n%s", err, strings.Join(lines, "\n"), p.err)
	}
	return lines
}
