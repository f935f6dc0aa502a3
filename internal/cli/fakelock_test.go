package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"time"
)

// fakeLock is a lock whose time runs out, or that is lost, as the environment says.
type fakeLock struct {
	ctx context.Context
	end time.Time
}

func (f *fakeLock) Context() context.Context { return f.ctx }

func (f *fakeLock) Remaining() time.Duration {
	if f.ctx.Err() != nil {
		return 0
	}
	return max(time.Until(f.end), 0)
}

// runFakeLock is a program that runs its arguments under a fake lock:
//
//	FAKE_LEFT   time until the lock's end (an hour)
//	FAKE_LOST   file whose coming says that the service has given it to somebody else (none)
//	FAKE_GRACE  between TERM and KILL (100ms)
//	FAKE_KEEP   set: the command goes on when the lock is lost
//	FAKE_GUARD  set: with a guard
//
// Its exit code is the command's; it writes "lost" to stderr if the lock was.
func runFakeLock() {
	d := func(name string, def time.Duration) time.Duration {
		v, err := time.ParseDuration(os.Getenv(name))
		if err != nil {
			return def
		}
		return v
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &fakeLock{ctx, time.Now().Add(d("FAKE_LEFT", time.Hour))}
	time.AfterFunc(d("FAKE_LEFT", time.Hour), func() { cancel(errors.New("its time is over")) })
	if name := os.Getenv("FAKE_LOST"); name != "" {
		go func() {
			for _, err := os.Stat(name); err != nil; _, err = os.Stat(name) {
				time.Sleep(10 * time.Millisecond)
			}
			cancel(errors.New("somebody took it"))
		}()
	}
	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs, forwarded()...)
	path, err := exec.LookPath(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	o := runOptions{path: path, argv: os.Args[1:], env: os.Environ(), grace: d("FAKE_GRACE", 100*time.Millisecond),
		keepOnLost: os.Getenv("FAKE_KEEP") != "", warn: func(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }}
	if os.Getenv("FAKE_GUARD") != "" {
		run := newRunID()
		o.env = append(o.env, envRun+"="+run)
		o.guard = exec.Command("coordd", "lock", "guard", run)
	}
	end, err := runUnderLock(l, o, sigs)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(126)
	}
	if end.lost {
		fmt.Fprintln(os.Stderr, "lost")
	}
	os.Exit(end.code)
}
