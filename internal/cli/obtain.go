package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/pkg/client"
)

// lockRunFlags are the flags of `lock run` and of `election campaign`.
type lockRunFlags struct {
	ttl, grace             time.Duration
	delay, maxHold         time.Duration
	wait, onLost, owner    string
	metadata               map[string]string
	shared                 bool
	limit, count           int
	conflictCode, lostCode int
	election               bool
	value, secretFile      string // of an election

	graceGiven  bool
	waitFor     time.Duration // 0: try once
	waitForever bool
}

// add adds what both commands have.
func (o *lockRunFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.DurationVar(&o.ttl, "ttl", 15*time.Second, "how long the hold outlives its last renewal, 1s to 24h")
	f.StringVar(&o.wait, "wait", o.wait, "how long to queue, or forever (without it: try once)")
	f.DurationVar(&o.grace, "grace", 0, "between TERM and KILL (default a fifth of --ttl, at most 5s and half of --max-hold)")
	f.StringVar(&o.onLost, "on-lost", "term", "term: end the command when the lock is lost; ignore: let it go on")
	offer(cmd, "on-lost", "term", "ignore")
	offer(cmd, "wait", "forever", "10s")
	f.StringVar(&o.owner, "owner", "", "who others see as the holder (default this program, process and host)")
	f.DurationVar(&o.delay, "delay", 0, "how long others are kept out after the hold was lost")
	f.DurationVar(&o.maxHold, "max-hold", 0, "end the hold, and the command with it, after so long (default: no end)")
	f.StringToStringVar(&o.metadata, "metadata", nil, "what others see of the hold, as k=v,...")
	f.IntVar(&o.conflictCode, "conflict-code", exitConflict, "exit code if it was not obtained")
	f.IntVar(&o.lostCode, "lost-code", exitLost, "exit code if it was lost")
}

// check refuses flags that cannot work and fills defaults.
func (o *lockRunFlags) check() error {
	switch {
	case o.limit < 0:
		return usagef("--limit: %d is not positive", o.limit)
	case o.shared && o.limit != 0:
		return usagef("--shared is of a lock, --limit of a semaphore: not both")
	case o.limit == 0 && o.count != 1:
		return usagef("--count is of a semaphore: it needs --limit")
	case o.limit != 0 && (o.count < 1 || o.count > o.limit):
		return usagef("--count: %d is not between 1 and --limit (%d)", o.count, o.limit)
	case o.ttl < time.Second || o.ttl > 24*time.Hour:
		return usagef("--ttl: %v is not between 1s and 24h", o.ttl)
	case o.onLost != "term" && o.onLost != "ignore":
		return usagef("--on-lost: %q is neither term nor ignore", o.onLost)
	case o.delay < 0:
		return usagef("--delay: %v is negative", o.delay)
	case o.maxHold < 0:
		return usagef("--max-hold: %v is negative", o.maxHold)
	case o.grace < 0:
		return usagef("--grace: %v is negative", o.grace)
	}
	for flag, code := range map[string]int{"conflict-code": o.conflictCode, "lost-code": o.lostCode} {
		if code < 0 || code > 255 {
			return usagef("--%s: %d is not between 0 and 255", flag, code)
		}
	}
	if !o.graceGiven {
		o.grace = min(o.ttl/5, 5*time.Second)
		if o.maxHold > 0 {
			o.grace = min(o.grace, o.maxHold/2)
		}
	}
	// A renewal comes every third of the TTL: with a longer grace each would be too late.
	if o.grace > o.ttl/2 {
		return usagef("--grace: %v is not between 0 and half of --ttl (%v)", o.grace, o.ttl/2)
	}
	if o.maxHold > 0 && o.grace >= o.maxHold {
		return usagef("--grace: %v leaves nothing of --max-hold (%v)", o.grace, o.maxHold)
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

// noun is what is taken.
func (o *lockRunFlags) noun() string {
	switch {
	case o.election:
		return "election"
	case o.limit > 0:
		return "semaphore"
	}
	return "lock"
}

// holding is what a command runs under.
type holding struct {
	client  *client.Client
	session *client.Session
	lock    client.Hold
}

// obtain opens a session and takes the lock in it.
func (c *clientFlags) obtain(ctx context.Context, name string, o *lockRunFlags) (*holding, error) {
	opts := []client.Option{client.WithTTL(o.ttl)}
	if o.owner != "" {
		opts = append(opts, client.WithOwner(o.owner))
	}
	cl, err := c.connect(ctx, opts...)
	if err != nil {
		return nil, err
	}
	s, err := cl.NewSession(ctx)
	if err != nil {
		return nil, errors.Join(c.clientFailure(ctx, err), ignore(cl.Close()))
	}
	l, err := o.take(ctx, s, name)
	if err != nil {
		return nil, errors.Join(o.notObtained(c.clientFailure(ctx, err), err), ignore(cl.Close()))
	}
	return &holding{cl, s, l}, nil
}

// take takes what the flags ask for.
func (o *lockRunFlags) take(ctx context.Context, s *client.Session, name string) (client.Hold, error) {
	var opts []client.LockOption
	if !o.waitForever {
		opts = append(opts, client.Wait(o.waitFor)) // 0: try once
	}
	if o.delay > 0 {
		opts = append(opts, client.Delay(o.delay))
	}
	if o.maxHold > 0 {
		opts = append(opts, client.MaxHold(o.maxHold))
	}
	if len(o.metadata) > 0 {
		opts = append(opts, client.Meta(o.metadata))
	}
	var l *client.Lock
	var err error
	switch {
	case o.election:
		lead, err := s.Election(name).Campaign(ctx, []byte(o.value), opts...)
		if err != nil {
			return nil, err
		}
		return lead, nil
	case o.limit > 0:
		l, err = s.Semaphore(name, o.limit).Acquire(ctx, o.count, opts...)
	case o.shared:
		l, err = s.RLock(ctx, name, opts...)
	default:
		l, err = s.Lock(ctx, name, opts...)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
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

// keepSecret writes the session's secret where --secret-file says, readable by its owner alone, so that other commands
// can act for this hold.
func (o *lockRunFlags) keepSecret(s *client.Session) error {
	if o.secretFile == "" {
		return nil
	}
	if err := os.Remove(o.secretFile); err != nil && !errors.Is(err, os.ErrNotExist) { // whoever has it open sees nothing new
		return fmt.Errorf("--secret-file: %w", err)
	}
	f, err := os.OpenFile(o.secretFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("--secret-file: %w", err)
	}
	_, err = fmt.Fprintln(f, base64.StdEncoding.EncodeToString(s.Token().Secret))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("--secret-file: %w", err)
	}
	return nil
}

// dropSecret removes the file: the session has ended.
func (o *lockRunFlags) dropSecret() {
	if o.secretFile != "" {
		_ = os.Remove(o.secretFile) // a secret of nothing
	}
}
