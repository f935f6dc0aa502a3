package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/coordd/coordd/internal/daemon"
)

// joinList joins a list flag back into the comma-separated form.
func joinList(list []string) string { return strings.Join(list, ",") }

// serveSignals ends the returned context at the first SIGTERM or SIGINT, the process at the second, and
// changes what can be changed at SIGHUP.
func serveSignals(ctx context.Context, d *daemon.Daemon, reload func() (daemon.Tunables, error)) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	sigs := make(chan os.Signal, 4)
	signal.Notify(sigs, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for stops := 0; ; {
			select {
			case <-done:
				return
			case s := <-sigs:
				if s == syscall.SIGHUP {
					if t, err := reload(); err != nil {
						d.Logger().Error("configuration was not read again", "error", err)
					} else if err := d.Tune(t); err != nil {
						d.Logger().Error("configuration was not read again", "error", err)
					}
					continue
				}
				if stops++; stops > 1 {
					d.Logger().Error("stopped at once by a second signal", "signal", s)
					os.Exit(128 + int(s.(syscall.Signal)))
				}
				d.Logger().Info("stopping", "signal", s)
				cancel()
			}
		}
	}()
	return ctx, func() {
		signal.Stop(sigs)
		close(done)
		cancel()
	}
}

// reloadTunables returns what can be changed as it stands now in flag, environment and file.
func reloadTunables(given *pflag.FlagSet) (t daemon.Tunables, err error) {
	fresh := serveCommand().Flags()
	fresh.String("config", "", "")
	given.VisitAll(func(f *pflag.Flag) {
		// What came from the command line stays; what came from file or environment is read again.
		if onCommandLine(f) && fresh.Lookup(f.Name) != nil && err == nil {
			if sv, ok := f.Value.(pflag.SliceValue); ok {
				err = fresh.Lookup(f.Name).Value.(pflag.SliceValue).Replace(sv.GetSlice())
				fresh.Lookup(f.Name).Changed = true
				return
			}
			value := f.Value.String()
			if strings.HasPrefix(f.Value.Type(), "stringToString") {
				value = strings.TrimSuffix(strings.TrimPrefix(value, "["), "]")
			}
			err = fresh.Set(f.Name, value)
		}
	})
	if err != nil {
		return t, fmt.Errorf("read flags again: %w", err)
	}
	if err := resolveSettings(fresh, os.Getenv); err != nil {
		return t, err
	}
	t.LogLevel = fresh.Lookup("log-level").Value.String()
	if t.PhiThreshold, err = fresh.GetFloat64("phi-threshold"); err != nil {
		return t, err
	}
	if fresh.Changed("metadata") {
		t.Metadata, err = fresh.GetStringToString("metadata")
	}
	return t, err
}
