package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/internal/daemon"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run one node",
		Long: "Run one node. Without --peers it is a cluster by itself; with --peers, equal on every member,\n" +
			"it is one of a static start:\n\n" +
			"  coordd serve --name n1 --data-dir /var/lib/coordd --peers n1=10.0.0.1:8410,n2=10.0.0.2:8410,n3=10.0.0.3:8410 --insecure\n\n" +
			"Each node embeds a NATS server; the servers find each other at the peers' hosts and ports + 2000,\n" +
			"unless --nats-cluster-listen and --nats-routes say otherwise.\n\n" +
			"SIGTERM or Ctrl-C: hand over leadership, drain NATS, stop; exit code 0. A second one stops at once.\n" +
			"SIGHUP: read the configuration file again for the log level.",
		Args:        exactly(0),
		Annotations: map[string]string{annotationInterrupt: "own"},
	}
	var (
		cfg      daemon.Config
		peers    []string
		external []string
		parentFD int
	)
	f := cmd.Flags()
	f.StringVar(&cfg.Name, "name", "", "the member's name (default the host's name)")
	f.StringVar(&cfg.Cluster, "cluster", "coordd", "the cluster's name, equal on all members")
	f.StringVar(&cfg.DataDir, "data-dir", "", "where the log is kept (default NAME.coordd)")
	f.StringSliceVar(&peers, "peers", nil, "members of a static start, n1=host:port,n2=…; without it the node starts alone")
	f.StringVar(&cfg.PeerListen, "peer-listen", "", "where peers are listened for (default the address in --peers, or "+daemon.DefaultPeerListen+")")
	f.StringVar(&cfg.PeerAdvertise, "peer-advertise", "", "where peers reach this node (default the address in --peers)")
	f.BoolVar(&cfg.Standby, "standby", false, "vote and acknowledge, but never lead")
	f.DurationVar(&cfg.ElectionTimeoutMin, "election-timeout-min", 150e6, "shortest time without a leader before an election")
	f.DurationVar(&cfg.ElectionTimeoutMax, "election-timeout-max", 300e6, "longest time without a leader before an election (2 × min if only that is given)")
	f.Float64Var(&cfg.HeartbeatThreshold, "heartbeat-threshold", 0.5, "period of heartbeats as a share of the minimum election timeout")
	f.Float64Var(&cfg.ClockDriftBound, "clock-drift-bound", 1.1, "bound on the ratio of the speeds of any two clocks")
	f.BoolVar(&cfg.CheckQuorum, "check-quorum", true, "a leader without its majority steps down")
	f.DurationVar(&cfg.ConnectTimeout, "connect-timeout", 0, "limit of one try to connect to a peer (default half of --election-timeout-min)")
	f.DurationVar(&cfg.RequestTimeout, "request-timeout", 0, "how long a peer may leave a message untaken (default half of --election-timeout-min)")
	f.Var((*offDuration)(&cfg.TCPLinger), "tcp-linger", "how long closing a peer connection waits for unsent bytes, or off")
	f.IntVar(&cfg.TCPBlockSize, "tcp-block-size", 65535, "bytes of peer connections given to the kernel at once")
	f.IntVar(&cfg.PeerBacklog, "peer-backlog", 0, "peers that may shake hands at a time (default the number of members)")
	f.IntVar(&cfg.PeerIPTTL, "peer-ip-ttl", 64, "IP time to live towards peers")
	f.DurationVar(&cfg.GracefulStopTimeout, "graceful-stop-timeout", 0, "how long open connections get at a stop (default --election-timeout-min)")
	f.StringVar(&cfg.NATSListen, "nats-listen", "", "where the embedded NATS server takes clients (default "+daemon.DefaultNATSListen+")")
	f.StringVar(&cfg.NATSClusterListen, "nats-cluster-listen", "", "where it takes routes of the members' servers (default the peer address with port + 2000)")
	f.StringSliceVar(&cfg.NATSRoutes, "nats-routes", nil, "routes of the members' servers, host:port,… (default the addresses in --peers with port + 2000)")
	f.StringSliceVar(&external, "nats-external", nil, "URLs of an outside NATS instead of the embedded server")
	f.StringVar(&cfg.HTTPListen, "http-listen", daemon.DefaultHTTPListen, "where health, metrics and the console are served")
	f.StringVar(&cfg.HTTPAdvertise, "http-advertise", "", "where others reach the HTTP address (default --http-listen)")
	f.BoolVar(&cfg.Insecure, "insecure", false, "allow listening beyond this machine without TLS")
	f.BoolVar(&cfg.Pprof, "pprof", false, "serve Go profiles under /debug/pprof/ on the HTTP address")
	f.StringVar(&cfg.LogLevel, "log-level", "info", "trace, debug, info, warn, error or off")
	f.StringVar(&cfg.LogFormat, "log-format", "text", "text or json")
	f.IntVar(&parentFD, "parent-fd", 0, "file descriptor of a pipe; its end ends the node")
	if err := f.MarkHidden("parent-fd"); err != nil {
		panic(err) // the flag stands above
	}
	later := addLaterFlags(f)

	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkLater(f, later); err != nil {
			return configFailure(err)
		}
		if f.Changed("election-timeout-min") && !f.Changed("election-timeout-max") {
			cfg.ElectionTimeoutMax = 0 // follows the minimum
		}
		cfg.NATSExternal = joinList(external)
		var err error
		if cfg.Peers, err = daemon.ParsePeers(peers); err != nil {
			return configFailure(err)
		}
		if err := cfg.Complete(); err != nil {
			return configFailure(err)
		}
		d := daemon.New(cfg, cmd.ErrOrStderr())
		ctx, stop := serveSignals(cmd.Context(), d, func() (string, error) { return reloadLogLevel(f) })
		defer stop()
		if parentFD > 0 {
			if err := endWithParent(parentFD); err != nil {
				return err
			}
		}
		return d.Run(ctx)
	}
	return cmd
}

func configFailure(err error) error {
	var c *daemon.ConfigError
	if errors.As(err, &c) {
		return usagef("%w", err)
	}
	return err
}

// endWithParent ends this process when the pipe's other end is closed, in whatever way that came about.
// There is nobody left to hand anything to, so it does not wait for an orderly stop: the log is durable.
func endWithParent(fd int) error {
	pipe := os.NewFile(uintptr(fd), "parent")
	if pipe == nil {
		return usagef("--parent-fd: %d is not an open file", fd)
	}
	if _, err := pipe.Stat(); err != nil {
		return usagef("--parent-fd: %d is not an open file", fd)
	}
	go func() {
		_, _ = io.Copy(io.Discard, pipe) // any end is the end
		fmt.Fprintln(os.Stderr, "the process that started this node has ended")
		os.Exit(exitError)
	}()
	return nil
}

// offDuration is a duration that may also be off.
type offDuration time.Duration

func (d *offDuration) Type() string { return "duration|off" }

func (d *offDuration) String() string {
	if *d == 0 {
		return "off"
	}
	return time.Duration(*d).String()
}

func (d *offDuration) Set(s string) error {
	if s == "off" {
		*d = 0
		return nil
	}
	v, err := time.ParseDuration(s)
	if err == nil && v <= 0 {
		err = errors.New("must be positive, or off")
	}
	*d = offDuration(v)
	return err
}
