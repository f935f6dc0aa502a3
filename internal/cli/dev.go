package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	devNATSPort = 4222
	devHTTPPort = 8411
	// devReadyLimit is how long the first start may take; it takes a second.
	devReadyLimit = 60 * time.Second
	// devStopLimit is how long the nodes get for an orderly stop.
	devStopLimit = 10 * time.Second
)

// devOptions are the flags of `dev`.
type devOptions struct {
	nodes     int
	dataDir   string
	natsPort  int
	httpPort  int
	natsAsked bool // the port was given: it may not be another one
	httpAsked bool
	noRestart bool
	logLevel  string
}

func devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster of real nodes on this machine",
		Long: "Run a cluster of real nodes, each a process of its own, on this machine's loopback. It is ready\n" +
			"within seconds and prints three lines to try. A node that dies is started again after 2 s.\n\n" +
			"The data is temporary unless --data-dir is given. When all nodes are ready, dev writes dev.json into\n" +
			"that directory. Ctrl-C, a closed terminal or the end of this process in any other way ends all nodes.",
		Args:        exactly(0),
		Annotations: map[string]string{annotationInterrupt: "own"},
	}
	var o devOptions
	f := cmd.Flags()
	f.IntVar(&o.nodes, "nodes", 3, "number of nodes, 1 to 9")
	f.StringVar(&o.dataDir, "data-dir", "", "keep the data here (default a temporary directory, removed at the end)")
	f.IntVar(&o.natsPort, "nats-port", devNATSPort, "NATS port of the first node; the others follow")
	f.IntVar(&o.httpPort, "http-port", devHTTPPort, "HTTP port of the first node; the others follow")
	f.BoolVar(&o.noRestart, "no-restart", false, "leave a node that died alone")
	f.StringVar(&o.logLevel, "log-level", "info", "of the nodes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.natsAsked, o.httpAsked = f.Changed("nats-port"), f.Changed("http-port")
		if o.nodes < 1 || o.nodes > 9 {
			return usagef("--nodes: %d is not between 1 and 9", o.nodes)
		}
		ctx, stop := devSignals(cmd.Context())
		defer stop()
		return runDev(ctx, o, cmd.OutOrStdout())
	}
	return cmd
}

// devSignals ends the context at the first signal that ends a process, or, under `go run`, when the go
// command has ended (it does not pass signals on). A second signal ends the process: the nodes hold a pipe
// from it and end with it.
func devSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	sigs := make(chan os.Signal, 4)
	signal.Notify(sigs, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	// A reader that went away (dev | head) must not end us before the nodes are stopped.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	var orphaned <-chan time.Time
	parent := os.Getppid()
	tick := time.NewTicker(200 * time.Millisecond)
	if startedByGoRun() {
		orphaned = tick.C
	}
	done := make(chan struct{})
	go func() {
		for stops := 0; ; {
			select {
			case <-sigs:
				if stops++; stops > 1 {
					os.Exit(128 + int(syscall.SIGINT))
				}
				cancel(context.Canceled)
			case <-orphaned:
				if os.Getppid() != parent {
					orphaned = nil
					cancel(context.Canceled)
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(sigs)
		signal.Stop(pipe)
		tick.Stop()
		close(done)
		cancel(nil)
	}
}

// runDev starts the nodes and keeps them running until ctx ends.
func runDev(ctx context.Context, o devOptions, out io.Writer) (err error) {
	dir, cleanUp, err := devDirectory(o.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanUp()) }()
	plan, err := planDev(o, dir, out)
	if err != nil {
		return err
	}
	sup, err := newSupervisor(plan, o, out)
	if err != nil {
		return err
	}
	defer sup.stop(devStopLimit)
	if err := sup.start(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if err := sup.writeState(); err != nil {
		return err
	}
	roles := devRoles(ctx, plan)
	sup.announce(func() { printDev(out, plan, sup.pids(), roles, o.dataDir == "") })
	return sup.keep(ctx)
}

// devDirectory prepares the data directory and locks it. The returned function unlocks it, and removes it
// if it is temporary.
func devDirectory(asked string) (dir string, cleanUp func() error, err error) {
	if asked == "" {
		sweepTemporary()
		if dir, err = os.MkdirTemp("", devTempPattern); err != nil {
			return "", nil, fmt.Errorf("make temporary data directory: %w", err)
		}
	} else {
		if dir, err = filepath.Abs(asked); err != nil {
			return "", nil, fmt.Errorf("data directory: %w", err)
		}
		if err = os.MkdirAll(dir, 0o700); err != nil {
			return "", nil, fmt.Errorf("make data directory: %w", err)
		}
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return "", nil, err
	}
	return dir, func() error {
		var errs []error
		if asked == "" {
			errs = append(errs, os.RemoveAll(dir))
		} else if err := os.Remove(filepath.Join(dir, "dev.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		return errors.Join(append(errs, lock.Close())...)
	}, nil
}

// printDev tells what runs where and what to try.
func printDev(out io.Writer, plan *devPlan, pids map[string]int, roles map[string]string, temporary bool) {
	where := plan.dir
	if temporary {
		where += " (temporary)"
	}
	fmt.Fprintf(out, "\n%d %s ready, data in %s\n\n", len(plan.Nodes), plural(len(plan.Nodes), "node is", "nodes are"), where)
	var rows [][]string
	for _, n := range plan.Nodes {
		rows = append(rows, []string{n.Name, fmt.Sprint(pids[n.Name]), roles[n.Name], n.natsURL(), n.httpURL() + "/"})
	}
	_ = table(out, []string{"NAME", "PID", "ROLE", "NATS", "CONSOLE"}, rows) // nobody reads any more: go on
	fmt.Fprintln(out)
	if plan.Nodes[0].NATSPort != devNATSPort {
		fmt.Fprintf(out, "export COORDD_NATS_URL=%s\n\n", plan.natsURLs())
	}
	fmt.Fprintf(out, "Try:\n\n")
	self := invocation()
	for _, l := range []string{`lock run demo -- sh -c 'echo $COORDD_FENCE'`, `id next --count 3 --format uuid`, `status`} {
		fmt.Fprintln(out, self+" "+l)
	}
	fmt.Fprintf(out, "\nCtrl-C stops all.\n")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// childEnv is the environment of the nodes: nothing that this program's own settings say is meant for them.
func childEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "COORDD_") {
			env = append(env, e)
		}
	}
	return env
}
