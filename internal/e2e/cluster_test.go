//go:build e2e || disk || net || load

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/coordd/coordd/internal/ports"
)

// buildBinary builds coordd once for the run.
func buildBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "coordd")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/coordd/coordd/cmd/coordd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// freePorts returns n ports of the loopback that nobody listens on.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	free, err := ports.Free(n)
	if err != nil {
		t.Fatal(err)
	}
	return free
}

// node is one `coordd serve` and what is needed to start it again.
type node struct {
	name     string
	wrap     []string // the command that runs the node's own, if any
	args     []string
	dataDir  string
	logPath  string
	natsURL  string
	httpAddr string

	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	stopped bool  // SIGSTOP
	logFrom int64 // where the log of the last start begins
}

// cluster is three nodes on loopback.
type cluster struct {
	t     *testing.T
	bin   string
	nodes []*node
}

// newCluster lays out a cluster; dataDirs has a directory for each node.
func newCluster(t *testing.T, bin string, dataDirs []string) *cluster {
	t.Helper()
	n := len(dataDirs)
	ports := freePorts(t, 4*n)
	var peers, routes []string
	for i := range n {
		peers = append(peers, fmt.Sprintf("n%d=127.0.0.1:%d", i+1, ports[4*i]))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[4*i+1]))
	}
	logs := t.TempDir()
	c := &cluster{t: t, bin: bin}
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		nd := &node{
			name: name, dataDir: dataDirs[i], logPath: filepath.Join(logs, name+".log"),
			natsURL:  fmt.Sprintf("nats://127.0.0.1:%d", ports[4*i+2]),
			httpAddr: fmt.Sprintf("127.0.0.1:%d", ports[4*i+3]),
		}
		nd.args = []string{"serve", "--name", name, "--cluster", "e2e", "--data-dir", nd.dataDir,
			"--peer-listen", fmt.Sprintf("127.0.0.1:%d", ports[4*i]), "--peers", strings.Join(peers, ","),
			"--nats-listen", fmt.Sprintf("127.0.0.1:%d", ports[4*i+2]),
			"--nats-cluster-listen", fmt.Sprintf("127.0.0.1:%d", ports[4*i+1]),
			"--nats-routes", strings.Join(routes, ","), "--http-listen", nd.httpAddr, "--log-level", "info"}
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

func (c *cluster) urls() string {
	var u []string
	for _, nd := range c.nodes {
		u = append(u, nd.natsURL)
	}
	return strings.Join(u, ",")
}

func (c *cluster) startAll() {
	c.t.Helper()
	for _, nd := range c.nodes {
		if err := nd.start(c.bin); err != nil {
			c.t.Fatal(err)
		}
	}
	c.waitReady(30*time.Second, c.nodes...)
}

// waitReady waits until each of the nodes answers 200 on /readyz.
func (c *cluster) waitReady(limit time.Duration, nodes ...*node) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, nd := range nodes {
		if err := nd.waitReady(ctx); err != nil {
			c.dumpLogs()
			c.t.Fatalf("%s is not ready after %v: %v", nd.name, limit, err)
		}
	}
}

func (c *cluster) dumpLogs() {
	for _, nd := range c.nodes {
		b, err := os.ReadFile(nd.logPath)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
		c.t.Logf("log of %s, last lines:\n%s", nd.name, strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// leader asks the nodes for their status and returns the one that leads, nil if none says so.
func (c *cluster) leader(ctx context.Context) *node {
	for _, nd := range c.nodes {
		if !nd.running() {
			continue
		}
		if st, err := nd.status(ctx); err == nil && st.Role == "leader" {
			return nd
		}
	}
	return nil
}

type nodeStatus struct {
	Name         string `json:"name"`
	Role         string `json:"role"`
	Term         string `json:"term"`
	AppliedIndex string `json:"applied_index"`
	CommitIndex  string `json:"commit_index"`
}

// status asks one node through its own NATS server.
func (nd *node) status(ctx context.Context) (st nodeStatus, err error) {
	nc, err := nats.Connect(nd.natsURL, nats.NoReconnect(), nats.Timeout(500*time.Millisecond))
	if err != nil {
		return st, err
	}
	defer nc.Close()
	rctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	msg, err := nc.RequestWithContext(rctx, "coord.node.v1."+nd.name+".status", []byte("{}"))
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(msg.Data, &st)
}

func (nd *node) start(bin string) error {
	log, err := os.OpenFile(nd.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return err
	}
	line := append(append(slices.Clone(nd.wrap), bin), nd.args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	nd.mu.Lock()
	nd.cmd, nd.exited, nd.stopped, nd.logFrom = cmd, exited, false, info.Size()
	nd.mu.Unlock()
	go func() {
		_ = cmd.Wait() // the exit code of a killed process says nothing
		close(exited)
	}()
	return nil
}

// pid returns the process ID while the process runs, 0 otherwise.
func (nd *node) pid() int {
	nd.mu.Lock()
	defer nd.mu.Unlock()
	if nd.cmd == nil {
		return 0
	}
	select {
	case <-nd.exited:
		return 0
	default:
		return nd.cmd.Process.Pid
	}
}

func (nd *node) running() bool {
	nd.mu.Lock()
	stopped := nd.stopped
	nd.mu.Unlock()
	return nd.pid() != 0 && !stopped
}

// kill ends the process with SIGKILL and waits until it is gone.
func (nd *node) kill() {
	nd.mu.Lock()
	cmd, exited := nd.cmd, nd.exited
	nd.mu.Unlock()
	if cmd == nil {
		return
	}
	select {
	case <-exited:
	default:
		_ = cmd.Process.Kill() // it may have ended by itself meanwhile
		<-exited
	}
}

// stop and cont freeze and thaw the process.
func (nd *node) stop() error {
	nd.mu.Lock()
	nd.stopped = true
	nd.mu.Unlock()
	return syscall.Kill(nd.cmd.Process.Pid, syscall.SIGSTOP)
}

func (nd *node) cont() error {
	nd.mu.Lock()
	nd.stopped = false
	nd.mu.Unlock()
	return syscall.Kill(nd.cmd.Process.Pid, syscall.SIGCONT)
}

func (nd *node) waitReady(ctx context.Context) error {
	var last error
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if nd.pid() == 0 {
			b, _ := os.ReadFile(nd.logPath)
			return fmt.Errorf("the process has ended: %s", b[max(0, len(b)-2000):])
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+nd.httpAddr+"/readyz?verbose", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err != nil {
			last = err
		} else {
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			last = fmt.Errorf("%s: %s", resp.Status, b)
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// terminate ends the process in order and fails unless it does so with exit code 0.
func (nd *node) terminate(t *testing.T) {
	t.Helper()
	nd.mu.Lock()
	cmd, exited := nd.cmd, nd.exited
	nd.mu.Unlock()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("end %s: %v", nd.name, err)
		return
	}
	select {
	case <-exited:
	case <-time.After(20 * time.Second):
		t.Errorf("%s does not end", nd.name)
		nd.kill()
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s ended with exit code %d", nd.name, code)
	}
}

// flag is the value of a flag on a node's command line.
func (nd *node) flag(name string) string { return nd.args[slices.Index(nd.args, name)+1] }

// withoutFlag takes a flag and its value out of a command line.
func withoutFlag(args []string, flag string) []string {
	i := slices.Index(args, flag)
	return slices.Delete(slices.Clone(args), i, i+2)
}
