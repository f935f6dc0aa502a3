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
// The guard is a small process in a session of its own that reads a pipe and looks at the clock. When `lock run`
// is killed with SIGKILL, the kernel ends the command (parent-death signal) but not what the command
// started; the guard sees the pipe's end without a goodbye and ends the rest. When `lock run` is stopped
// (SIGSTOP) it can't end anything in time; the guard knows until when the lock lasts and does it.
type guardPipe struct {
	pid   int
	w     *os.File
	until time.Duration // as it was last told
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

// lasts tells the guard that the lock's time is over in left, unless it hears of another end until then.
func (g *guardPipe) lasts(left time.Duration) {
	if g == nil {
		return
	}
	until := sinceBoot() + left
	if moved := until - g.until; g.until != 0 && moved.Abs() < guardPrecision {
		return
	}
	// The pipe is full only if the guard itself was stopped; it must not stop us too.
	_ = g.w.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := fmt.Fprintf(g.w, "until %d\n", until); err == nil {
		g.until = until
	}
}

// guardPrecision is by how much the lock's end must move to be worth a line to the guard. What [held.Remaining]
// keeps back before the deadline is more.
const guardPrecision = 5 * time.Millisecond

func (g *guardPipe) done() {
	if g != nil {
		_ = g.w.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
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

// keepWatch reads from r until it ends. If that comes without a goodbye, or when the time is over that it was told
// last, it ends the group that was named and every process of the run.
func keepWatch(r io.Reader, run string) error {
	if !runID.MatchString(run) {
		return usagef("%q is not the identifier of a run", run)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(r); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	pgid, until := 0, time.Duration(0)
	look := time.NewTicker(pollLock) // a timer for the end itself would stand still while the machine is suspended
	defer look.Stop()
	for {
		wait := pollLock
		if until != 0 {
			if wait = min(wait, until-sinceBoot()); wait <= 0 {
				endRun(pgid, run)
				until, wait = 0, pollLock
			}
		}
		look.Reset(wait)
		select {
		case line, ok := <-lines:
			if !ok {
				endRun(pgid, run)
				return nil
			}
			what, n, _ := strings.Cut(line, " ")
			switch what {
			case "done":
				return nil
			case "watch":
				pgid, _ = strconv.Atoi(n) // 0: no group
			case "until":
				ns, _ := strconv.ParseInt(n, 10, 64) // 0: no end
				until = time.Duration(ns)
			}
		case <-look.C:
		}
	}
}

// endRun kills a process group (0: none) and every process of a run.
func endRun(pgid int, run string) {
	for limit := time.Now().Add(killLimit); ; time.Sleep(2 * time.Millisecond) {
		if pgid > 1 {
			_ = unix.Kill(-pgid, unix.SIGKILL) // ended meanwhile
		}
		left := carrying(run)
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL) // ended meanwhile
		}
		if len(left) == 0 || time.Now().After(limit) {
			return
		}
	}
}
