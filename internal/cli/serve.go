package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coordd/coordd/internal/daemon"
)

func serveCommand() *cobra.Command {
	cmd, _, _ := newServe()
	return cmd
}

// newServe returns the command, the settings that its flags fill, and what completes and checks these.
func newServe() (cmd *cobra.Command, cfg *daemon.Config, complete func() error) {
	cmd = &cobra.Command{
		Use:   "serve",
		Short: "Run one node",
		Long: "Run one node. Without --peers and --join it is a cluster by itself, which others can join; with --peers, equal on\n" +
			"every member, it is one of a static start; with --join it announces itself to a cluster that runs, and votes when it\n" +
			"has caught up:\n\n" +
			"  coordd serve --name n1 --data-dir /var/lib/coordd --peers n1=10.0.0.1:8410,n2=10.0.0.2:8410,n3=10.0.0.3:8410 --insecure\n" +
			"  coordd serve --name n4 --data-dir /var/lib/coordd --peer-listen 10.0.0.4:8410 --join 10.0.0.1:8410,10.0.0.2:8410 --insecure\n\n" +
			"All three are about an empty data directory: one that holds a member goes on as that member, and ignores them.\n\n" +
			"Each node embeds a NATS server; the servers find each other at the peers' hosts and ports + 2000,\n" +
			"unless --nats-cluster-listen and --nats-routes say otherwise.\n\n" +
			"SIGTERM or Ctrl-C: hand over leadership, drain NATS, stop; exit code 0. A second one stops at once.\n" +
			"SIGHUP: read the configuration file again for log level, metadata and φ threshold.",
		Args:        exactly(0),
		Annotations: map[string]string{annotationInterrupt: "own"},
	}
	cfg = &daemon.Config{JournalMemory: 10 << 20}
	var (
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
	f.StringSliceVar(&cfg.Join, "join", nil, "addresses of members of a running cluster to announce this node to, host:port,…")
	f.BoolVar(&cfg.Standby, "standby", false, "vote and acknowledge, but never lead")
	f.StringToStringVar(&cfg.Metadata, "metadata", nil, "the member's metadata, k=v,…, shown by member ls")
	f.IntVar(&cfg.WarmupRounds, "warmup-rounds", 10, "rounds of catching up that a joining member gets before it stays a learner")
	f.StringVar(&cfg.FailureDetector, "failure-detector", "off", "off, or phi: the leader removes members that have failed, never below three voters")
	f.Float64Var(&cfg.PhiThreshold, "phi-threshold", 16, "suspicion at which the phi failure detector takes a member for failed")
	f.StringVar(&cfg.Compaction, "compaction", "background", "how the log is cut: background, foreground or sequential")
	f.Var((*byteSize)(&cfg.JournalMemory), "journal-memory", "what answers to other members may take in memory, for repeats")
	f.DurationVar(&cfg.JournalExpiry, "journal-expiry", 10e9, "how long such an answer is remembered")
	f.BoolVar(&cfg.LeaveOnStop, "leave-on-stop", false, "leave the cluster at an orderly stop")
	f.DurationVar(&cfg.ElectionTimeoutMin, "election-timeout-min", 150e6, "shortest time without a leader before an election")
	f.DurationVar(&cfg.ElectionTimeoutMax, "election-timeout-max", 300e6, "longest time without a leader before an election (2 × min if only that is given)")
	f.Float64Var(&cfg.HeartbeatThreshold, "heartbeat-threshold", 0.5, "period of heartbeats as a share of the minimum election timeout")
	f.Float64Var(&cfg.ClockDriftBound, "clock-drift-bound", 1.1, "bound on the ratio of the speeds of any two clocks")
	f.BoolVar(&cfg.CheckQuorum, "check-quorum", true, "a leader without its majority steps down")
	f.DurationVar(&cfg.ConnectTimeout, "connect-timeout", 0, "limit of one try to connect to a peer (default half of --election-timeout-min)")
	f.DurationVar(&cfg.RequestTimeout, "request-timeout", 0, "how long a peer may leave a message untaken (default half of --election-timeout-min, but no less than --connect-timeout)")
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

	// complete checks the settings all together, before anything begins.
	complete = func() error {
		if err := checkLater(f, later); err != nil {
			return configFailure(err)
		}
		if err := refuseZeros(f); err != nil {
			return err
		}
		if f.Changed("election-timeout-min") && !f.Changed("election-timeout-max") {
			cfg.ElectionTimeoutMax = 0 // follows the minimum
		}
		cfg.NATSExternal = joinList(external)
		var err error
		if cfg.Peers, err = daemon.ParsePeers(peers); err != nil {
			return configFailure(err)
		}
		return configFailure(cfg.Complete())
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := complete(); err != nil {
			return err
		}
		d := daemon.New(*cfg, cmd.ErrOrStderr())
		ctx, stop := serveSignals(cmd.Context(), d, func() (daemon.Tunables, error) { return reloadTunables(f) })
		defer stop()
		if parentFD > 0 {
			if err := endWithParent(parentFD); err != nil {
				return err
			}
		}
		return d.Run(ctx)
	}
	return cmd, cfg, complete
}

// refuseZeros refuses a 0 where it means to the daemon that nothing was said.
func refuseZeros(f *pflag.FlagSet) error {
	for _, name := range []string{"election-timeout-min", "election-timeout-max", "heartbeat-threshold", "clock-drift-bound", "warmup-rounds"} {
		if v := f.Lookup(name).Value.String(); f.Changed(name) && (v == "0" || v == "0s") {
			return usagef("--%s: 0 is not a value for it", name)
		}
	}
	return nil
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

// byteSize is a number of bytes, written with or without KiB, MiB or GiB.
type byteSize int64

func (b *byteSize) Type() string { return "bytes" }

func (b *byteSize) String() string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if n := int64(1) << (30 - 10*i); int64(*b) >= n && int64(*b)%n == 0 {
			return strconv.FormatInt(int64(*b)/n, 10) + unit
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

func (b *byteSize) Set(s string) error {
	shift := 0
	for unit, by := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			s, shift = rest, by
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return errors.New("must be a number of bytes like 65536, 64KiB, 10MiB or 1GiB")
	}
	*b = byteSize(n << shift)
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
