package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/pkg/client"
)

func lockRunCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run NAME [flags] -- COMMAND [ARGUMENT...]",
		Short: "Run a command while holding a lock",
		Long: "Take a lock, run a command, release the lock. The command runs in a process group of its own and finds\n" +
			"in its environment COORDD_FENCE, COORDD_LOCK, COORDD_SESSION, COORDD_NAMESPACE and COORDD_DEADLINE (Unix\n" +
			"milliseconds, as of the start; the lock is renewed from then on). Signals go to the command. Whatever it\n" +
			"started is ended with it, before the lock is released.\n\n" +
			"While renewals fail the command goes on; it gets TERM when --grace is left of the lock's time and KILL\n" +
			"at its end, before anybody else can have the lock. When the lock is known to be gone both come at once.\n\n" +
			"Exit code: the command's; 128 + n if signal n ended it; 126 or 127 if it can't be started; 3 if the lock\n" +
			"was not obtained, 4 if it was lost, 5 without a leader, 6 denied (3 and 4 can be moved, see below).\n\n" +
			"INT, TERM, HUP, QUIT, USR1, USR2, ALRM, WINCH and CONT go to the command; so does TSTP where there is no\n" +
			"terminal. On one Ctrl-Z stops both: whoever stops a command for longer than --ttl loses the lock and the\n" +
			"command. It is ended in time also when coordd itself is stopped or killed (on Linux all that it started).",
		Annotations: map[string]string{annotationInterrupt: "own"},
		Example: "  coordd lock run billing/42 -- ./nightly-report            # at once, or exit code 3\n" +
			"  coordd lock run billing/42 --wait 10m -- ./nightly-report  # queue for it\n" +
			"  coordd lock run catalogue --shared --wait forever -- ./read-it\n" +
			"  coordd lock run builders --limit 4 --wait forever -- make\n" +
			"  coordd lock run db -- sh -c './migrate --fence $COORDD_FENCE'",
		Args: func(cmd *cobra.Command, args []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case dash < 0:
				return usagef("put -- before the command: coordd lock run NAME -- COMMAND [ARGUMENT...]")
			case dash != 1:
				return usagef("lock run takes one name before --, not %d", dash)
			case len(args) < 2:
				return usagef("there is no command after --")
			}
			return nil
		},
	}
	var o lockRunFlags
	f := cmd.Flags()
	o.add(cmd)
	f.BoolVar(&o.shared, "shared", false, "take the lock as a reader, together with other readers")
	f.IntVar(&o.limit, "limit", 0, "take permits of a semaphore that has N of them, instead of a lock")
	f.IntVar(&o.count, "count", 1, "with --limit: how many permits")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.graceGiven = f.Changed("grace")
		if f.Changed("limit") && o.limit == 0 { // a count that came out as none is not a wish for a lock
			return usagef("--limit: 0 is not positive")
		}
		if err := o.check(); err != nil {
			return err
		}
		if err := c.check(); err != nil {
			return err
		}
		if err := checkName("lock", args[0]); err != nil {
			return err
		}
		path, err := exec.LookPath(args[1])
		if err != nil {
			return notStarted(args[1], err)
		}
		return c.lockRun(args[0], path, args[1:], &o, cmd.ErrOrStderr())
	}
	return cmd
}

// lockRun takes the lock, runs the command and releases the lock.
func (c *clientFlags) lockRun(name, path string, argv []string, o *lockRunFlags, errOut io.Writer) error {
	warn := func(format string, args ...any) { fmt.Fprintf(errOut, "coordd: "+format+"\n", args...) }
	sigs := make(chan os.Signal, 64)
	signal.Notify(sigs, forwarded()...)
	defer signal.Stop(sigs)

	wait := newInterruptible(sigs)
	defer wait.stop()
	h, err := c.obtain(wait.ctx, name, o)
	if err != nil {
		return wait.explain(err)
	}
	stopped := wait.stop()
	if err := o.keepSecret(h.session); err != nil {
		return errors.Join(err, h.client.Close())
	}
	defer o.dropSecret()

	run := newRunID()
	guard, err := selfCommand("lock", "guard", run)
	if err != nil {
		return errors.Join(err, h.client.Close())
	}
	opts := runOptions{path: path, argv: argv, grace: o.grace, keepOnLost: o.onLost == "ignore", warn: warn, guard: guard,
		ownEnd: func() bool { return o.maxHold > 0 && h.session.Remaining()-h.lock.Remaining() > 10*time.Millisecond }, // not read at one moment
		told:   h.told,
		env:    runEnv(name, c.namespace, h, run)}
	var end ending
	if stopped != nil { // a signal came when the lock did: nothing is started any more
		err = exitStatus(128 + int(stopped.(syscall.Signal)))
	} else {
		end, err = runUnderLock(h.lock, opts, sigs)
	}
	if end.lost {
		yield(h, c.timeout)
	}
	if cErr := h.client.Close(); cErr != nil && !end.lost {
		warn("the release of %s %q is not confirmed (%v); it frees itself within %v", o.noun(), name, cErr, o.ttl)
	}
	switch {
	case errors.Is(err, errChildNotStarted):
		return notStarted(argv[0], err)
	case err != nil:
		return err
	case end.lost && !opts.keepOnLost:
		return exitStatus(o.lostCode)
	}
	return exitStatus(end.code)
}

// told returns what the service gave as the reason of the loss of the hold, "" if it told of none. It empties the session's events.
func (h *holding) told() (why string) {
	for {
		select {
		case e, open := <-h.session.Events():
			switch {
			case !open:
				return why
			case e.Kind == client.EventLost && e.Fence == h.lock.Fence():
				why = e.Reason
			}
		default:
			return why
		}
	}
}

// reason says why a hold ended: the cause of its context's end, and what the service told beside it.
func reason(ctx context.Context, told string) string {
	err := context.Cause(ctx)
	switch {
	case err == nil:
		return "unknown reason"
	case told == "":
		return err.Error()
	}
	return fmt.Sprintf("%v (%s)", err, told)
}

// yield tells the service that nothing works any more under a lock that an operator took away; until then it keeps others
// out. It returns when that is seen to be done, or after limit: then the service waits for the end of the session.
func yield(h *holding, limit time.Duration) {
	if !errors.Is(context.Cause(h.lock.Context()), client.ErrForced) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = h.lock.Unlock(ctx) // says that it was forced
	_ = retry(ctx, func() (again bool, err error) {
		info, err := h.client.LockInfo(ctx, h.lock.Name())
		if err == nil && slices.ContainsFunc(info.Holders, func(x client.HolderInfo) bool { return x.Fence == h.lock.Fence() }) {
			return true, errors.New("still there")
		}
		return false, err
	})
}

// interruptible is a context that ends with the first signal that would end a process.
type interruptible struct {
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
	done   chan struct{}
	got    os.Signal // after ended
}

func newInterruptible(sigs <-chan os.Signal) *interruptible {
	i := &interruptible{ended: make(chan struct{}), done: make(chan struct{})}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(i.ended)
		for {
			select {
			case s := <-sigs:
				if s == syscall.SIGTSTP { // nothing runs yet that could be stopped but we
					_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
				}
				if s == syscall.SIGINT || s == syscall.SIGTERM || s == syscall.SIGHUP || s == syscall.SIGQUIT {
					i.got = s
					i.cancel()
					return
				}
			case <-i.done:
				return
			}
		}
	}()
	return i
}

// stop ends the watch and returns the signal that ended the context, nil if none did.
func (i *interruptible) stop() os.Signal {
	select {
	case <-i.done:
	default:
		close(i.done)
	}
	<-i.ended
	i.cancel()
	return i.got
}

// explain replaces the error of something that a signal interrupted.
func (i *interruptible) explain(err error) error {
	if s := i.stop(); s != nil {
		return exitStatus(128 + int(s.(syscall.Signal)))
	}
	return err
}

// forwarded are the signals that a command under a lock gets from this process. A hangup that was ignored when this
// process started (nohup) stays so for both. On a terminal SIGTSTP stops this process itself, as its shell expects (Ctrl-Z
// goes to the command, see stoppedBy); without one nobody would see that, and the command is meant.
func forwarded() []os.Signal {
	all := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT, syscall.SIGWINCH, syscall.SIGALRM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	if tty := openTerminal(); tty != nil {
		tty.close()
	} else if !signal.Ignored(syscall.SIGTSTP) {
		all = append(all, syscall.SIGTSTP)
	}
	return all
}

// notStarted says that the command is not there (127) or is no command (126).
func notStarted(command string, err error) error {
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = 127
	}
	var f *exec.Error
	if errors.As(err, &f) {
		err = f.Err
	}
	return &failure{exit: code, code: "BAD_REQUEST", err: fmt.Errorf("%s can't be started: %w", command, err)}
}

// runEnv is the environment of a command under a lock.
func runEnv(name, namespace string, h *holding, run string) []string {
	if outer := os.Getenv(envRun); outer != "" {
		run = outer + ":" + run // the outer one finds them too
	}
	set := map[string]string{
		"COORDD_FENCE":     strconv.FormatUint(h.lock.Fence(), 10),
		"COORDD_LOCK":      name,
		"COORDD_SESSION":   strconv.FormatUint(h.session.ID(), 10),
		"COORDD_NAMESPACE": namespace,
		"COORDD_DEADLINE":  strconv.FormatInt(time.Now().Add(h.lock.Remaining()).UnixMilli(), 10),
		envRun:             run,
	}
	var env []string
	for _, e := range os.Environ() {
		k, _, _ := strings.Cut(e, "=")
		if _, replaced := set[k]; !replaced {
			env = append(env, e)
		}
	}
	for k, v := range set {
		env = append(env, k+"="+v)
	}
	return env
}
