package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coordd/coordd/internal/ports"
)

// waitLimit bounds every wait; it is far beyond what any of them needs on a machine that does much else.
const waitLimit = 2 * time.Minute

func TestMain(m *testing.M) {
	// Under nohup a hangup is ignored, and every program that is started from here would ignore it too. A
	// signal that is caught begins anew in them.
	if strings.HasSuffix(os.Args[0], ".test") { // not one of the commands below
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	testscript.Main(m, map[string]func(){
		"coordd":   func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"fakelock": runFakeLock,
		"living":   runLiving,
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     scriptExits,
			"within":    scriptWithin,
			"ports":     scriptPorts,
			"addresses": scriptAddresses,
			"ready":     scriptReady,
			"node":      scriptNode,
			"stopnode":  scriptStopNode,
			"serve":     scriptServe,
			"end":       scriptEnd,
			"until":     scriptUntil,
			"start":     scriptStart,
			"type":      scriptType,
			"send":      scriptSend,
			"ended":     scriptEnded,
			"lines":     scriptLines,
			"gone":      scriptGone,
			"cable":     scriptCable,
			"cut":       scriptCut,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("GOMEMLIMIT", "64MiB")
			e.Setenv("COORDD_TIMEOUT", waitLimit.String())
			return nil
		},
	})
}

// scriptExits runs a command and demands its exit code: exits 3 coordd lock run …
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// scriptWithin is exits for a command that must not take longer: within 20s 5 coordd lock run …
func scriptWithin(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: within DURATION CODE COMMAND ARG...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	begin := time.Now()
	scriptExits(ts, neg, args[1:])
	if took := time.Since(begin); took > limit {
		ts.Fatalf("it took %v, want %v at most", took, limit)
	}
}

// scriptPorts sets variables to free addresses of the loopback: ports PEER NATS HTTP
func scriptPorts(ts *testscript.TestScript, _ bool, args []string) {
	addrs, err := ports.Addresses(len(args))
	ts.Check(err)
	for i, name := range args {
		ts.Setenv(name, addrs[i])
		_, port, err := net.SplitHostPort(addrs[i])
		ts.Check(err)
		ts.Setenv(name+"_PORT", port)
	}
}

// scriptReady waits until an HTTP address is ready: ready $HTTP
func scriptReady(ts *testscript.TestScript, _ bool, args []string) {
	err := waitReady(args[0])
	if err == nil {
		return
	}
	scriptNodes.Range(func(_, v any) bool {
		if n := v.(*testNode); n.http == args[0] {
			log, _ := os.ReadFile(n.log)
			err = fmt.Errorf("%w\n%s", err, log)
		}
		return true
	})
	ts.Check(err)
}

func waitReady(addr string) error {
	var last error
	for end := time.Now().Add(waitLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			last = err
			continue
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		last = fmt.Errorf("%d: %s", resp.StatusCode, b)
	}
	return fmt.Errorf("%s is not ready: %w", addr, last)
}

// testNode is a `coordd serve` that a test started.
type testNode struct {
	cmd  *exec.Cmd
	nats string
	http string
	log  string
	done chan struct{}
	err  error
}

// startNode runs a node by itself, with more flags if wanted, and waits until it is ready.
func startNode(dir string, more ...string) (*testNode, error) {
	return startNodeWith(dir, nil, more...)
}

// startNodeWith gives the node open files from number 3 on.
func startNodeWith(dir string, files []*os.File, more ...string) (*testNode, error) {
	addrs, err := ports.Addresses(3)
	if err != nil {
		return nil, err
	}
	n := &testNode{nats: "nats://" + addrs[1], http: addrs[2], log: dir + "/node.log", done: make(chan struct{})}
	args := append([]string{"serve", "--name", "n1", "--data-dir", dir + "/n1", "--peer-listen", addrs[0], "--nats-listen", addrs[1], "--http-listen", addrs[2]}, more...)
	n.cmd = exec.Command("coordd", args...)
	log, err := os.Create(n.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	n.cmd.Stdout, n.cmd.Stderr, n.cmd.ExtraFiles = log, log, files
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		n.err = n.cmd.Wait()
		close(n.done)
	}()
	if err := waitReady(n.http); err != nil {
		n.kill()
		b, _ := os.ReadFile(n.log)
		return nil, fmt.Errorf("%w\n%s", err, b)
	}
	return n, nil
}

func (n *testNode) kill() {
	_ = n.cmd.Process.Kill()
	<-n.done
}

// stop ends the node in order and returns its exit code.
func (n *testNode) stop() int {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	<-n.done
	return n.cmd.ProcessState.ExitCode()
}

// scriptNodes has the node of each running script.
var scriptNodes sync.Map

// scriptNode starts a node for the script and sets COORDD_NATS_URL.
func scriptNode(ts *testscript.TestScript, _ bool, args []string) {
	n, err := startNode(ts.MkAbs("."), args...)
	ts.Check(err)
	ts.Defer(n.kill)
	ts.Setenv("COORDD_NATS_URL", n.nats)
	ts.Setenv("NODE_HTTP", n.http)
	ts.Setenv("NODE_PID", strconv.Itoa(n.cmd.Process.Pid))
	scriptNodes.Store(ts, n)
}

// scriptStopNode sends TERM to the script's node and demands exit code 0.
func scriptStopNode(ts *testscript.TestScript, _ bool, _ []string) {
	n, ok := scriptNodes.Load(ts)
	if !ok {
		ts.Fatalf("no node runs")
	}
	if code := n.(*testNode).stop(); code != 0 {
		ts.Fatalf("the node ended with code %d", code)
	}
}

// scriptServe starts a node of that name beside others, and does not wait for it: serve NAME [FLAG...]. Its addresses are
// in NAME_PEER, NAME_NATS and NAME_HTTP, and stay the same when it is started again.
func scriptServe(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	if ts.Getenv(name+"_PEER") == "" {
		scriptAddresses(ts, false, []string{name})
	}
	log, err := os.OpenFile(ts.MkAbs(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	n := &testNode{nats: "nats://" + ts.Getenv(name+"_NATS"), http: ts.Getenv(name + "_HTTP"), log: log.Name(), done: make(chan struct{})}
	n.cmd = exec.Command("coordd", append([]string{"serve", "--name", name, "--data-dir", ts.MkAbs(name), "--peer-listen", ts.Getenv(name + "_PEER"),
		"--nats-listen", ts.Getenv(name + "_NATS"), "--http-listen", n.http,
		"--election-timeout-min", "1500ms"}, args[1:]...)...) // a busy test machine must not look like a dead leader
	n.cmd.Stdout, n.cmd.Stderr, n.cmd.Dir = log, log, ts.MkAbs(".")
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	ts.Check(n.cmd.Start())
	go func() {
		n.err = n.cmd.Wait()
		close(n.done)
	}()
	ts.Defer(n.kill)
	scriptNodes.Store([2]any{ts, name}, n)
	ts.Setenv("COORDD_NATS_URL", ts.Getenv("COORDD_NATS_URL")+","+n.nats)
	if strings.HasPrefix(ts.Getenv("COORDD_NATS_URL"), ",") {
		ts.Setenv("COORDD_NATS_URL", n.nats)
	}
}

// scriptAddresses gives nodes their addresses before they are started: addresses NAME...
func scriptAddresses(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		addrs, err := ports.Addresses(3)
		ts.Check(err)
		ts.Setenv(name+"_PEER", addrs[0])
		ts.Setenv(name+"_NATS", addrs[1])
		ts.Setenv(name+"_HTTP", addrs[2])
	}
}

// scriptEnd ends a node that serve started: end NAME demands exit code 0, end -kill NAME kills it.
func scriptEnd(ts *testscript.TestScript, _ bool, args []string) {
	v, ok := scriptNodes.Load([2]any{ts, args[len(args)-1]})
	if !ok {
		ts.Fatalf("%s does not run", args[len(args)-1])
	}
	n := v.(*testNode)
	if args[0] == "-kill" {
		n.kill()
		return
	}
	if code := n.stop(); code != 0 {
		ts.Fatalf("%s ended with code %d", args[0], code)
	}
}

// scriptUntil repeats a command until what it writes, or the page that it names, matches: until PATTERN exec COMMAND
// ARG..., until PATTERN page URL.
func scriptUntil(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	last := ""
	for end := time.Now().Add(waitLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		switch args[1] {
		case "exec":
			cmd := exec.Command(args[2], args[3:]...)
			cmd.Dir = ts.MkAbs(".")
			cmd.Env = append(os.Environ(), "COORDD_NATS_URL="+ts.Getenv("COORDD_NATS_URL"))
			out, _ := cmd.CombinedOutput() // its code is part of what is waited for
			last = string(out)
		case "page":
			resp, err := http.Get(args[2])
			if err != nil {
				last = err.Error()
				break
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			last = string(b)
		default:
			ts.Fatalf("until %s", args[1])
		}
		if want.MatchString(last) {
			return
		}
	}
	ts.Fatalf("never matched %q; last:\n%s", args[0], last)
}

// newNode starts a node for a Go test and returns the environment of commands that use it.
func newNode(t *testing.T) (*testNode, []string) {
	t.Helper()
	n, err := startNode(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			b, _ := os.ReadFile(n.log)
			t.Logf("log of the node:\n%s", b)
		}
	})
	return n, append(os.Environ(), "COORDD_NATS_URL="+n.nats, "COORDD_TIMEOUT="+waitLimit.String())
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", waitLimit, what)
		case <-tick.C:
		}
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	rest := string(b)[strings.LastIndexByte(string(b), ')')+1:]
	f := strings.Fields(rest)
	return len(f) > 0 && f[0] != "Z" && f[0] != "X"
}
