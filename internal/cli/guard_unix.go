//go:build unix

package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// envRun marks every process of one `lock run` with its identifier, so that they are found when it was
// killed. Nested runs append theirs.
const envRun = "COORDD_RUN"

// guardPipe is this end of the pipe to a guard. A nil one does nothing.
//
// The guard is a small process in a session of its own that does nothing but read a pipe. When `lock run`
// is killed with SIGKILL, the kernel ends the command (parent-death signal) but not what the command
// started; the guard sees the pipe's end without a goodbye and ends the rest.
type guardPipe struct {
	pid int
	w   *os.File
}

func startGuard(cmd *exec.Cmd) (*guardPipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	defer r.Close()
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("start guard: %w", err)
	}
	g := &guardPipe{pid: cmd.Process.Pid, w: w}
	return g, cmd.Process.Release() // whoever waits for all children collects it
}

func (g *guardPipe) watch(pgid int) {
	if g != nil {
		fmt.Fprintf(g.w, "watch %d\n", pgid)
	}
}

func (g *guardPipe) done() {
	if g != nil {
		fmt.Fprintln(g.w, "done")
		_ = g.w.Close() // the guard ends with it
	}
}

// runID is the form of the identifier of a run: 64 random bits. Nothing else is ever looked for, so that no
// mistake in a call can match processes that are not ours.
var runID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// newRunID returns the identifier of a new run.
func newRunID() string { return fmt.Sprintf("%x", randomBytes(8)) }

// guardCommand is the hidden `coordd lock guard RUN`.
func guardCommand() *cobra.Command {
	return &cobra.Command{Use: "guard RUN", Hidden: true, Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return keepWatch(cmd.InOrStdin(), args[0])
	}}
}

// keepWatch reads from r until it ends. If that comes without a goodbye, it ends the group that was named
// and every process of the run.
func keepWatch(r io.Reader, run string) error {
	if !runID.MatchString(run) {
		return usagef("%q is not the identifier of a run", run)
	}
	pgid := 0
	for sc := bufio.NewScanner(r); sc.Scan(); {
		line := sc.Text()
		if line == "done" {
			return nil
		}
		if n, ok := strings.CutPrefix(line, "watch "); ok {
			pgid, _ = strconv.Atoi(n) // 0: no group
		}
	}
	for limit := time.Now().Add(killLimit); ; time.Sleep(2 * time.Millisecond) {
		if pgid > 1 {
			_ = unix.Kill(-pgid, unix.SIGKILL) // ended meanwhile
		}
		left := carrying(run)
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL) // ended meanwhile
		}
		if len(left) == 0 || time.Now().After(limit) {
			return nil
		}
	}
}
