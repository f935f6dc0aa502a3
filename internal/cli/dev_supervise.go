package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	devRestartDelay = 2 * time.Second
	devPoll         = 20 * time.Millisecond
	// devStarts is how often a node may end before it was ever ready.
	devStarts = 3
)

// supervisor runs the nodes of a plan as child processes.
type supervisor struct {
	plan *devPlan
	o    devOptions
	out  io.Writer // under mu

	pipeR, pipeW *os.File          // the nodes end when pipeW does
	forks        chan func() error // carried out on one thread that lives as long as this process
	ended        chan *devChild
	wg           sync.WaitGroup

	mu        sync.Mutex
	children  map[string]*devChild
	stopping  bool
	announced bool
}

// devChild is one run of a node.
type devChild struct {
	node   *devNode
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // after exited
	tries  int   // starts in a row without having been ready
	ready  bool  // under supervisor.mu
}

func newSupervisor(plan *devPlan, o devOptions, out io.Writer) (*supervisor, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s := &supervisor{plan: plan, o: o, out: out, pipeR: r, pipeW: w, forks: make(chan func() error),
		ended: make(chan *devChild, len(plan.Nodes)), children: make(map[string]*devChild)}
	// The parent-death signal goes out when the thread ends that started the child, so all are started on
	// one thread that stays.
	go func() {
		runtime.LockOSThread()
		for f := range s.forks {
			_ = f() // keeps its own result
		}
	}()
	return s, nil
}

func (s *supervisor) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// announce prints under the same lock as reports, and once.
func (s *supervisor) announce(print func()) {
	s.mu.Lock()
	s.announced = true
	s.mu.Unlock()
	print()
}

// start starts all nodes and waits until each is ready.
func (s *supervisor) start(ctx context.Context) error {
	for _, n := range s.plan.Nodes {
		if err := s.launch(n, 1); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, devReadyLimit, fmt.Errorf("the nodes are not ready after %v", devReadyLimit))
	defer cancel()
	for !s.allReady(ctx) {
		select {
		case c := <-s.ended:
			if c.tries >= devStarts || s.o.noRestart {
				return fmt.Errorf("%s ended before it was ready (%v); the end of %s:\n%s", c.node.Name, c.err, s.plan.logPath(c.node), s.logTail(c.node))
			}
			s.restart(ctx, c)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return context.Cause(ctx)
			}
			return nil
		case <-time.After(devPoll):
		}
	}
	return nil
}

// keep restarts nodes that end until ctx does.
func (s *supervisor) keep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-s.ended:
			if s.o.noRestart {
				s.say("%s (pid %d) ended: %v; it stays down (--no-restart)", c.node.Name, c.cmd.Process.Pid, c.err)
				continue
			}
			s.restart(ctx, c)
		}
	}
}

// restart starts a node again after a while, without holding up the others.
func (s *supervisor) restart(ctx context.Context, c *devChild) {
	s.say("%s (pid %d) ended: %v; starting it again in %v", c.node.Name, c.cmd.Process.Pid, c.err, devRestartDelay)
	tries := c.tries + 1
	s.mu.Lock()
	if c.ready {
		tries = 1
	}
	s.mu.Unlock()
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		select {
		case <-ctx.Done():
			return
		case <-time.After(devRestartDelay):
		}
		if err := s.launch(c.node, tries); err != nil {
			s.say("%s could not be started: %v", c.node.Name, err)
			return
		}
		s.mu.Lock()
		again, announced := s.children[c.node.Name], s.announced
		s.mu.Unlock()
		if again == nil || !announced {
			return
		}
		if err := s.writeState(); err != nil {
			s.say("dev.json: %v", err)
		}
		for !s.isReady(ctx, again) {
			select {
			case <-ctx.Done():
				return
			case <-again.exited:
				return // reported by itself
			case <-time.After(devPoll):
			}
		}
		s.say("%s is back (pid %d)", c.node.Name, again.cmd.Process.Pid)
	}()
}

// launch starts the process of a node.
func (s *supervisor) launch(n *devNode, tries int) error {
	log, err := os.OpenFile(s.plan.logPath(n), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, err := selfCommand(s.arguments(n)...)
	if err != nil {
		return err
	}
	cmd.Env = childEnv()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{s.pipeR}
	cmd.SysProcAttr = childAttributes()
	cmd.SysProcAttr.Setpgid = true
	c := &devChild{node: n, cmd: cmd, exited: make(chan struct{}), tries: tries}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil
	}
	started := make(chan error, 1)
	s.forks <- func() error { err := cmd.Start(); started <- err; return err }
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	s.children[n.Name] = c
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		if c.err = cmd.Wait(); c.err == nil {
			c.err = errors.New("exit status 0")
		}
		close(c.exited)
		s.ended <- c
	}()
	return nil
}

// arguments are those of `coordd serve` for a node. The pipe is the first file after stderr.
func (s *supervisor) arguments(n *devNode) []string {
	args := []string{"serve", "--parent-fd", "3", "--name", n.Name, "--cluster", s.plan.Cluster, "--data-dir", s.plan.dataDir(n),
		"--peer-listen", n.Peer, "--nats-listen", fmt.Sprintf("127.0.0.1:%d", n.NATSPort),
		"--http-listen", fmt.Sprintf("127.0.0.1:%d", n.HTTPPort), "--log-level", s.o.logLevel}
	if len(s.plan.Nodes) == 1 {
		return args
	}
	var peers, routes []string
	for _, p := range s.plan.Nodes {
		peers = append(peers, p.Name+"="+p.Peer)
		if p != n {
			routes = append(routes, p.Route)
		}
	}
	return append(args, "--peers", strings.Join(peers, ","), "--nats-cluster-listen", n.Route, "--nats-routes", strings.Join(routes, ","))
}

func (s *supervisor) allReady(ctx context.Context) bool {
	s.mu.Lock()
	children := make([]*devChild, 0, len(s.children))
	for _, c := range s.children {
		children = append(children, c)
	}
	s.mu.Unlock()
	for _, c := range children {
		if !s.isReady(ctx, c) {
			return false
		}
	}
	return true
}

// isReady asks a node whether it is ready, until it once was.
func (s *supervisor) isReady(ctx context.Context, c *devChild) bool {
	s.mu.Lock()
	ready := c.ready
	s.mu.Unlock()
	if ready {
		return true
	}
	select {
	case <-c.exited:
		return false
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.node.httpURL()+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body) // for the connection's sake
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false
	}
	s.mu.Lock()
	c.ready = true
	s.mu.Unlock()
	return true
}

func (s *supervisor) pids() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	pids := make(map[string]int)
	for name, c := range s.children {
		pids[name] = c.cmd.Process.Pid
	}
	return pids
}

// writeState writes dev.json, from which programs learn what runs where.
func (s *supervisor) writeState() error {
	type node struct {
		Name    string `json:"name"`
		PID     int    `json:"pid"`
		NATSURL string `json:"nats_url"`
		HTTPURL string `json:"http_url"`
		Peer    string `json:"peer"`
		DataDir string `json:"data_dir"`
		Log     string `json:"log"`
	}
	doc := struct {
		Cluster string `json:"cluster"`
		NATSURL string `json:"nats_url"`
		Nodes   []node `json:"nodes"`
	}{Cluster: s.plan.Cluster, NATSURL: s.plan.natsURLs()}
	pids := s.pids()
	for _, n := range s.plan.Nodes {
		doc.Nodes = append(doc.Nodes, node{n.Name, pids[n.Name], n.natsURL(), n.httpURL(), n.Peer, s.plan.dataDir(n), s.plan.logPath(n)})
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return writeFileAtomically(filepath.Join(s.plan.dir, "dev.json"), append(b, '\n'))
}

// logTail returns the last lines of a node's log.
func (s *supervisor) logTail(n *devNode) string {
	b, err := os.ReadFile(s.plan.logPath(n))
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}

// stop ends all nodes, in order if there is time, and returns when none is left.
func (s *supervisor) stop(limit time.Duration) {
	s.mu.Lock()
	s.stopping = true
	children := make([]*devChild, 0, len(s.children))
	for _, c := range s.children {
		children = append(children, c)
	}
	s.mu.Unlock()
	for _, c := range children {
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // ended already
	}
	over := time.After(limit)
	for _, c := range children {
		select {
		case <-c.exited:
			continue
		case <-over:
			over = closedTime
		}
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		<-c.exited
	}
	go func() { // reports of the ends that nobody reads any more
		for range s.ended {
		}
	}()
	s.wg.Wait()
	close(s.ended)
	close(s.forks)
	_ = s.pipeW.Close()
	_ = s.pipeR.Close()
}

// closedTime is a timer that is always over.
var closedTime = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()
