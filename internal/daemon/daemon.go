package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service"
	"github.com/coordd/coordd/internal/service/natsserver"
	"github.com/coordd/coordd/pkg/metrics"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/raft/node/failure"
	"github.com/coordd/coordd/pkg/raft/storage/badgerlog"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/tcp"
)

const (
	// stopLimit bounds a whole orderly stop; past it the process ends as it is, which loses nothing.
	stopLimit = 10 * time.Second
	// dialLimit is how long a start waits for an outside NATS before it goes on without.
	dialLimit = 5 * time.Second
	// leaveLimit bounds what --leave-on-stop waits for the cluster's consent.
	leaveLimit = 5 * time.Second
)

// Daemon is one node.
type Daemon struct {
	cfg     Config
	log     hclog.Logger
	metrics *metrics.Metrics
	started time.Time
	fatal   chan error // the first failure of a part that has no other way to say so

	// What is running, in the order of its start; nil: not yet.
	store    *badgerlog.Log
	snaps    *snapstore.Store
	peers    *tcp.Transport
	node     *node.Node
	nats     *natsserver.Server
	conn     *nats.Conn
	sm       *service.StateMachine
	svc      *service.Service
	web      *http.Server
	webAt    net.Listener
	webOK    chan struct{} // closed: the server has ended
	webConns *webConns
	state    stateSource

	service   atomic.Pointer[service.Service] // svc, for whoever asks before it is there
	phi       atomic.Uint64                   // the φ threshold's bits
	following func()                          // ends what follows the members; nil: nothing does
}

// New makes a daemon from a configuration that Complete accepted. It logs to out.
func New(cfg Config, out io.Writer) *Daemon {
	log := hclog.New(&hclog.LoggerOptions{Name: "coordd", Level: hclog.LevelFromString(cfg.LogLevel), Output: out,
		JSONFormat: cfg.LogFormat == "json", TimeFormat: "2006-01-02T15:04:05.000Z07:00"}).With("node", cfg.Name)
	d := &Daemon{cfg: cfg, log: log, started: time.Now(), fatal: make(chan error, 1),
		metrics: metrics.New(metrics.Build{Version: Version, Revision: Revision(), GoVersion: runtime.Version()})}
	d.phi.Store(math.Float64bits(cfg.PhiThreshold))
	return d
}

// Logger returns the daemon's logger.
func (d *Daemon) Logger() hclog.Logger { return d.log }

// Run runs the node until ctx ends, then stops it in order and returns nil. If any part of it fails, Run
// stops what is left and returns the cause.
func (d *Daemon) Run(ctx context.Context) error {
	boundMemory()
	if err := d.start(ctx); err != nil {
		d.stop()
		return err
	}
	d.log.Info("serving", "cluster", d.cfg.Cluster, "version", Version, "pid", os.Getpid(), "data_dir", d.cfg.DataDir,
		"peer", d.peers.Addr(), "nats", d.natsURL(), "http", d.httpURL())
	clock := watchClock(d.metrics.ClockJumped, d.log)
	defer clock()
	var err error
	select {
	case <-ctx.Done():
		d.handOver()
	case <-d.node.Done():
		err = fmt.Errorf("the node stopped: %w", d.node.Err())
	case err = <-d.fatal:
	}
	if err != nil {
		d.log.Error("stopping because of a failure", "error", err)
	}
	stopErr := d.stop()
	if err == nil && stopErr != nil {
		// What was acknowledged is durable: a stop that was not orderly costs time, not data.
		d.log.Warn("the stop was not orderly", "error", stopErr)
	}
	if err == nil {
		d.log.Info("stopped")
	}
	return err
}

// fail reports the failure of a background part; the first one counts.
func (d *Daemon) fail(err error) {
	select {
	case d.fatal <- err:
	default:
	}
}

// start brings the parts up from the disk outwards. What was started is in d even if it fails.
func (d *Daemon) start(ctx context.Context) error {
	if err := refuseUnfinished(d.cfg.DataDir); err != nil {
		return err
	}
	id := memberID(d.cfg.Cluster, d.cfg.Name)
	var err error
	d.store, err = badgerlog.Open(badgerlog.Options{Dir: d.cfg.DataDir, ClusterName: d.cfg.Cluster, Member: id, MemberName: d.cfg.Name,
		Logger: d.log.Named("log"), Observer: d.metrics.Storage(), Fatal: func(err error) { d.fail(fmt.Errorf("log: %w", err)) }})
	if err != nil {
		return err
	}
	if err := d.openSnapshots(); err != nil {
		return err
	}
	if d.webAt, err = listenOn("http-listen", d.cfg.HTTPListen); err != nil {
		return err
	}
	if err := d.startNATS(ctx); err != nil {
		return err
	}
	if err := d.startNode(); err != nil {
		return err
	}
	if err := d.startService(); err != nil {
		return err
	}
	d.startWeb()
	return nil
}

// openSnapshots opens the snapshots beside the log, and says which of them can't be used.
func (d *Daemon) openSnapshots() (err error) {
	d.snaps, err = snapstore.Open(snapstore.Options{Dir: filepath.Join(d.cfg.DataDir, snapshotsDir), Logger: d.log.Named("snapshots")})
	if err != nil {
		return err
	}
	for _, damage := range d.snaps.Damaged() {
		d.log.Warn("a snapshot can't be used", "error", damage)
	}
	if list := d.snaps.List(); len(list) > 0 {
		d.metrics.FoundSnapshot(list[0].Size)
	}
	return nil
}

// listenOn binds an address and names the setting if that fails.
func listenOn(setting, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", setting, addr, rootOf(err))
	}
	return l, nil
}

// checkListen names the setting of an address that can't be bound. The NATS server binds it itself, and knows no
// settings.
func checkListen(setting, addr string) error {
	if addr == "" {
		return nil
	}
	l, err := listenOn(setting, addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// rootOf strips what package net puts around the cause: operation and address are in our message.
func rootOf(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return sys.Err
	}
	return err
}

func (d *Daemon) startNode() error {
	listener, err := listenOn("peer-listen", d.cfg.PeerListen)
	if err != nil {
		return err
	}
	if len(d.cfg.Peers) == 0 && d.cfg.PeerAdvertise == d.cfg.PeerListen {
		d.cfg.PeerAdvertise = listener.Addr().String() // port 0 became a real one
	}
	d.peers, err = tcp.New(tcp.Config{Listener: listener, Advertise: d.cfg.PeerAdvertise,
		ConnectTimeout: d.cfg.ConnectTimeout, RequestTimeout: d.cfg.RequestTimeout, IdleTimeout: 10 * d.cfg.ElectionTimeoutMin,
		Linger: d.cfg.TCPLinger, BlockSize: d.cfg.TCPBlockSize, Backlog: d.cfg.PeerBacklog, IPTTL: d.cfg.PeerIPTTL,
		JournalBytes: int(d.cfg.JournalMemory), JournalExpiry: d.cfg.JournalExpiry,
		Observer: d.metrics.Transport(), Logger: d.log.Named("peers")})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	d.metrics.KnowPeers("tcp", d.otherNames())
	d.sm = service.NewStateMachine(machine.New())
	d.sm.SetObserver(d.metrics.Apply())
	static := members(&d.cfg, d.cfg.PeerAdvertise)
	d.warnOfOtherMembers(static)
	compaction, err := compactionMode(d.cfg.Compaction)
	if err != nil {
		return err
	}
	started, err := node.Start(node.Config{
		ID: memberID(d.cfg.Cluster, d.cfg.Name), Name: d.cfg.Name, Members: static, Standby: d.cfg.Standby,
		Join: d.cfg.Join, Address: d.cfg.PeerAdvertise, Version: machine.CommandVersion, Metadata: d.cfg.Metadata,
		Log: d.store, Snapshots: d.snaps, Transport: d.peers, StateMachine: d.sm, Compaction: compaction,
		WarmupRounds: d.cfg.WarmupRounds, FailureDetector: d.failureDetector(), OnRequest: d.answerPeer,
		ElectionTimeoutMin: d.cfg.ElectionTimeoutMin, ElectionTimeoutMax: d.cfg.ElectionTimeoutMax,
		HeartbeatThreshold: d.cfg.HeartbeatThreshold, CheckQuorum: d.cfg.CheckQuorum, DriftBound: d.cfg.ClockDriftBound,
		ClusterHash: clusterHash(&d.cfg), NameHash: transport.NameHash(d.cfg.Cluster), Logger: d.log.Named("raft"), Observer: d.metrics.Node()})
	if err != nil {
		return fmt.Errorf("starting the member of data directory %s: %w", d.cfg.DataDir, err)
	}
	d.node = started
	return nil
}

// failureDetector is the factory that the settings ask for; nil: nobody is removed.
func (d *Daemon) failureDetector() node.FailureDetectorFactory {
	if d.cfg.FailureDetector != "phi" {
		return nil
	}
	return func(_ raft.MemberID, heartbeat time.Duration) failure.Detector {
		return &tunedPhi{failure.NewPhi(failure.PhiConfig{Expected: heartbeat}), &d.phi}
	}
}

// tunedPhi is a φ detector whose threshold can be changed while it runs.
type tunedPhi struct {
	*failure.Phi
	threshold *atomic.Uint64 // bits of a float64
}

// Failed implements failure.Detector. A member that was never heard has level 0.
func (p *tunedPhi) Failed(now time.Duration) bool {
	return p.Level(now) >= math.Float64frombits(p.threshold.Load())
}

// answerPeer answers a request of another member.
func (d *Daemon) answerPeer(ctx context.Context, from raft.MemberID, body []byte) ([]byte, error) {
	svc := d.service.Load()
	if svc == nil {
		return nil, errors.New("still starting")
	}
	return svc.AnswerPeer(ctx, from, body)
}

func (d *Daemon) otherNames() (names []string) {
	for _, p := range d.cfg.Peers {
		if p.Name != d.cfg.Name {
			names = append(names, p.Name)
		}
	}
	return names
}

func (d *Daemon) startNATS(ctx context.Context) error {
	opts := natsserver.ConnOptions{Name: "coordd " + d.cfg.Name, Logger: d.log.Named("nats"), Observer: d.metrics.Service()}
	var err error
	if d.cfg.NATSExternal != "" {
		ctx, cancel := context.WithTimeout(ctx, dialLimit)
		defer cancel()
		d.conn, err = natsserver.Dial(ctx, d.cfg.NATSExternal, opts)
		return err
	}
	if stored, ok := d.storedConfig(); ok && d.cfg.routesFollow {
		// The members that this directory knows, not those of another cluster that the settings may name.
		if d.cfg.NATSRoutes, err = routesOf(stored.Members, memberID(d.cfg.Cluster, d.cfg.Name)); err != nil {
			return err
		}
	}
	if d.cfg.routesOptional {
		if err := checkListen("nats-cluster-listen", d.cfg.NATSClusterListen); err != nil {
			d.log.Warn("the NATS servers of members that join later won't find this one's; give --nats-cluster-listen", "error", err)
			d.cfg.NATSClusterListen = ""
		}
	}
	for setting, addr := range map[string]string{"nats-listen": d.cfg.NATSListen, "nats-cluster-listen": d.cfg.NATSClusterListen} {
		if err := checkListen(setting, addr); err != nil {
			return err
		}
	}
	d.nats, err = natsserver.Start(natsserver.Config{Name: d.cfg.Name, ClusterName: d.cfg.Cluster, Listen: d.cfg.NATSListen,
		MaxClients:  clientConnections(descriptorLimit()),
		RouteListen: d.cfg.NATSClusterListen, Routes: d.cfg.NATSRoutes, Identified: true, Founder: len(d.cfg.Peers) == 0 && len(d.cfg.Join) == 0, Logger: d.log.Named("nats")})
	if err != nil {
		return err
	}
	d.conn, err = d.nats.Connect(opts)
	return err
}

func (d *Daemon) startService() error {
	var interest func(subject string) bool // an outside NATS does not tell
	if d.nats != nil {
		interest = d.nats.Interest
	}
	var err error
	d.svc, err = service.New(service.Config{Node: d.node, StateMachine: d.sm, Conn: d.conn, Name: d.cfg.Name, ClusterName: d.cfg.Cluster,
		ExternalNATS: d.cfg.NATSExternal != "", ElectionTimeoutMax: d.cfg.ElectionTimeoutMax, Version: Version,
		Members: d.node, MemberID: func(name string) raft.MemberID { return memberID(d.cfg.Cluster, name) },
		SaveSnapshot: d.saveSnapshot, Scratch: d.scratch, AskPeer: d.node.Request,
		Logger: d.log.Named("service"), Observer: d.metrics.Service(), Describe: d.describe, Interest: interest})
	if err != nil {
		return err
	}
	d.service.Store(d.svc)
	d.state.daemon = d
	d.metrics.SetSource(d.state.read)
	if err := d.svc.Start(); err != nil {
		return err
	}
	if d.nats != nil && d.cfg.NATSClusterListen != "" {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); d.keepRoutes(ctx) }()
		d.following = func() { cancel(); <-done }
	}
	return nil
}

// handOver gives the leadership away before anything else of an orderly stop, so that clients wait for an
// answer and not for an election.
func (d *Daemon) handOver() {
	st := d.node.Status()
	if len(st.Active.Members) < 2 || d.cfg.LeaveOnStop && d.leave() || !st.Leading {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*d.cfg.ElectionTimeoutMax)
	defer cancel()
	if err := d.node.TransferLeadership(ctx, 0); err != nil {
		d.log.Warn("leadership was not handed over; the others will elect a leader", "error", err)
	}
}

// leave takes this member out of the cluster and reports whether it is out. A leader hands over by that.
func (d *Daemon) leave() bool {
	ctx, cancel := context.WithTimeout(context.Background(), leaveLimit)
	defer cancel()
	if err := d.node.Leave(ctx); err != nil {
		d.log.Warn("this member did not leave the cluster; `coordd member remove` takes it out", "error", err)
		return false
	}
	d.log.Info("left the cluster")
	return true
}

// stop takes down what runs, from the clients inwards.
func (d *Daemon) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	var errs []error
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	if d.following != nil {
		d.following()
	}
	if d.svc != nil {
		note("service", d.svc.Stop(ctx))
	}
	note("http", d.stopWeb(ctx))
	if d.conn != nil {
		d.conn.Close()
	}
	if d.nats != nil {
		note("nats", d.nats.Stop(ctx))
	}
	switch {
	case d.node != nil: // closes log and transport
		note("node", d.node.Stop(ctx))
	default:
		if d.peers != nil {
			note("peers", d.peers.Close(ctx))
		}
		if d.store != nil {
			note("log", d.store.Close())
		}
	}
	if d.snaps != nil {
		note("snapshots", d.snaps.Close())
	}
	return errors.Join(errs...)
}
