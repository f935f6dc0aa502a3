package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// runningCommand is a command that a script started and that goes on beside it.
type runningCommand struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser // of start -type
	done  chan struct{}
}

// scriptCommands has the running commands of each script by name.
var scriptCommands sync.Map

func runningIn(ts *testscript.TestScript, name string) *runningCommand {
	v, ok := scriptCommands.Load([2]any{ts, name})
	if !ok {
		ts.Fatalf("nothing was started as %s", name)
	}
	return v.(*runningCommand)
}

// scriptStart runs a command beside the script: start [-type] NAME COMMAND ARG... What it writes is in NAME.out and
// NAME.err. With -type the script gives it its input.
func scriptStart(ts *testscript.TestScript, neg bool, args []string) {
	typed := len(args) > 0 && args[0] == "-type"
	if typed {
		args = args[1:]
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start [-type] NAME COMMAND ARG...")
	}
	r := &runningCommand{cmd: exec.Command(args[1], args[2:]...), done: make(chan struct{})}
	create := func(suffix string) *os.File {
		f, err := os.Create(ts.MkAbs(args[0] + suffix))
		ts.Check(err)
		return f
	}
	out, errOut := create(".out"), create(".err")
	defer out.Close()
	defer errOut.Close()
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = ts.MkAbs("."), out, errOut
	r.cmd.Env = append(os.Environ(), "COORDD_NATS_URL="+ts.Getenv("COORDD_NATS_URL"), "COORDD_TIMEOUT="+ts.Getenv("COORDD_TIMEOUT"))
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no shell around the tests has a say in what is stopped
	if typed {
		var err error
		r.stdin, err = r.cmd.StdinPipe()
		ts.Check(err)
	}
	ts.Check(r.cmd.Start())
	go func() {
		_ = r.cmd.Wait() // ended looks at the state
		close(r.done)
	}()
	scriptCommands.Store([2]any{ts, args[0]}, r)
	ts.Defer(func() {
		_ = r.cmd.Process.Signal(syscall.SIGCONT)
		_ = r.cmd.Process.Kill()
		<-r.done
	})
}

// scriptType writes into the input of a started command, with Go's escapes: type NAME 'yes\n'
func scriptType(ts *testscript.TestScript, _ bool, args []string) {
	text, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	_, err = io.WriteString(runningIn(ts, args[0]).stdin, text)
	ts.Check(err)
}

// scriptSend sends a signal to a started command: send NAME TERM
func scriptSend(ts *testscript.TestScript, _ bool, args []string) {
	sig := unix.SignalNum("SIG" + args[1])
	if sig == 0 {
		ts.Fatalf("no signal %s", args[1])
	}
	ts.Check(runningIn(ts, args[0]).cmd.Process.Signal(sig))
}

// scriptEnded waits for a started command and demands its exit code, 128 + n by signal n: ended NAME CODE
func scriptEnded(ts *testscript.TestScript, _ bool, args []string) {
	r := runningIn(ts, args[0])
	text := func() string {
		b, err := os.ReadFile(ts.MkAbs(args[0] + ".err"))
		return fmt.Sprintf("%s%v", b, errors.Join(err))
	}
	select {
	case <-r.done:
	case <-time.After(waitLimit):
		ts.Fatalf("%s goes on:\n%s", args[0], text())
	}
	ws := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	code := ws.ExitStatus()
	if ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	if want, err := strconv.Atoi(args[1]); err != nil || code != want {
		ts.Fatalf("%s ended with code %d, want %s:\n%s", args[0], code, args[1], text())
	}
}

// scriptLines waits until a file has at least N lines: lines FILE N
func scriptLines(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b []byte
	for end := time.Now().Add(waitLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if b, err = os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Count(string(b), "\n") >= want {
			return
		}
	}
	ts.Fatalf("%s has not %d lines: %v\n%s", args[0], want, err, b)
}

// scriptGone waits until no process is left whose ID is in a file: gone FILE
func scriptGone(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(waitLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		left, err := livingIn(ts.MkAbs(args[0]))
		ts.Check(err)
		if len(left) == 0 {
			return
		}
	}
	ts.Fatalf("processes of %s are left", args[0])
}

// livingIn returns the processes that live of those whose IDs are in a file. It must have one at least.
func livingIn(file string) (left []int, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(string(b))
	if len(fields) == 0 {
		return nil, fmt.Errorf("%s is empty", file)
	}
	for _, f := range fields {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		if alive(pid) {
			left = append(left, pid)
		}
	}
	return left, nil
}

// runLiving is the program `living FILE`: it writes the IDs of the processes of the file that live.
func runLiving() {
	left, err := livingIn(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, pid := range left {
		fmt.Println(pid)
	}
}

// cable is a connection to a node that can be cut: it stays open, and nothing goes through it any more.
type cable struct {
	to string

	mu  sync.Mutex
	cut bool
}

// scriptCable sets a variable to a NATS URL behind which the script's node is, until the cable is cut: cable NAME
func scriptCable(ts *testscript.TestScript, _ bool, args []string) {
	u, err := url.Parse(ts.Getenv("COORDD_NATS_URL"))
	ts.Check(err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	c := &cable{to: u.Host}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", c.to)
			if err != nil {
				conn.Close()
				continue
			}
			mu.Lock()
			open = append(open, conn, far)
			mu.Unlock()
			wg.Go(func() { c.pass(far, conn) })
			wg.Go(func() { c.pass(conn, far) })
		}
	})
	ts.Defer(func() {
		ln.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	ts.Setenv(args[0], "nats://"+ln.Addr().String())
	scriptCommands.Store([2]any{ts, "cable " + args[0]}, c)
}

// otherURLs is what a NATS server tells its clients of other ways to it.
var otherURLs = regexp.MustCompile(`,"connect_urls":\[[^\]]*\]`)

func (c *cable) pass(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		c.mu.Lock()
		cut := c.cut
		c.mu.Unlock()
		if err != nil {
			if !cut {
				to.Close()
			}
			return
		}
		b := buf[:n]
		if strings.HasPrefix(string(b), "INFO ") {
			b = otherURLs.ReplaceAll(b, nil)
		}
		if !cut {
			if _, err := to.Write(b); err != nil {
				return
			}
		}
	}
}

// scriptCut cuts a cable for good: cut NAME
func scriptCut(ts *testscript.TestScript, _ bool, args []string) {
	v, ok := scriptCommands.Load([2]any{ts, "cable " + args[0]})
	if !ok {
		ts.Fatalf("there is no cable %s", args[0])
	}
	c := v.(*cable)
	c.mu.Lock()
	c.cut = true
	c.mu.Unlock()
}
