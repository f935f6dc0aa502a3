//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// held is what the runner asks of a lock.
type held interface {
	// Context ends before the lock can be someone else's, or as soon as it is known to be lost.
	Context() context.Context
	// Remaining is the time until Context ends if no renewal succeeds: the deadline less the guard.
	Remaining() time.Duration
}

// errChildNotStarted says that the command could not be started: exit code 126 or 127.
var errChildNotStarted = errors.New("command not started")

// runOptions say how a command runs under a lock.
type runOptions struct {
	path  string   // of the program
	argv  []string // argv[0] as it was typed
	env   []string
	grace time.Duration // between TERM and KILL
	// ownEnd reports whether the end that is near is one of the hold's own (max-hold), which no renewal moves; nil: never.
	ownEnd func() bool
	// told returns what the service gave as the reason of the loss, "" if nothing is known of one; nil: never.
	told func() string
	// keepOnLost lets the command go on when the lock is lost.
	keepOnLost bool
	// guard is started beside the command and ends what is left if this process is killed; nil: none.
	guard *exec.Cmd
	warn  func(format string, args ...any)
}

// ending is how a command under a lock ended.
type ending struct {
	code int  // the command's exit code, 128 + n by signal n
	lost bool // the lock was lost, or about to be, while the command ran
}

// pollLock bounds how long a change of the lock's remaining time goes unseen. It also catches a machine
// that was suspended, during which timers stand still.
const pollLock = 250 * time.Millisecond

// runUnderLock runs a command in a process group of its own until it ends, and returns only when neither
// it nor anything that it started is left. Signals from sigs, which gets those of forwarded, go to the group.
//
// While the lock is only silent (no renewal succeeds) the command goes on; the group gets TERM when grace
// is left of the lock's time, and KILL when none is left. When the lock's context ends, both come at once.
func runUnderLock(l held, o runOptions, sigs <-chan os.Signal) (ending, error) {
	p, err := startGroup(o)
	if err != nil {
		return ending{}, err
	}
	defer p.release()
	r := &run{held: l, o: o, p: p}
	tick := time.NewTimer(0)
	defer tick.Stop()
	done := l.Context().Done()
	for {
		select {
		case ev := <-p.events:
			if ev.stopped != 0 {
				p.stoppedBy(ev.stopped)
				continue
			}
			r.sweep()
			if !r.lost && l.Context().Err() != nil {
				r.lost = true
				o.warn("the lock was lost while the command ended: %s", o.reason(l.Context()))
			}
			return ending{code: ev.code, lost: r.lost}, nil
		case s := <-sigs:
			if s == unix.SIGCONT { // what was stopped past the lock's end must not run again, not for a moment
				tick.Reset(r.check())
			}
			if !r.killed {
				p.forward(s)
			}
		case <-done:
			done = nil // once
			r.end("the lock is lost: " + o.reason(l.Context()))
		case <-tick.C:
			tick.Reset(r.check())
		}
	}
}

// run is the state of one command under one lock.
type run struct {
	held   held
	o      runOptions
	p      *group
	lost   bool // TERM was sent because of the lock
	killed bool
	killAt time.Time // set with lost
}

// check looks at the clock, ends the command if it is time, and returns when to look again.
func (r *run) check() time.Duration {
	left := r.held.Remaining()
	if r.o.keepOnLost || r.killed {
		return pollLock
	}
	if left > 0 && !r.lost {
		r.p.guard.lasts(left)
	}
	switch {
	case r.lost: // TERM was sent: a renewal that comes now is too late
		if wait := time.Until(r.killAt); wait > 0 && left > 0 {
			return min(wait, left, pollLock)
		}
		r.kill()
		return pollLock
	case left <= 0:
		r.end("the lock's time is over")
		return pollLock
	case left <= r.o.grace:
		r.lost, r.killAt = true, time.Now().Add(left)
		why := "no renewal of the lock for too long"
		if r.o.ownEnd != nil && r.o.ownEnd() {
			why = "the lock's time (--max-hold) is nearly over"
		}
		r.o.warn("%s: ending the command, %s left", why, left.Round(time.Millisecond))
		r.p.signal(unix.SIGTERM)
		r.p.signal(unix.SIGCONT) // a stopped process takes TERM only then
		return min(left, pollLock)
	}
	return min(left-r.o.grace, pollLock)
}

// end ends the command now, because the lock is gone.
func (r *run) end(why string) {
	if r.lost && r.killed {
		return
	}
	r.lost = true
	if r.o.keepOnLost {
		r.o.warn("%s; the command goes on (--on-lost ignore)", why)
		return
	}
	r.o.warn("%s: ending the command", why)
	r.p.signal(unix.SIGTERM)
	r.kill()
}

func (r *run) kill() {
	r.killed = true
	r.p.killAll()
}

// sweep ends what the command left behind. It is not under the lock any more once the lock is released.
func (r *run) sweep() {
	if r.killed || (r.lost && !r.o.keepOnLost) {
		r.p.killAll()
		return
	}
	if !r.p.anyLeft() {
		return
	}
	r.p.signalAll(unix.SIGTERM)
	limit := time.Now().Add(r.o.grace)
	for r.p.anyLeft() {
		if time.Now().After(limit) || (!r.o.keepOnLost && r.held.Remaining() <= 0) {
			r.p.killAll()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// reason says why the lock is lost.
func (o *runOptions) reason(ctx context.Context) string {
	if o.told == nil {
		return reason(ctx, "")
	}
	return reason(ctx, o.told())
}

// event is what happened to the command: it stopped by a signal, or ended.
type event struct {
	stopped unix.Signal
	code    int
}

// group is a running command with everything that it starts.
type group struct {
	pid      int
	guardPID int // 0: none
	events   chan event
	tty      *terminal // nil: none
	guard    *guardPipe
}

// startGroup starts the command in a new process group, in the terminal's foreground if this process was.
//
// The parent-death signal is bound to the thread that forks, so the goroutine that starts the command keeps
// its thread for as long as the command lives. It also waits for every child, because a subreaper inherits
// the orphans of the command.
func startGroup(o runOptions) (*group, error) {
	becomeSubreaper()
	p := &group{events: make(chan event, 8), tty: openTerminal()}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := p.start(o)
		started <- err
		if err == nil {
			p.wait()
		}
	}()
	if err := <-started; err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

func (p *group) start(o runOptions) error {
	attr := &os.ProcAttr{Env: o.env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}}
	attr.Sys = childAttributes()
	attr.Sys.Setpgid = true
	if p.tty.shouldHandOver() {
		attr.Sys.Foreground, attr.Sys.Ctty = true, p.tty.fd()
	}
	if o.guard != nil {
		var err error
		if p.guard, err = startGuard(o.guard); err != nil {
			return err
		}
		p.guardPID = p.guard.pid
	}
	proc, err := os.StartProcess(o.path, o.argv, attr)
	if err != nil {
		return fmt.Errorf("%w: %w", errChildNotStarted, err)
	}
	p.pid = proc.Pid
	p.guard.watch(p.pid)
	// From here on, and not earlier, because the command would inherit it.
	p.tty.ignoreOutputStop()
	return proc.Release()
}

// wait collects the command and every orphan of it until none is left.
func (p *group) wait() {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WUNTRACED, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return // ECHILD
		}
		if pid != p.pid {
			continue
		}
		switch {
		case ws.Stopped():
			p.events <- event{stopped: ws.StopSignal()}
		case ws.Exited():
			p.events <- event{code: ws.ExitStatus()}
		case ws.Signaled():
			p.events <- event{code: 128 + int(ws.Signal())}
		}
	}
}

// release gives the terminal back and lets the guard go.
func (p *group) release() {
	p.tty.takeBack()
	p.tty.close()
	p.guard.done()
}

// signal sends a signal to the command's process group.
func (p *group) signal(s unix.Signal) {
	_ = unix.Kill(-p.pid, s) // ESRCH: it has ended
}

// signalAll sends a signal to the group and to what left it.
func (p *group) signalAll(s unix.Signal) {
	p.signal(s)
	for _, pid := range descendants(p.guardPID) {
		_ = unix.Kill(pid, s) // ended meanwhile
	}
}

// killLimit bounds the wait for killed processes to disappear; one in an uninterruptible call can't.
const killLimit = 3 * time.Second

// killAll ends the group and everything that descends from it, also what made a session of its own.
func (p *group) killAll() {
	limit := time.Now().Add(killLimit)
	for {
		p.signalAll(unix.SIGKILL)
		if !p.anyLeft() || time.Now().After(limit) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// anyLeft reports whether any process of the command is alive.
func (p *group) anyLeft() bool {
	if len(descendants(p.guardPID)) > 0 {
		return true
	}
	return !descendantsKnown && unix.Kill(-p.pid, 0) == nil
}

// forward passes a signal that this process got on to the command.
func (p *group) forward(s os.Signal) {
	sig, ok := s.(unix.Signal)
	if !ok {
		return
	}
	if sig == unix.SIGCONT {
		p.tty.handOver(p.pid)
	}
	p.signal(sig)
}

// stoppedBy does job control: a command that stopped because it is not in the foreground gets it if we
// have it; one that was stopped by the user stops us too, so that the shell is back. We do not renew the
// lock while stopped: who stops a command for longer than the TTL loses the lock, and the guard ends the command.
func (p *group) stoppedBy(s unix.Signal) {
	switch {
	case (s == unix.SIGTTIN || s == unix.SIGTTOU) && p.tty.handOver(p.pid):
		p.signal(unix.SIGCONT)
	case p.tty.takeBack():
		if !shellWaits() { // nobody would ever continue us, nor the command
			p.forward(unix.SIGCONT)
			return
		}
		_ = unix.Kill(0, unix.SIGTSTP) // SIGCONT comes through forward
	}
}

// clock reads one of the machine's clocks.
func clock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0 // cannot happen: every kernel has these
	}
	return time.Duration(ts.Nano())
}
