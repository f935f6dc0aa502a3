package cli

import (
	"context"
	"errors"
	"fmt"
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

// lockRunFlags are the flags of `lock run`.
type lockRunFlags struct {
	ttl, grace             time.Duration
	wait, onLost, owner    string
	shared                 bool
	limit                  int
	conflictCode, lostCode int

	graceGiven  bool
	waitFor     time.Duration // 0: try once
	waitForever bool
}

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
			"was not obtained, 4 if it was lost, 5 without a leader, 6 denied (3 and 4 can be moved, see below).",
		Annotations: map[string]string{annotationInterrupt: "own"},
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
	f.DurationVar(&o.ttl, "ttl", 15*time.Second, "how long the lock outlives its last renewal, 1s to 24h")
	f.StringVar(&o.wait, "wait", "", "how long to queue for the lock, or forever (default: try once)")
	f.DurationVar(&o.grace, "grace", 0, "between TERM and KILL (default a fifth of --ttl, at most 5s)")
	f.StringVar(&o.onLost, "on-lost", "term", "term: end the command when the lock is lost; ignore: let it go on")
	f.StringVar(&o.owner, "owner", "", "who others see as the holder (default this program, process and host)")
	f.BoolVar(&o.shared, "shared", false, "take the lock as a reader; not in this version")
	f.IntVar(&o.limit, "limit", 0, "take one of N places; not in this version")
	f.IntVar(&o.conflictCode, "conflict-code", exitConflict, "exit code if the lock was not obtained")
	f.IntVar(&o.lostCode, "lost-code", exitLost, "exit code if the lock was lost")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.graceGiven = f.Changed("grace")
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
		return c.lockRun(args[0], path, args[1:], o, cmd.ErrOrStderr())
	}
	return cmd
}

// check refuses flags that cannot work and fills defaults.
func (o *lockRunFlags) check() error {
	switch {
	case o.shared:
		return usagef("--shared: shared locks come with a later version of coordd")
	case o.limit != 0:
		return usagef("--limit: semaphores come with a later version of coordd")
	case o.ttl < time.Second || o.ttl > 24*time.Hour:
		return usagef("--ttl: %v is not between 1s and 24h", o.ttl)
	case o.onLost != "term" && o.onLost != "ignore":
		return usagef("--on-lost: %q is neither term nor ignore", o.onLost)
	}
	for flag, code := range map[string]int{"conflict-code": o.conflictCode, "lost-code": o.lostCode} {
		if code < 0 || code > 255 {
			return usagef("--%s: %d is not between 0 and 255", flag, code)
		}
	}
	if o.grace < 0 {
		return usagef("--grace: %v is negative", o.grace)
	}
	if !o.graceGiven {
		o.grace = min(o.ttl/5, 5*time.Second)
	}
	// A renewal comes every third of the TTL: with a longer grace each would be too late.
	if o.grace > o.ttl/2 {
		return usagef("--grace: %v is not between 0 and half of --ttl (%v)", o.grace, o.ttl/2)
	}
	switch o.wait {
	case "":
	case "forever":
		o.waitForever = true
	default:
		d, err := time.ParseDuration(o.wait)
		if err != nil || d < 0 {
			return usagef("--wait: %q is neither a duration like 10s nor forever", o.wait)
		}
		o.waitFor = d
	}
	return nil
}

// lockRun takes the lock, runs the command and releases the lock.
func (c *clientFlags) lockRun(name, path string, argv []string, o lockRunFlags, errOut interface{ Write([]byte) (int, error) }) error {
	warn := func(format string, args ...any) { fmt.Fprintf(errOut, "coordd: "+format+"\n", args...) }
	sigs := make(chan os.Signal, 64)
	signal.Notify(sigs, forwarded()...)
	defer signal.Stop(sigs)

	wait := newInterruptible(sigs)
	defer wait.stop()
	cl, l, s, err := c.obtain(wait.ctx, name, o)
	if err != nil {
		return wait.explain(err)
	}
	stopped := wait.stop()

	run := newRunID()
	guard, err := selfCommand("lock", "guard", run)
	if err != nil {
		return errors.Join(err, cl.Close())
	}
	opts := runOptions{path: path, argv: argv, grace: o.grace, keepOnLost: o.onLost == "ignore", warn: warn, guard: guard,
		env: runEnv(name, c.namespace, l, s, run)}
	var end ending
	if stopped != nil { // a signal came when the lock did: nothing is started any more
		err = exitStatus(128 + int(stopped.(syscall.Signal)))
	} else {
		end, err = runUnderLock(l, opts, sigs)
	}
	if end.lost {
		yield(cl, l, c.timeout)
	}
	if cErr := cl.Close(); cErr != nil && !end.lost {
		warn("the release of lock %q is not confirmed (%v); it frees itself within %v", name, cErr, o.ttl)
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

// yield tells the service that nothing works any more under a lock that an operator took away; until then it keeps others
// out. It returns when that is seen to be done, or after limit: then the service waits for the end of the session.
func yield(cl *client.Client, l held, limit time.Duration) {
	h, ok := l.(client.Hold)
	if !ok || !errors.Is(context.Cause(h.Context()), client.ErrForced) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = h.Unlock(ctx) // says that it was forced
	_ = retry(ctx, func() (again bool, err error) {
		info, err := cl.LockInfo(ctx, h.Name())
		if err == nil && slices.ContainsFunc(info.Holders, func(x client.HolderInfo) bool { return x.Fence == h.Fence() }) {
			return true, errors.New("still there")
		}
		return false, err
	})
}

// obtain opens a session and takes the lock in it.
func (c *clientFlags) obtain(ctx context.Context, name string, o lockRunFlags) (*client.Client, *client.Lock, *client.Session, error) {
	opts := []client.Option{client.WithTTL(o.ttl)}
	if o.owner != "" {
		opts = append(opts, client.WithOwner(o.owner))
	}
	cl, err := c.connect(ctx, opts...)
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := cl.NewSession(ctx)
	if err != nil {
		return nil, nil, nil, errors.Join(c.clientFailure(ctx, err), ignore(cl.Close()))
	}
	var l *client.Lock
	switch {
	case o.waitForever:
		l, err = s.Lock(ctx, name)
	case o.wait != "":
		l, err = s.Lock(ctx, name, client.Wait(o.waitFor))
	default:
		l, err = s.TryLock(ctx, name)
	}
	if err == nil {
		return cl, l, s, nil
	}
	err = o.notObtained(c.clientFailure(ctx, err), err)
	return nil, nil, nil, errors.Join(err, ignore(cl.Close()))
}

// ignore drops an error beside a more important one.
func ignore(error) error { return nil }

// notObtained adds to the error of a lock that somebody else has what the user can do, and sets the code.
func (o *lockRunFlags) notObtained(err, cause error) error {
	var f *failure
	if !errors.As(err, &f) || f.exit != exitConflict {
		return err
	}
	f.exit = o.conflictCode
	var locked *client.LockedError
	if errors.As(cause, &locked) && o.wait == "" {
		f.message = lockedText(locked) + "; use --wait to queue"
	}
	return f
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
func runEnv(name, namespace string, l *client.Lock, s *client.Session, run string) []string {
	if outer := os.Getenv(envRun); outer != "" {
		run = outer + ":" + run // the outer one finds them too
	}
	set := map[string]string{
		"COORDD_FENCE":     strconv.FormatUint(l.Fence(), 10),
		"COORDD_LOCK":      name,
		"COORDD_SESSION":   strconv.FormatUint(s.ID(), 10),
		"COORDD_NAMESPACE": namespace,
		"COORDD_DEADLINE":  strconv.FormatInt(time.Now().Add(l.Remaining()).UnixMilli(), 10),
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
