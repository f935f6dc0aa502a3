//go:build net

package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/pkg/client"
)

var (
	flagRounds = flag.Int("net.rounds", 1, "how often each fault is done")
	flagNetFor = flag.Duration("net.budget", 0, "stop beginning faults after this time, shared by the parts; 0: no limit")
	flagNetSee = flag.Uint64("net.seed", 0, "seed of the order of faults and of what they hit; 0: a random one")
	flagShape  = flag.String("net.only", "", "only faults whose name contains this")
)

const (
	netClients = 8
	netLocks   = 12
	// netPace is the pause of a client between two rounds: enough load to be in the middle of something at any moment.
	netPace = 20 * time.Millisecond
	// patience is how long service may take to come back where a majority is connected. It is a limit for a broken product;
	// what it takes is in the table.
	patience = 60 * time.Second
)

// netRun is a cluster on a fabric, with clients at work, and what was done to it.
type netRun struct {
	t     *testing.T
	f     *fabric
	c     *cluster
	w     *workload
	ps    *primitives
	m     *marks
	reads *readers
	rnd   *rand.Rand
	ctl   map[string]*nats.Conn // to each node's NATS, for questions about it
	stop  func()                // ends the clients and waits for them

	outside bool // the nodes use NATS servers of hosts of their own
	px      *proxies
	strikes int

	doing atomic.Value // the name of the fault that is done
	given atomic.Bool  // the idle holders give their locks back
}

// fault says what is done in one strike.
type shape struct {
	name   string
	hold   time.Duration // at the least
	serves bool          // a majority is connected, and clients reach it: service must come back before the fault ends
	elects bool          // the leader can't go on; how long another one takes is measured
	do     func(x *strike)
}

// strike is one fault that is done now.
type strike struct {
	*netRun
	leader *node
	others []*node // in random order
	during sync.WaitGroup
	ctx    context.Context // ends when the fault does
	undo   []func()        // besides what heals the network
}

// newNodes lays out a cluster on the hosts of the fabric that are named n1, n2 and so on.
func newNodes(t *testing.T, f *fabric, n int, outside bool, px *proxies) *cluster {
	t.Helper()
	c := &cluster{t: t, bin: os.Getenv(envBinary)}
	dir := t.TempDir()
	var peers, routes, external []string
	for _, h := range f.hosts[:n] {
		peer, route := f.at(h, portPeer), f.at(h, portRoutes)
		if px != nil {
			peer, route = px.at(h, portPeer), px.at(h, portRoutes)
		}
		peers, routes = append(peers, h+"="+peer), append(routes, "nats://"+route)
	}
	for _, h := range f.hosts[n:] {
		external = append(external, "nats://"+f.at(h, portNATS))
	}
	for _, h := range f.hosts[:n] {
		nd := &node{name: h, wrap: []string{"ip", "netns", "exec", h}, dataDir: filepath.Join(dir, h), logPath: filepath.Join(dir, h+".log"),
			natsURL: "nats://" + f.at(h, portNATS), httpAddr: f.at(h, portHTTP)}
		nd.args = []string{"serve", "--name", h, "--cluster", "net", "--data-dir", nd.dataDir, "--insecure",
			"--peer-listen", f.at(h, portPeer), "--peers", strings.Join(peers, ","), "--http-listen", nd.httpAddr, "--log-level", "info"}
		if outside {
			nd.natsURL = strings.Join(external, ",")
			nd.args = append(nd.args, "--nats-external", nd.natsURL)
		} else {
			nd.args = append(nd.args, "--nats-listen", f.at(h, portNATS), "--nats-cluster-listen", f.at(h, portRoutes), "--nats-routes", strings.Join(routes, ","))
		}
		c.nodes = append(c.nodes, nd)
	}
	t.Cleanup(func() {
		for _, nd := range c.nodes {
			nd.kill()
		}
		if t.Failed() {
			c.dumpLogs()
		}
	})
	return c
}

// newRun starts the nodes and the clients.
func newRun(t *testing.T, f *fabric, n int, outside bool, px *proxies, salt uint64) *netRun {
	t.Helper()
	r := &netRun{t: t, f: f, c: newNodes(t, f, n, outside, px), outside: outside, px: px, ctl: map[string]*nats.Conn{},
		rnd: rand.New(rand.NewPCG(netSeed(), salt))}
	for _, nd := range r.c.nodes {
		if err := nd.start(r.c.bin); err != nil {
			t.Fatal(err)
		}
	}
	r.c.waitReady(patience, r.c.nodes...)
	urls := r.c.urls()
	if outside {
		urls = r.c.nodes[0].natsURL
	}
	if px != nil {
		urls = px.urls()
	}
	r.w = newWorkload(t, urls, netLocks)
	r.w.pace = netPace
	if px != nil {
		// What the servers tell of each other's addresses leads around the proxy.
		r.w.options = []client.Option{client.WithNATSOptions(nats.IgnoreDiscoveredServers())}
	}
	for _, nd := range r.c.nodes {
		nc, err := nats.Connect(nd.natsURL, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1),
			nats.Timeout(time.Second), nats.IgnoreDiscoveredServers())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		r.ctl[nd.name] = nc
	}
	r.ps = newPrimitives(t, urls, netPace)
	r.ps.options = r.w.options
	r.m, r.reads = newMarks(t, r.w), &readers{t: t, w: r.w}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.w.run(ctx, netClients) })
	wg.Go(func() { r.ps.run(ctx) })
	wg.Go(func() { r.m.run(ctx) })
	for i, nd := range r.c.nodes {
		wg.Go(func() { r.reads.run(ctx, i, r.ctl[nd.name]) })
	}
	r.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(r.stop)
	return r
}

// finish ends the clients and checks everything that they saw.
func (r *netRun) finish() {
	r.t.Helper()
	r.settled()
	r.stop()
	r.w.report()
	r.t.Logf("reads by others, through each node's NATS: %d", r.reads.seen.Load())
	lost := r.m.check(r)
	r.w.hist.check(r.t, 5*time.Minute)
	checked := r.ps.check()
	checkNothingLost(r.t, r.c, r.w)
	if r.w.ops.Load() == 0 || r.strikes == 0 && *flagShape == "" {
		r.t.Errorf("%d operations and %d faults prove nothing", r.w.ops.Load(), r.strikes)
	}
	total.add(r, lost, checked)
}

// settled waits until every node is ready, one leads, and every client gets its work done, and returns the leader.
func (r *netRun) settled() *node {
	r.t.Helper()
	r.c.waitReady(patience, r.c.nodes...)
	var leader *node
	r.until("one node leads", func() bool {
		leader = nil
		leaders := 0
		for _, nd := range r.c.nodes {
			if st, ok := r.status(nd); ok && st.Role == "leader" {
				leaders++
				leader = nd
			}
		}
		return leaders == 1
	})
	from := time.Now()
	r.until("every client gets a lock", func() bool {
		_, all := r.w.clientsServedAfter(from)
		return all
	})
	return leader
}

// until waits for something, looking at it every few milliseconds; without it nothing goes on.
func (r *netRun) until(what string, ok func() bool) {
	r.t.Helper()
	if !r.within(ok) {
		r.c.dumpLogs()
		r.t.Fatalf("after %v still not: %s", patience, what)
	}
}

// within reports whether something comes about before patience ends.
func (r *netRun) within(ok func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); !ok(); <-tick.C {
		if time.Since(begin) > patience {
			return false
		}
	}
	return true
}

// status asks a node over the connection to its own NATS.
func (r *netRun) status(nd *node) (st nodeStatus, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
	defer cancel()
	msg, err := r.ctl[nd.name].RequestWithContext(ctx, "coord.node.v1."+nd.name+".status", []byte("{}"))
	if err != nil {
		return st, false
	}
	return st, decodeStatus(msg.Data, &st) == nil
}

// strike does one fault, measures what it does to service, heals it, and measures how long it takes until all is well.
func (r *netRun) strike(s shape) {
	r.t.Helper()
	leader := r.settled()
	r.strikes++
	r.doing.Store(s.name)
	r.w.rename(fmt.Sprintf("net/%d", r.strikes), netLocks)
	r.ps.rename()
	r.w.forgetSuccesses()
	var others []*node
	for _, i := range r.rnd.Perm(len(r.c.nodes)) {
		if r.c.nodes[i] != leader {
			others = append(others, r.c.nodes[i])
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	x := &strike{netRun: r, leader: leader, others: others, ctx: ctx}
	elected := make(chan time.Time, 1)
	looking, found := context.WithCancel(ctx)
	defer found()
	go r.watchLeaders(looking, leader, elected)

	var o outcome
	begins := time.Now()
	s.do(x)
	began := time.Now() // what was asked for before this may have got through
	served := func() bool {
		_, ok := r.w.firstSuccessAfter(began)
		return ok
	}
	if s.serves && !r.within(served) {
		r.c.dumpLogs()
		r.t.Errorf("no service for %v during %q (leader %s, then %s)", patience, s.name, leader.name, names(others))
	}
	pause(ctx, s.hold+r.longer()-time.Since(began))
	cancel()
	x.during.Wait()
	healed := time.Now()
	for _, undo := range slices.Backward(x.undo) {
		undo()
	}
	r.f.heal()
	r.c.waitReady(patience, r.c.nodes...)
	o.healthy = time.Since(healed)
	r.settled()
	o.measure(r.w, began, healed)
	select {
	case at := <-elected:
		o.leader = at.Sub(begins)
	default:
	}
	total.record(s, o)
	r.t.Logf("%-60s first success %8v, every client %8v, longest pause %8v, new leader %8v; healthy %8v after the end", s.name,
		ms(o.first), ms(o.all), ms(o.pause), ms(o.leader), ms(o.healthy))
}

// longer is what a fault lasts beyond its shortest time, where the run has time for that.
func (r *netRun) longer() time.Duration {
	if *flagNetFor > 0 {
		return 0
	}
	return time.Duration(r.rnd.Int64N(int64(held)))
}

// watchLeaders tells when another node than the old leader leads first.
func (r *netRun) watchLeaders(ctx context.Context, old *node, elected chan<- time.Time) {
	var once sync.Once
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, nd := range r.c.nodes {
		if nd == old {
			continue
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				if st, ok := r.status(nd); ok && st.Role == "leader" {
					once.Do(func() { elected <- time.Now() })
					return
				}
				pause(ctx, 10*time.Millisecond)
			}
		})
	}
}

func names(nodes []*node) string {
	var s []string
	for _, nd := range nodes {
		s = append(s, nd.name)
	}
	return strings.Join(s, ", ")
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// runAll does every shape once a round, in an order that the seed decides, while the budget lasts.
func (r *netRun) runAll(shapes []shape, budget time.Duration) {
	r.t.Helper()
	begin := time.Now()
	for round := range *flagRounds {
		for _, i := range r.rnd.Perm(len(shapes)) {
			if !strings.Contains(shapes[i].name, *flagShape) {
				continue
			}
			if budget > 0 && time.Since(begin) > budget && r.strikes > 0 {
				r.t.Logf("the time for this part is over: %d faults done, in round %d", r.strikes, round+1)
				return
			}
			r.strike(shapes[i])
		}
	}
}
