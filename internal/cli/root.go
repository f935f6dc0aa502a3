package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coordd/coordd/internal/daemon"
)

// Main runs one command and returns the process's exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	ctx, stop := interrupted()
	defer stop()
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && exitCode(err) == exitError && cmd.Annotations[annotationInterrupt] == "" {
		sig := syscall.SIGINT
		if s, ok := context.Cause(ctx).(signalError); ok {
			sig = syscall.Signal(s)
		}
		err = exitStatus(128 + int(sig)) // the user knows
	}
	report(errOut, formatOf(cmd, args), err)
	if exitCode(err) == exitUsage && formatOf(cmd, args) == outputText {
		fmt.Fprintf(errOut, "Run '%s --help' for usage.\n", cmd.CommandPath())
	}
	return exitCode(err)
}

// signalError is the cause with which a signal ends the context of a command.
type signalError syscall.Signal

func (s signalError) Error() string { return syscall.Signal(s).String() }

// interrupted returns a context that the first INT or TERM ends.
func interrupted() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-sigs:
			cancel(signalError(s.(syscall.Signal)))
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(sigs)
		cancel(context.Canceled)
	}
}

// annotationInterrupt marks commands that deal with signals themselves.
const annotationInterrupt = "coordd_interrupt"

// newRoot builds the whole tree of commands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "coordd",
		Short: "Locks with fencing tokens, sessions and unique IDs for distributed services",
		Long: "coordd is a coordination daemon and its command line: locks with fencing tokens, sessions\n" +
			"with leases, and unique IDs, replicated by Raft over three or five nodes, reached through NATS.\n\n" +
			"`coordd dev` starts three nodes on this machine in seconds.\n\n" +
			"Each flag can also be set by the environment variable shown behind it, or by the key of the\n" +
			"same name in the YAML file that --config names: flag > environment > file > default.\n\n" +
			"Exit codes: 0 done, 1 error, 2 usage, 3 lock not obtained, 4 lock lost while running,\n" +
			"5 no leader or unreachable, 6 denied.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       daemon.Version,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return resolveSettings(cmd.Flags(), os.Getenv)
		},
	}
	root.PersistentFlags().String("config", "", "YAML file with the flags of the command as keys")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	root.CompletionOptions.DisableDefaultCmd = true
	parentCommand(root)
	root.AddCommand(serveCommand(), devCommand(), lockCommand(), electionCommand(), sessionCommand(), idCommand(), seqCommand(), statusCommand(), memberCommand(), leaderCommand(),
		snapshotCommand(), benchCommand(),
		errorsCommand(), versionCommand(), completionCommand())
	showEnv(root)
	return root
}

// parentCommand makes a command that only has subcommands complain about an unknown one, with code 2.
func parentCommand(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return usagef("%s", text)
	}
}

// exactly demands n arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		plural := "s"
		if n == 1 {
			plural = ""
		}
		return usagef("%s takes %d argument%s, not %d (usage: %s)", cmd.CommandPath(), n, plural, len(args), cmd.UseLine())
	}
}

// atMost demands no more than n arguments.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return usagef("%s takes at most %d arguments, not %d (usage: %s)", cmd.CommandPath(), n, len(args), cmd.UseLine())
	}
}

// formatOf returns the output format for an error: the flag's, or, where the command line could not even be
// parsed, what it seems to ask for.
func formatOf(cmd *cobra.Command, args []string) outputFormat {
	f := cmd.Flags().Lookup("output")
	if f != nil && f.Changed {
		return outputFormat(f.Value.String())
	}
	var o outputFormat
	for i, a := range args {
		if a == "--" {
			break
		}
		if v, ok := strings.CutPrefix(a, "--output="); ok && o.Set(v) == nil {
			return o
		}
		if v, ok := strings.CutPrefix(a, "-o"); ok && o.Set(strings.TrimPrefix(v, "=")) == nil {
			return o
		}
		if (a == "-o" || a == "--output") && i+1 < len(args) && o.Set(args[i+1]) == nil {
			return o
		}
	}
	if f != nil && o.Set(os.Getenv(envName("output"))) == nil {
		return o
	}
	return outputText
}

// outputFlag adds -o.
func outputFlag(flags *pflag.FlagSet) *outputFormat {
	o := outputText
	flags.VarP(&o, "output", "o", "how the answer is written")
	return &o
}
