package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client"
)

// benchFlags are the flags of `bench`.
type benchFlags struct {
	clients          int
	workload         string
	duration, warmUp time.Duration
}

// benchResult is the document of `bench`.
type benchResult struct {
	Workload   string      `json:"workload"`
	Clients    int         `json:"clients"`
	Ops        int64       `json:"ops"`
	OpsPerS    float64     `json:"ops_per_s"`
	P50us      float64     `json:"p50_us"`
	P99us      float64     `json:"p99_us"`
	P999us     float64     `json:"p999_us"`
	Errors     int64       `json:"errors"`
	CPUusPerOp float64     `json:"cpu_us_per_op"`
	Nodes      []benchNode `json:"nodes"`

	firstError error
}

type benchNode struct {
	Name     string `json:"name"`
	RSSBytes int64  `json:"rss_bytes"`
}

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a cluster",
		Long: "Measure a cluster with clients that each have a connection of their own.\n\n" +
			"  lock     each takes and releases a lock of its own; one operation is the pair\n" +
			"  contend  all take and release one lock in turn; one operation is the pair, the wait included\n" +
			"  id       each draws numbers of one sequence, from ranges leased ahead\n" +
			"  read     each reads the state of a lock, linearizably\n\n" +
			"Processor time and memory are those of the nodes that run on this machine, without those that restarted meanwhile.",
		Args: exactly(0),
	}
	c := addClientFlags(cmd)
	var o benchFlags
	cmd.Flags().IntVar(&o.clients, "clients", 64, "number of clients, 1 to 4096")
	cmd.Flags().StringVar(&o.workload, "workload", "lock", "lock, contend, id or read")
	cmd.Flags().DurationVar(&o.duration, "duration", 5*time.Second, "how long to measure")
	cmd.Flags().DurationVar(&o.warmUp, "warm-up", 500*time.Millisecond, "how long to run before that")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case benchWorkloads[o.workload] == nil:
			return usagef("--workload: %q is none of lock, contend, id, read", o.workload)
		case o.clients < 1 || o.clients > 4096:
			return usagef("--clients: %d is not between 1 and 4096", o.clients)
		case o.duration <= 0 || o.duration > time.Hour:
			return usagef("--duration: %v is not between 0 and 1h", o.duration)
		case o.warmUp < 0 || o.warmUp > time.Hour:
			return usagef("--warm-up: %v is not between 0 and 1h", o.warmUp)
		}
		if err := c.check(); err != nil {
			return err
		}
		r, err := c.bench(cmd.Context(), o)
		if err != nil {
			return err
		}
		if r.Ops == 0 && r.firstError != nil {
			return c.clientFailure(cmd.Context(), r.firstError)
		}
		if *c.format != outputText {
			b, err := json.Marshal(r)
			if err != nil {
				return err
			}
			return writeDocument(cmd.OutOrStdout(), *c.format, b)
		}
		return r.print(cmd)
	}
	return cmd
}

func (r *benchResult) print(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	err := table(out, []string{"WORKLOAD", "CLIENTS", "OPS", "OPS/S", "P50", "P99", "P99.9", "ERRORS", "CPU/OP"}, [][]string{{
		r.Workload, fmt.Sprint(r.Clients), fmt.Sprint(r.Ops), fmt.Sprintf("%.0f", r.OpsPerS), micros(r.P50us), micros(r.P99us), micros(r.P999us),
		fmt.Sprint(r.Errors), micros(r.CPUusPerOp)}})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, n := range r.Nodes {
		rows = append(rows, []string{n.Name, bytesText(uint64(n.RSSBytes))})
	}
	fmt.Fprintln(out)
	if r.firstError != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "coordd: the first error was: %v\n", r.firstError)
	}
	return table(out, []string{"NODE", "MEMORY"}, rows)
}

func micros(us float64) string {
	if us < 10 {
		return fmt.Sprintf("%.2fµs", us)
	}
	return fmt.Sprintf("%.0fµs", us)
}

// benchClient is one client of a run.
type benchClient struct {
	c      *clientFlags
	number int
	run    string // keeps two runs apart
	cl     *client.Client
	nc     *nats.Conn // for what the library has no verb for
	seq    *client.Sequence
}

func (b *benchClient) close() {
	if b.cl != nil {
		_ = b.cl.Close() // its sessions end by themselves
	}
	if b.nc != nil {
		b.nc.Close()
	}
}

// benchWorkload is one operation, and what it needs before.
type benchWorkload struct {
	prepare func(ctx context.Context, b *benchClient) error
	op      func(ctx context.Context, b *benchClient) error
}

const benchSequence = "bench"

var benchWorkloads = map[string]*benchWorkload{
	"lock": {connectLibrary, func(ctx context.Context, b *benchClient) error {
		return lockPair(ctx, b, fmt.Sprintf("bench/%s/%d", b.run, b.number))
	}},
	"contend": {connectLibrary, func(ctx context.Context, b *benchClient) error {
		return lockPair(ctx, b, fmt.Sprintf("bench/%s/one", b.run))
	}},
	"id": {func(ctx context.Context, b *benchClient) (err error) {
		if err = connectLibrary(ctx, b); err == nil {
			b.seq, err = b.cl.Sequence(ctx, benchSequence+"-"+b.run)
		}
		return err
	}, func(ctx context.Context, b *benchClient) error {
		_, err := b.seq.Next(ctx)
		return err
	}},
	"read": {func(ctx context.Context, b *benchClient) (err error) {
		b.nc, err = b.c.dial(ctx)
		return err
	}, func(ctx context.Context, b *benchClient) error {
		return b.c.request(ctx, b.nc, b.c.subject("lock.get", fmt.Sprintf("bench/%s/%d", b.run, b.number)), &coorddv1.LockGetRequest{}, &coorddv1.LockGetReply{})
	}},
}

func connectLibrary(ctx context.Context, b *benchClient) (err error) {
	b.cl, err = b.c.connect(ctx, client.WithOwner(fmt.Sprintf("bench-%d", b.number)))
	return err
}

func lockPair(ctx context.Context, b *benchClient, name string) error {
	l, err := b.cl.Lock(ctx, name)
	if err != nil {
		return err
	}
	return l.Unlock(ctx)
}

// bench runs one workload.
func (c *clientFlags) bench(ctx context.Context, o benchFlags) (*benchResult, error) {
	nc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	st, err := c.clusterStatus(ctx, nc)
	if err != nil {
		return nil, err
	}
	w := benchWorkloads[o.workload]
	clients, err := c.benchClients(ctx, o, w)
	defer func() {
		var wg sync.WaitGroup
		for _, b := range clients {
			wg.Go(b.close)
		}
		wg.Wait()
	}()
	if err != nil {
		return nil, c.clientFailure(ctx, err)
	}
	if o.workload == "id" {
		defer c.dropSequence(context.WithoutCancel(ctx), nc, benchSequence+"-"+clients[0].run)
	}
	drive(ctx, clients, w, o.warmUp)
	before := processorTimes(st.nodes)
	m := drive(ctx, clients, w, o.duration)
	after := processorTimes(st.nodes)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &benchResult{Workload: o.workload, Clients: o.clients, Ops: m.latencies.count(), Errors: m.errors, firstError: m.firstError,
		P50us: m.latencies.quantile(0.5), P99us: m.latencies.quantile(0.99), P999us: m.latencies.quantile(0.999), Nodes: []benchNode{}}
	r.OpsPerS = float64(r.Ops) / m.took.Seconds()
	var used time.Duration
	for _, n := range st.nodes {
		if endedBetween(n, before, after) {
			continue
		}
		used += after[n.GetName()] - before[n.GetName()]
		r.Nodes = append(r.Nodes, benchNode{n.GetName(), memoryOf(n)})
	}
	if r.Ops > 0 {
		r.CPUusPerOp = float64(used.Microseconds()) / float64(r.Ops)
	}
	return r, nil
}

// benchClients connects all clients, a few at a time. It returns those that it made even if one failed.
func (c *clientFlags) benchClients(ctx context.Context, o benchFlags, w *benchWorkload) ([]*benchClient, error) {
	run := fmt.Sprintf("%x", randomBytes(4))
	clients := make([]*benchClient, o.clients)
	errs := make([]error, o.clients)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range clients {
		clients[i] = &benchClient{c: c, number: i, run: run}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() == nil {
				errs[i] = w.prepare(ctx, clients[i])
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return clients, err
		}
	}
	return clients, ctx.Err()
}

// dropSequence deletes what an id run made.
func (c *clientFlags) dropSequence(ctx context.Context, nc *nats.Conn, name string) {
	_ = c.change(ctx, nc, func(s *session) error { // it stays, which does no harm
		req := &coorddv1.SequenceRequest{Session: s.id, Secret: s.secret, Seq: 1}
		return c.request(ctx, nc, c.subject("id.delete", name), req, &coorddv1.SequenceReply{})
	})
}

// measure is what one drive saw.
type measure struct {
	latencies  latencies
	errors     int64
	firstError error
	took       time.Duration
}

// drive lets every client do one operation after the other for a while. An operation that began in time is
// waited for.
func drive(ctx context.Context, clients []*benchClient, w *benchWorkload, d time.Duration) *measure {
	m := &measure{}
	var errs atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := time.Now()
	for _, b := range clients {
		wg.Go(func() {
			var own latencies
			for at := time.Now(); at.Sub(begin) < d && ctx.Err() == nil; {
				err := w.op(ctx, b)
				now := time.Now()
				if err == nil {
					own.add(now.Sub(at))
					at = now
					continue
				}
				if !errors.Is(err, context.Canceled) {
					errs.Add(1)
					mu.Lock()
					if m.firstError == nil {
						m.firstError = err
					}
					mu.Unlock()
				}
				if strings.Contains(err.Error(), client.ErrClosed.Error()) {
					break
				}
				time.Sleep(time.Millisecond) // an operation that fails at once must not become a storm
				at = time.Now()
			}
			mu.Lock()
			m.latencies.merge(&own)
			mu.Unlock()
		})
	}
	wg.Wait()
	m.errors, m.took = errs.Load(), time.Since(begin)
	return m
}
