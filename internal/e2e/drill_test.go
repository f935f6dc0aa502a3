//go:build disk

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/client"
)

const (
	// hangLimit is when a node that neither serves nor ends counts as hung. It is no measure of speed.
	hangLimit = 5 * time.Minute
	// ttl of the clients' sessions: no fault here takes as long, on a busy machine neither.
	ttl = 3 * time.Minute
)

// drill is a cluster of three nodes on disks of their own, under load, of which one or more are maltreated.
type drill struct {
	t     *testing.T
	c     *cluster
	disks []*disk
	w     *workload

	stopLoad func()
	anchor   func(*testing.T)
	checked  int // operations in histories that were found linearizable
}

func newDrill(t *testing.T, mib ...int64) *drill {
	t.Helper()
	d := &drill{t: t}
	dir := t.TempDir()
	for i, size := range mib {
		d.disks = append(d.disks, newDisk(t, dir, fmt.Sprintf("disk%d", i+1), size))
	}
	d.begin()
	return d
}

// begin starts the cluster on the disks.
func (d *drill) begin() {
	d.t.Helper()
	var dirs []string
	for _, disk := range d.disks {
		dirs = append(dirs, filepath.Join(disk.mount, "data"))
	}
	d.c = newCluster(d.t, buildBinary(d.t), dirs)
	for _, nd := range d.c.nodes {
		// Twice the default: it is the disks that are tried here, not a machine that does much else.
		nd.args = append(nd.args, "--election-timeout-min", "300ms")
	}
	d.c.startAll()
	d.w = newWorkload(d.t, d.c.urls(), 24)
	d.w.payload = strings.Repeat("payload ", 500)
	d.w.options = []client.Option{client.WithTTL(ttl)}
	d.anchor = holdAnchor(d.t, d.w)
}

// load starts clients, whose history begins anew.
func (d *drill) load(clients int) {
	d.w = d.w.goOn()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { d.w.run(ctx, clients) })
	d.stopLoad = func() { cancel(); wg.Wait() }
	d.t.Cleanup(d.stopLoad)
}

// settle ends the load and shows that everything that the clients were told holds, whoever leads.
func (d *drill) settle() {
	d.t.Helper()
	d.c.waitReady(hangLimit, d.c.nodes...)
	d.stopLoad()
	d.w.report()
	d.w.hist.check(d.t, 5*time.Minute)
	d.checked += len(d.w.hist.ops)
	checkNothingLost(d.t, d.c, d.w)
	for _, nd := range d.c.nodes {
		d.lead(nd)
		checkNothingLost(d.t, d.c, d.w)
	}
}

// end settles and gives the lock back that was held all the time.
func (d *drill) end() {
	d.t.Helper()
	d.settle()
	d.anchor(d.t)
}

// coordd runs a command of the operator's.
func (d *drill) coordd(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
	defer cancel()
	args = append(args, "--nats-url", d.c.urls(), "--timeout", "60s")
	out, err := exec.CommandContext(ctx, d.c.bin, args...).CombinedOutput()
	return string(out), err
}

// The ways in which a node comes out of a fault.
const (
	whole     = "whole"      // it had all that it ever acknowledged
	recovered = "recovering" // it knew that it had not, and got it back from its peers
	refused   = "refused"    // it said what is wrong and what to do
)

// verdict is how a start ended.
type verdict struct {
	outcome string
	says    string // of a refusal
	took    time.Duration
}

// judge waits until a node serves, ends, or is turned away by its peers. What is none of that, or is not said
// as it should be, is an error.
func (d *drill) judge(nd *node, began time.Time) (verdict, error) {
	deadline := time.Now().Add(hangLimit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for last := ""; ; {
		if nd.pid() == 0 {
			said := nd.said()
			return verdict{refused, said, time.Since(began)}, checkRefusal(nd, said)
		}
		code, body := nd.readyz()
		if code == http.StatusOK {
			outcome, said := whole, nd.said()
			if strings.Contains(said, "once acknowledged: recovering") || strings.Contains(said, "has seen more of this log") {
				outcome = recovered
			}
			return verdict{outcome, "", time.Since(began)}, checkTrace(said)
		}
		if code != 0 {
			last = body
		}
		if strings.Contains(body, "refused by") || strings.Contains(body, "earlier data directory") {
			said := nd.said()
			if strings.Contains(body+said, "member replace") {
				return verdict{refused, body, time.Since(began)}, checkTrace(said)
			}
		}
		if time.Now().After(deadline) {
			return verdict{}, fmt.Errorf("%s hangs; it last said: %s", nd.name, last)
		}
		<-tick.C
	}
}

// readyz is the answer of the health check; code 0: none.
func (nd *node) readyz() (code int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+nd.httpAddr+"/readyz?verbose", nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// said is what the node has written since its last start.
func (nd *node) said() string {
	f, err := os.Open(nd.logPath)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	nd.mu.Lock()
	from := nd.logFrom
	nd.mu.Unlock()
	b, err := io.ReadAll(io.NewSectionReader(f, from, 64<<20))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// trace is what a Go program that crashes leaves.
var trace = regexp.MustCompile(`(?m)^panic:|^goroutine \d+|SIGSEGV|SIGBUS|^fatal error:|unexpected fault address`)

func checkTrace(said string) error {
	if found := trace.FindString(said); found != "" {
		return fmt.Errorf("a crash instead of an error (%q)", found)
	}
	return nil
}

// advice is what a refusal says to do, in one of the ways that there are.
var advice = regexp.MustCompile("coordd member replace|coordd member recover|put the (file|whole directory)|put (it|them) back|stop that process|check --data-dir|make room|start (it )?again when|can be written")

// checkRefusal checks the last words of a process: the exit code of an error, the place, the cause, what to do, and no
// trace of a crash.
func checkRefusal(nd *node, said string) error {
	if err := checkTrace(said); err != nil {
		return err
	}
	nd.mu.Lock()
	code := nd.cmd.ProcessState.ExitCode()
	nd.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last := lines[len(lines)-1]
	switch {
	case code != 1:
		return fmt.Errorf("exit code %d, want 1; it said: %s", code, last)
	case !strings.HasPrefix(last, "coordd: "):
		return fmt.Errorf("its last word is no error: %s", last)
	case !strings.Contains(last, nd.dataDir):
		return fmt.Errorf("the refusal does not say where: %s", last)
	case !advice.MatchString(last):
		return fmt.Errorf("the refusal does not say what to do: %s", last)
	}
	return nil
}

// replace does what a refusal advises: it gives the directory up and takes the member in again with an empty one.
func (d *drill) replace(nd *node) error {
	nd.kill()
	if err := os.RemoveAll(nd.dataDir); err != nil {
		return err
	}
	var others []*node
	var peers []string
	for _, o := range d.c.nodes {
		if o != nd {
			others = append(others, o)
			peers = append(peers, o.flag("--peer-listen"))
		}
	}
	d.c.waitReady(hangLimit, others...)
	replaced := make(chan error, 1)
	go func() {
		for tries := 3; ; tries-- { // the leader may change on the way
			out, err := d.coordd("member", "replace", nd.name)
			if err == nil || tries == 0 {
				replaced <- err
				return
			}
			d.t.Logf("member replace %s: %v\n%s", nd.name, err, out)
		}
	}()
	old := nd.args
	nd.args = append(withoutFlag(old, "--peers"), "--join", strings.Join(peers, ","))
	err := nd.start(d.c.bin)
	nd.args = old
	if err != nil {
		return err
	}
	if err := <-replaced; err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangLimit)
	defer cancel()
	return nd.waitReady(ctx)
}

// keep puts a directory, and what the nodes have said, where the evidence of failures goes.
func (d *drill) keep(name, dir string) {
	root := os.Getenv("COORDD_EVIDENCE")
	if root == "" {
		d.t.Log("no evidence is kept: COORDD_EVIDENCE is not set")
		return
	}
	to := filepath.Join(root, name)
	if err := os.MkdirAll(to, 0o755); err != nil {
		d.t.Error(err)
		return
	}
	args := []string{"-a", "--sparse=always", dir}
	for _, nd := range d.c.nodes {
		args = append(args, nd.logPath)
	}
	if err := system("cp", append(args, to)...); err != nil {
		d.t.Error(err)
	}
	d.t.Logf("evidence: %s", to)
}

// others are the nodes but for one.
func (d *drill) others(than *node) []*node {
	return slices.DeleteFunc(slices.Clone(d.c.nodes), func(nd *node) bool { return nd == than })
}
