package cli

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// underLock starts a shell command under a fake lock; env are FAKE_ settings.
func underLock(t *testing.T, script string, env ...string) *lockedRun {
	t.Helper()
	r := &lockedRun{t: t, dir: t.TempDir(), done: make(chan struct{})}
	r.cmd = exec.Command("fakelock", "sh", "-c", script)
	r.cmd.Dir, r.cmd.Env = r.dir, append(os.Environ(), env...)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.errOut
	r.cmd.WaitDelay = waitLimit
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.err = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
		for _, pid := range r.pids() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return r
}

// lockedRun is a command under a fake lock, in a directory of its own.
type lockedRun struct {
	t           *testing.T
	dir         string
	cmd         *exec.Cmd
	out, errOut bytes.Buffer
	done        chan struct{}
	err         error
}

// code waits for the end and returns the exit code.
func (r *lockedRun) code() int {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(waitLimit):
		r.t.Fatal("did not end") // what it wrote is still being written
	}
	var exit *exec.ExitError
	if r.err != nil && !errors.As(r.err, &exit) {
		r.t.Fatal(r.err)
	}
	return r.cmd.ProcessState.ExitCode()
}

func (r *lockedRun) lost() bool { return strings.Contains(r.errOut.String(), "lost\n") }

// pids are the process IDs that the command wrote into the file pids.
func (r *lockedRun) pids() (pids []int) {
	b, err := os.ReadFile(filepath.Join(r.dir, "pids"))
	if err != nil {
		return nil
	}
	for f := range strings.FieldsSeq(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

func (r *lockedRun) waitPIDs(n int) []int {
	r.t.Helper()
	eventually(r.t, "the command writes "+strconv.Itoa(n)+" process IDs", func() bool { return len(r.pids()) >= n })
	return r.pids()
}

func (r *lockedRun) allEnded(pids []int) {
	r.t.Helper()
	for _, pid := range pids {
		if alive(pid) {
			r.t.Errorf("process %d is left", pid)
		}
	}
}

// stubborn is a command that notes TERM in a file and goes on.
const stubborn = `trap 'echo term > term' TERM; echo $$ >> pids; while :; do sleep 0.02; done`

func TestASilentLockSendsTermInTimeAndKillBeforeItsEnd(t *testing.T) {
	t.Parallel()
	r := underLock(t, stubborn, "FAKE_LEFT=6s", "FAKE_GRACE=2s")
	if code := r.code(); code != 137 || !r.lost() {
		t.Errorf("code %d, lost %v, want 137 and lost:\n%s", code, r.lost(), r.errOut.String())
	}
	if _, err := os.Stat(filepath.Join(r.dir, "term")); err != nil {
		t.Error("the command never got TERM")
	}
	if !strings.Contains(r.errOut.String(), "no renewal of the lock for too long: ending the command") {
		t.Errorf("stderr: %s", r.errOut.String())
	}
	r.allEnded(r.pids())
}

func TestACommandThatObeysTermEndsEarly(t *testing.T) {
	t.Parallel()
	r := underLock(t, `trap 'exit 3' TERM; while :; do sleep 0.02; done`, "FAKE_LEFT=604s", "FAKE_GRACE=10m")
	if code := r.code(); code != 3 || !r.lost() {
		t.Errorf("code %d, lost %v, want the command's own code and lost:\n%s", code, r.lost(), r.errOut.String())
	}
}

func TestALockThatIsGoneEndsTheCommandAtOnce(t *testing.T) {
	t.Parallel()
	r := underLock(t, "echo > gone; "+stubborn, "FAKE_LOST=gone", "FAKE_GRACE=10m")
	if code := r.code(); code != 137 || !r.lost() {
		t.Errorf("code %d, lost %v:\n%s", code, r.lost(), r.errOut.String())
	}
	if !strings.Contains(r.errOut.String(), "somebody took it") {
		t.Errorf("the reason is missing: %s", r.errOut.String())
	}
}

func TestOnLostIgnoreLetsTheCommandGoOn(t *testing.T) {
	t.Parallel()
	r := underLock(t, `echo > gone; sleep 0.6; echo through; exit 5`, "FAKE_LOST=gone", "FAKE_KEEP=1")
	if code := r.code(); code != 5 || r.out.String() != "through\n" {
		t.Errorf("code %d, stdout %q:\n%s", code, r.out.String(), r.errOut.String())
	}
	if !strings.Contains(r.errOut.String(), "the command goes on") {
		t.Errorf("no warning: %s", r.errOut.String())
	}
}

// What a command leaves behind: in its group, in a session of its own, and a daemon that forked twice.
const leaves = `sleep 1000 & echo $! >> pids
setsid sleep 1000 & echo $! >> pids
(setsid sh -c 'echo $$ >> pids; trap "" TERM HUP; while :; do sleep 0.05; done' > /dev/null 2>&1 &)
while [ $(wc -w < pids) -lt 3 ]; do sleep 0.01; done
`

func TestNothingThatTheCommandStartedOutlivesIt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script string
		code   int
	}{"exit": {leaves + "exit 6", 6}, "signal": {leaves + "kill -KILL $$", 137}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := underLock(t, tc.script)
			if code := r.code(); code != tc.code {
				t.Errorf("code %d, want %d:\n%s", code, tc.code, r.errOut.String())
			}
			if pids := r.pids(); len(pids) != 3 {
				t.Errorf("the command wrote %v", pids)
			}
			r.allEnded(r.pids())
		})
	}
}

func TestALossEndsChildrenToo(t *testing.T) {
	t.Parallel()
	r := underLock(t, leaves+stubborn, "FAKE_LOST=gone")
	pids := r.waitPIDs(4)
	if err := os.WriteFile(filepath.Join(r.dir, "gone"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := r.code(); code != 137 || !r.lost() {
		t.Errorf("code %d:\n%s", code, r.errOut.String())
	}
	r.allEnded(pids)
}

func TestSignalsGoToTheCommand(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			// A number in trap works in every shell.
			r := underLock(t, `trap 'exit 42' `+strconv.Itoa(int(sig))+`; echo $$ >> pids; while :; do sleep 0.02; done`)
			r.waitPIDs(1)
			if err := r.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if code := r.code(); code != 42 || r.lost() {
				t.Errorf("code %d, lost %v:\n%s", code, r.lost(), r.errOut.String())
			}
		})
	}
}

func TestACommandThatDiesByAForwardedSignal(t *testing.T) {
	t.Parallel()
	r := underLock(t, leaves+`echo $$ >> pids; while :; do sleep 0.02; done`)
	pids := r.waitPIDs(4)
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := r.code(); code != 130 {
		t.Errorf("code %d, want 130:\n%s", code, r.errOut.String())
	}
	r.allEnded(pids)
}

func TestKillingTheRunnerLeavesNothing(t *testing.T) {
	t.Parallel()
	r := underLock(t, leaves+`echo $$ >> pids; while :; do sleep 0.02; done`, "FAKE_GUARD=1")
	pids := r.waitPIDs(4)
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		eventually(t, "process "+strconv.Itoa(pid)+" ends", func() bool { return !alive(pid) })
	}
}

func TestTheGuardEndsItsOwnRunAlone(t *testing.T) {
	t.Parallel()
	outer, run, other := newRunID(), newRunID(), newRunID()
	sleeper := exec.Command("sleep", "1000")
	sleeper.Env = []string{envRun + "=" + outer + ":" + run, "X=" + other}
	sleeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait() // killed
	}()
	pid := sleeper.Process.Pid
	gone := exec.Command("true") // a group that has ended
	gone.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	watch := "watch " + strconv.Itoa(gone.Process.Pid) + "\n"
	for name, tc := range map[string]struct{ said, run string }{
		"a goodbye":            {watch + "done\n", run},
		"no group":             {"watch x\n", other},
		"group 1":              {"watch 1\n", other},
		"another run":          {watch, newRunID()},
		"in another variable":  {watch, other},
		"a part of the number": {watch, run[:15]},
		"nothing":              {watch, ""},
		"a word":               {watch, "sleep"},
	} {
		err := keepWatch(strings.NewReader(tc.said), tc.run)
		if bad := len(tc.run) != 16; bad != (err != nil) {
			t.Errorf("%s: error %v", name, err)
		}
		if !alive(pid) {
			t.Fatalf("%s: a process of another run was ended", name)
		}
	}
	if err := keepWatch(strings.NewReader(watch), run); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process of the run ends", func() bool { return !alive(pid) })
}
