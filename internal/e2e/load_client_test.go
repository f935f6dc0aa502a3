//go:build load

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// loadPatience is what a client waits for one answer before it asks again: a leader that is gone answers nothing, and a
// session has to be renewed in time.
const loadPatience = 2 * time.Second

var loadSecret = []byte("0123456789abcdef")

// startLoadCluster starts three processes and waits until they serve.
func startLoadCluster(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t, buildBinary(t), []string{t.TempDir(), t.TempDir(), t.TempDir()})
	for _, nd := range c.nodes {
		// The load and whatever else runs here take the processors away for longer than the default allows: these runs
		// are about sessions, not about elections.
		nd.args = append(nd.args, "--election-timeout-min", "1s", "--election-timeout-max", "2s")
	}
	c.startAll()
	return c
}

// loadConn is one connection with many sessions, in protobuf and without pkg/client.
type loadConn struct {
	t        *testing.T
	nc       *nats.Conn
	ns       string
	sessions []uint64
}

func dialLoad(t *testing.T, c *cluster, ns string) *loadConn {
	t.Helper()
	nc, err := nats.Connect(c.urls(), nats.Timeout(loadAnswer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return &loadConn{t: t, nc: nc, ns: ns}
}

// ask sends a request again until it has an answer, and returns the code of an error. It may be used by any goroutine.
func (l *loadConn) ask(subject string, request, reply proto.Message) (code string, err error) {
	body, err := proto.Marshal(request)
	if err != nil {
		return "", err
	}
	var msg *nats.Msg
	for deadline := time.Now().Add(loadAnswer); ; time.Sleep(20 * time.Millisecond) {
		if msg, err = l.nc.Request("coord.v1."+l.ns+"."+subject, body, loadPatience); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("%s: %w", subject, err)
		}
	}
	if msg.Header.Get(coorddv1.ErrorCodeHeader) == "" {
		return "", proto.Unmarshal(msg.Data, reply)
	}
	var e coorddv1.ErrorReply
	if err := proto.Unmarshal(msg.Data, &e); err != nil {
		return "", err
	}
	return e.Error.GetCode(), nil
}

// parallel runs f for 0 to n − 1, fifty at a time.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(n, 50) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// open opens n sessions.
func (l *loadConn) open(n int) {
	l.t.Helper()
	l.sessions = make([]uint64, n)
	parallel(n, func(i int) {
		var r coorddv1.SessionOpenReply
		open := &coorddv1.SessionOpenRequest{Ttl: durationpb.New(loadTTL), Secret: loadSecret, Owner: "load"}
		if code, err := l.ask("session.open", open, &r); err != nil || code != "" {
			l.t.Errorf("session %d: %s %v", i, code, err)
		}
		l.sessions[i] = r.Session
	})
	if l.t.Failed() {
		l.t.FailNow()
	}
}

// renew renews all sessions of the connection with one message, and returns how many were and how many were not.
func (l *loadConn) renew() (good, bad int64) {
	m := &coorddv1.BatchRequest{}
	for _, id := range l.sessions {
		raw, err := proto.Marshal(&coorddv1.SessionKeepaliveRequest{Session: id, Secret: loadSecret})
		if err != nil {
			l.t.Error(err)
		}
		m.Commands = append(m.Commands, &coorddv1.BatchCommand{Verb: "session.keepalive", Raw: raw})
	}
	var reply coorddv1.BatchReply
	if code, err := l.ask("batch", m, &reply); err != nil || code != "" {
		l.t.Errorf("joined keepalives: %s %v", code, err)
		return 0, int64(len(l.sessions))
	}
	for _, r := range reply.Results {
		if r.Error == nil {
			good++
		} else if bad++; bad == 1 {
			l.t.Logf("a keepalive was refused: %s: %s", r.Error.Code, r.Error.Message)
		}
	}
	return good, bad
}

// holdAndWait lets each session hold a lock of its own and wait for that of the next one of n, from being the number of
// the connection's first.
func (l *loadConn) holdAndWait(from, n int) {
	parallel(len(l.sessions), func(i int) {
		acquire, err := proto.Marshal(&coorddv1.LockAcquireRequest{})
		if err != nil {
			l.t.Error(err)
		}
		var r coorddv1.BatchReply
		m := &coorddv1.BatchRequest{Session: l.sessions[i], Secret: loadSecret, Ack: 1, Commands: []*coorddv1.BatchCommand{
			{Seq: 1, Verb: "lock.acquire", Name: fmt.Sprintf("l%d", from+i), Raw: acquire},
			{Seq: 2, Verb: "lock.acquire", Name: fmt.Sprintf("l%d", (from+i+1)%n), Raw: acquire}}}
		if code, err := l.ask("batch", m, &r); err != nil || code != "" {
			l.t.Errorf("session %d: %s %v", i, code, err)
		}
	})
}

// others are clients that take and release locks of their own, one request at a time each.
type others struct {
	end    chan struct{}
	wg     sync.WaitGroup
	failed atomic.Int64 // requests without a good answer

	mu  sync.Mutex
	all []measured
}

type measured struct {
	from time.Time
	took time.Duration
}

func startOthers(t *testing.T, c *cluster, n int) *others {
	o := &others{end: make(chan struct{})}
	for i := range n {
		l := dialLoad(t, c, "others")
		l.open(1)
		o.wg.Go(func() { o.lockLoop(l, fmt.Sprintf("o%d", i)) })
	}
	return o
}

func (o *others) lockLoop(l *loadConn, name string) {
	var mine []measured
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.all = append(o.all, mine...)
	}()
	ask := func(subject string, request, reply proto.Message) {
		from := time.Now()
		if code, err := l.ask(subject, request, reply); err != nil || code != "" {
			o.failed.Add(1)
		}
		mine = append(mine, measured{from, time.Since(from)})
	}
	renewed := time.Now()
	for seq := uint64(1); ; seq += 2 {
		select {
		case <-o.end:
			return
		default:
		}
		if time.Since(renewed) > loadTTL/3 {
			l.renew()
			renewed = time.Now()
		}
		var got coorddv1.LockAcquireReply
		ask("lock.acquire."+name, &coorddv1.LockAcquireRequest{Session: l.sessions[0], Secret: loadSecret, Seq: seq, Ack: seq}, &got)
		ask("lock.release."+name, &coorddv1.LockReleaseRequest{Session: l.sessions[0], Secret: loadSecret, Seq: seq + 1, Ack: seq + 1, Fence: got.Fence},
			&coorddv1.LockReleaseReply{})
	}
}

func (o *others) stop() *others {
	close(o.end)
	o.wg.Wait()
	return o
}

// between returns the times of the requests that were under way between two instants, in order.
func (o *others) between(from, to time.Time) (times []time.Duration) {
	for _, m := range o.all {
		if m.from.Add(m.took).After(from) && m.from.Before(to) {
			times = append(times, m.took)
		}
	}
	slices.Sort(times)
	return times
}

// milliseconds is a quantile of sorted times.
func milliseconds(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(share*float64(len(sorted)-1))]) / float64(time.Millisecond)
}

// figures are what one process has used, and where its log stands.
type figures struct {
	role            string
	processor       time.Duration
	resident        int64
	written         int64  // bytes to the disk, of everything
	last            uint64 // entry
	entries, logged uint64 // in the log, and their bytes
}

// loggedSince is how many bytes were added to the log. After a snapshot, which took older entries away, the new ones are
// taken to have been like those that are there.
func (f *figures) loggedSince(before *figures) float64 {
	if f.last-f.entries == before.last-before.entries {
		return float64(f.logged - before.logged)
	}
	return float64(f.logged) / float64(max(f.entries, 1)) * float64(f.last-before.last)
}

// figures asks all nodes.
func (c *cluster) figures() (all []figures) {
	c.t.Helper()
	for _, nd := range c.nodes {
		f := figures{processor: processTime(nd.pid()), resident: procField(nd.pid(), "status", "VmRSS:") << 10, written: procField(nd.pid(), "io", "write_bytes:")}
		nc, err := nats.Connect(nd.natsURL)
		if err != nil {
			c.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), loadAnswer)
		msg, err := nc.RequestWithContext(ctx, "coord.node.v1."+nd.name+".status", []byte("{}"))
		cancel()
		nc.Close()
		if err != nil {
			c.t.Fatal(err)
		}
		var st struct {
			Role       string `json:"role"`
			LastIndex  uint64 `json:"last_index,string"`
			LogEntries uint64 `json:"log_entries,string"`
			LogBytes   uint64 `json:"log_bytes,string"`
		}
		if err := json.Unmarshal(msg.Data, &st); err != nil {
			c.t.Fatal(err)
		}
		f.role, f.last, f.entries, f.logged = st.Role, st.LastIndex, st.LogEntries, st.LogBytes
		all = append(all, f)
	}
	return all
}

// processTime is the processor time that a process has used.
func processTime(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is a name in brackets, which may hold anything.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	const hertz = 100 // of every Linux that Go runs on
	return time.Duration(user+system) * time.Second / hertz
}

// procField reads a number of /proc/<pid>/<file>.
func procField(pid int, file, name string) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// loadAverage is the machine's, of the last minute: figures of a busy machine are not this program's.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}
