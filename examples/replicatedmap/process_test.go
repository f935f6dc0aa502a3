package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/ports"
	"github.com/coordd/coordd/pkg/raft"
)

// processes are members that run the built program, each with a folder.
type processes struct {
	t       *testing.T
	program string
	members string
	http    map[int]int // port of a member → that of its HTTP server
	folders string
	running map[int]*exec.Cmd
	client  *http.Client
}

func buildProgram(t *testing.T) *processes {
	way := http.DefaultTransport.(*http.Transport).Clone()
	p := &processes{t: t, program: filepath.Join(t.TempDir(), "replicatedmap"), http: map[int]int{}, folders: t.TempDir(),
		running: map[int]*exec.Cmd{}, client: &http.Client{Transport: way, Timeout: limit}}
	if out, err := exec.Command("go", "build", "-o", p.program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	free := freePorts(t, 6)
	for i, port := range free[:3] {
		p.http[port] = free[3+i]
	}
	p.members = strings.Trim(strings.Join(strings.Fields(fmt.Sprint(free[:3])), ","), "[]")
	t.Cleanup(func() {
		for port := range p.running {
			p.end(port, os.Kill)
		}
		way.CloseIdleConnections()
	})
	return p
}

func freePorts(t *testing.T, count int) []int {
	t.Helper()
	free, err := ports.Free(count)
	if err != nil {
		t.Fatal(err)
	}
	return free
}

func (p *processes) start(port int) *bytes.Buffer {
	p.t.Helper()
	cmd := exec.Command(p.program, "tcp", fmt.Sprint(port), filepath.Join(p.folders, fmt.Sprint(port)),
		"--members", p.members, "--http", fmt.Sprint(p.http[port]))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.running[port] = cmd
	return &out
}

// end sends one process a signal and waits until it has ended.
func (p *processes) end(port int, how os.Signal) error {
	cmd := p.running[port]
	delete(p.running, port)
	if err := cmd.Process.Signal(how); err != nil {
		p.t.Error(err)
	}
	return cmd.Wait()
}

// try sends a request and returns the code, 0 for no answer, the body, and the port of who answered in the end.
func (p *processes) try(port int, method, path, body string) (code int, answer string, by string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", p.http[port], path), strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Client", path) // each key is written once, however often the request has to be sent
	r.Header.Set("Sequence", "1")
	res, err := p.client.Do(r)
	if err != nil {
		return 0, err.Error(), ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error(), ""
	}
	return res.StatusCode, string(b), res.Request.URL.Port()
}

// want asks until the answer is 200.
func (p *processes) want(port int, method, path, body string) (answer, by string) {
	p.t.Helper()
	tick, end := time.NewTicker(20*time.Millisecond), time.NewTimer(limit)
	defer tick.Stop()
	defer end.Stop()
	for {
		code, answer, by := p.try(port, method, path, body)
		if code == http.StatusOK {
			return answer, by
		}
		select {
		case <-tick.C:
		case <-end.C:
			p.t.Fatalf("%s %s on %d: %d %s", method, path, port, code, answer)
		}
	}
}

// Three terminals: the leader's process is killed, the others go on with what was written, and it comes back.
func TestThreeTerminals(t *testing.T) {
	t.Parallel()
	p := buildProgram(t)
	printed := map[int]*bytes.Buffer{}
	for port := range p.http {
		printed[port] = p.start(port)
	}
	for port := range p.http {
		p.want(port, "GET", "/ready", "")
	}
	var leader int
	for port := range p.http {
		key := fmt.Sprintf("/map/%d", port)
		_, by := p.want(port, "PUT", key, "before")
		leader = portOf(p, by)
		if got, _ := p.want(port, "GET", key, ""); got != "before" {
			t.Errorf("%s on %d: %q", key, port, got)
		}
	}
	killed := time.Now()
	if err := p.end(leader, os.Kill); err == nil {
		t.Error("a killed process ended well")
	}
	for port := range p.running {
		_, by := p.want(port, "PUT", "/map/after", "x")
		if by == fmt.Sprint(p.http[leader]) {
			t.Error("the one that was killed answered")
		}
	}
	t.Logf("written again %v after the leader was killed", time.Since(killed).Round(time.Millisecond))
	for port := range p.running {
		for other := range p.http {
			if got, _ := p.want(port, "GET", fmt.Sprintf("/map/%d", other), ""); got != "before" {
				t.Errorf("what was written through %d is %q on %d", other, got, port)
			}
		}
	}
	p.start(leader)
	p.want(leader, "GET", "/ready", "")
	if got, _ := p.want(leader, "GET", "/map/after", ""); got != "x" {
		t.Errorf("the one that came back has %q", got)
	}
	// Ctrl-C ends each in order, and says nothing of an error.
	for port := range p.http {
		if err := p.end(port, os.Interrupt); err != nil {
			t.Errorf("%d after an interrupt: %v\n%s", port, err, printed[port])
		}
	}
	if !strings.Contains(printed[leader].String(), fmt.Sprintf("%s  leader in term", nameOf(raft.MemberID(leader)))) {
		t.Errorf("the leader did not say that it leads:\n%s", printed[leader])
	}
}

func portOf(p *processes, web string) int {
	for port, h := range p.http {
		if fmt.Sprint(h) == web {
			return port
		}
	}
	p.t.Fatalf("nobody serves at %s", web)
	return 0
}
