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
// sets the log level at SIGHUP.
func serveSignals(ctx context.Context, d *daemon.Daemon, reload func() (string, error)) (context.Context, func()) {
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
					if level, err := reload(); err != nil {
						d.Logger().Error("configuration was not read again", "error", err)
					} else if err := d.SetLogLevel(level); err != nil {
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

// reloadLogLevel returns the log level as it stands now in flag, environment and file.
func reloadLogLevel(given *pflag.FlagSet) (string, error) {
	fresh := serveCommand().Flags()
	fresh.String("config", "", "")
	var err error
	given.VisitAll(func(f *pflag.Flag) {
		// What came from the command line stays; what came from file or environment is read again.
		if onCommandLine(f) && fresh.Lookup(f.Name) != nil && err == nil {
			if sv, ok := f.Value.(pflag.SliceValue); ok {
				err = fresh.Lookup(f.Name).Value.(pflag.SliceValue).Replace(sv.GetSlice())
				fresh.Lookup(f.Name).Changed = true
				return
			}
			err = fresh.Set(f.Name, f.Value.String())
		}
	})
	if err != nil {
		return "", fmt.Errorf("read flags again: %w", err)
	}
	if err := resolveSettings(fresh, os.Getenv); err != nil {
		return "", err
	}
	return fresh.Lookup("log-level").Value.String(), nil
}
