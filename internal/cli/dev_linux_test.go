package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/ports"
)

// devState is dev.json.
type devState struct {
	Cluster string `json:"cluster"`
	NATSURL string `json:"nats_url"`
	Nodes   []struct {
		Name    string `json:"name"`
		PID     int    `json:"pid"`
		NATSURL string `json:"nats_url"`
		HTTPURL string `json:"http_url"`
		Peer    string `json:"peer"`
		DataDir string `json:"data_dir"`
		Log     string `json:"log"`
	} `json:"nodes"`
}

func (d devState) pids() (pids []int) {
	for _, n := range d.Nodes {
		pids = append(pids, n.PID)
	}
	return pids
}

// devRun is a `coordd dev` that a test started.
type devRun struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string
	out  string
	done chan struct{}
}

// startDev starts a development cluster; an empty dir lets it make a temporary one below TMPDIR.
func startDev(t *testing.T, tmp, dir string, args ...string) *devRun {
	t.Helper()
	d := &devRun{t: t, dir: dir, out: filepath.Join(t.TempDir(), "out"), done: make(chan struct{})}
	if dir != "" {
		args = append(args, "--data-dir", dir)
	}
	d.cmd = exec.Command("coordd", append([]string{"dev"}, args...)...)
	d.cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "COORDD_NAME=not-for-the-nodes")
	out, err := os.Create(d.out)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d.cmd.Stdout, d.cmd.Stderr = out, out
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // the code is asked for
		close(d.done)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.done
	})
	return d
}

func (d *devRun) said() string {
	b, err := os.ReadFile(d.out)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// state waits until the cluster is ready and reads dev.json.
func (d *devRun) state() devState {
	d.t.Helper()
	path := filepath.Join(d.dir, "dev.json")
	if d.dir == "" {
		eventually(d.t, "dev says where its data is: "+d.said(), func() bool { return strings.Contains(d.said(), "data in ") })
		_, rest, _ := strings.Cut(d.said(), "data in ")
		dir, _, _ := strings.Cut(rest, " (temporary)")
		path = filepath.Join(dir, "dev.json")
	}
	var st devState
	limit := time.Now().Add(waitLimit)
	for {
		b, err := os.ReadFile(path)
		if err == nil {
			if err := json.Unmarshal(b, &st); err != nil {
				d.t.Fatal(err)
			}
			return st
		}
		select {
		case <-d.done:
			d.t.Fatalf("dev ended:\n%s", d.said())
		default:
		}
		if time.Now().After(limit) {
			d.t.Fatalf("no %s:\n%s", path, d.said())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (d *devRun) code() int {
	d.t.Helper()
	select {
	case <-d.done:
	case <-time.After(waitLimit):
		d.t.Fatalf("dev did not end:\n%s", d.said())
	}
	return d.cmd.ProcessState.ExitCode()
}

// devPorts returns flags with blocks of free ports.
func devPorts(t *testing.T, n int) []string {
	t.Helper()
	for range 100 {
		addrs, err := ports.Addresses(1)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(addrs[0], ":")
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		if port+2*n < 65535 && firstTaken(port, 2*n) == 0 {
			return []string{"--nats-port", strconv.Itoa(port), "--http-port", strconv.Itoa(port + n)}
		}
	}
	t.Fatal("no free ports in a row")
	return nil
}

func TestDevServesRestartsAndEndsCleanly(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	d := startDev(t, tmp, "", devPorts(t, 3)...)
	st := d.state()
	if len(st.Nodes) != 3 || st.Cluster != "dev" || len(strings.Split(st.NATSURL, ",")) != 3 {
		t.Fatalf("dev.json: %+v", st)
	}
	env := append(os.Environ(), "COORDD_NATS_URL="+st.NATSURL)
	eventually(t, "three lines to paste", func() bool { return strings.Contains(d.said(), "Ctrl-C stops all.") })
	for _, want := range []string{"export COORDD_NATS_URL=" + st.NATSURL, "coordd lock run demo -- sh -c 'echo $COORDD_FENCE'",
		"coordd id next --count 3 --format uuid", "coordd status", "leader"} {
		if !strings.Contains(d.said(), want) {
			t.Errorf("dev did not print %q:\n%s", want, d.said())
		}
	}
	if out, errOut, code := coordd(t, env, "lock", "run", "demo", "--", "sh", "-c", "echo $COORDD_FENCE"); code != 0 || out != "1\n" {
		t.Fatalf("code %d: %s%s", code, out, errOut)
	}

	leader := leaderOf(t, env)
	if err := syscall.Kill(leader, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code := coordd(t, env, "lock", "run", "demo", "--", "sh", "-c", "echo $COORDD_FENCE"); code != 0 || out != "2\n" {
		t.Errorf("after the leader's death: code %d: %s%s", code, out, errOut)
	}
	eventually(t, "the node is started again and reported", func() bool { return strings.Contains(d.said(), " is back (pid ") })
	if !strings.Contains(d.said(), fmt.Sprintf("(pid %d) ended: signal: killed; starting it again in 2s", leader)) {
		t.Errorf("the death is not reported:\n%s", d.said())
	}
	again := d.state()
	pids := again.pids()
	for _, pid := range pids {
		if pid == leader || !alive(pid) {
			t.Errorf("dev.json still names %d", pid)
		}
	}

	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := d.code(); code != 0 {
		t.Errorf("code %d:\n%s", code, d.said())
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("node %d is left", pid)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v %v", left, err)
	}
}

// leaderOf returns the process ID of the leader.
func leaderOf(t *testing.T, env []string) int {
	t.Helper()
	out, errOut, _ := coordd(t, env, "status", "-o", "json")
	var doc struct {
		Nodes []struct{ Role, PID string }
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatalf("%v: %s%s", err, out, errOut)
	}
	for _, n := range doc.Nodes {
		if n.Role == "leader" {
			pid, err := strconv.Atoi(n.PID)
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no leader: %s", out)
	return 0
}

func TestKillingDevLeavesNoNode(t *testing.T) {
	t.Parallel()
	d := startDev(t, t.TempDir(), t.TempDir(), devPorts(t, 3)...)
	pids := d.state().pids()
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		eventually(t, "the nodes end with dev", func() bool { return !alive(pid) })
	}
}

func TestDevKeepsItsData(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ports := devPorts(t, 1)
	var fences []string
	for range 2 {
		d := startDev(t, t.TempDir(), dir, append([]string{"--nodes", "1"}, ports...)...)
		st := d.state()
		out, errOut, code := coordd(t, append(os.Environ(), "COORDD_NATS_URL="+st.NATSURL), "lock", "run", "demo", "--", "sh", "-c", "echo $COORDD_FENCE")
		if code != 0 {
			t.Fatalf("code %d: %s", code, errOut)
		}
		fences = append(fences, out)
		second := startDev(t, t.TempDir(), dir, "--nodes", "1")
		if code := second.code(); code != exitError || !strings.Contains(second.said(), dir+" is in use by another coordd dev (process "+strconv.Itoa(d.cmd.Process.Pid)+")") {
			t.Errorf("a second dev: code %d: %s", code, second.said())
		}
		if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := d.code(); code != 0 {
			t.Errorf("code %d:\n%s", code, d.said())
		}
		if _, err := os.Stat(filepath.Join(dir, "dev.json")); err == nil {
			t.Error("dev.json is left, as if the nodes ran")
		}
	}
	if fences[0] != "1\n" || fences[1] != "2\n" {
		t.Errorf("fences %q: the second run forgot the first", fences)
	}
	other := startDev(t, t.TempDir(), dir, "--nodes", "3")
	if code := other.code(); code != exitUsage || !strings.Contains(other.said(), "holds a cluster of 1 nodes") {
		t.Errorf("another number of nodes: code %d: %s", code, other.said())
	}
}

func TestDevPorts(t *testing.T) {
	t.Parallel()
	ports := devPorts(t, 1)
	first := startDev(t, t.TempDir(), t.TempDir(), append([]string{"--nodes", "1", "--no-restart"}, ports...)...)
	st := first.state()
	asked := startDev(t, t.TempDir(), t.TempDir(), append([]string{"--nodes", "1"}, ports...)...)
	if code := asked.code(); code != exitError || !strings.Contains(asked.said(), "--nats-port "+ports[1]+": port "+ports[1]+" is in use") {
		t.Errorf("a port that was asked for: code %d: %s", code, asked.said())
	}
	if err := syscall.Kill(st.Nodes[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the death is reported", func() bool { return strings.Contains(first.said(), "it stays down (--no-restart)") })
}

func TestSweepTemporaryTakesOnlyWhatNobodyUses(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{"coordd-dev-dead", "coordd-dev-used", "coordd-dev-young", "coordd-dev-other"} {
		dir := filepath.Join(tmp, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "coordd-dev-other" {
			continue // no lock file: not one of ours
		}
		lock, err := lockDirectory(dir)
		if err != nil {
			t.Fatal(err)
		}
		if name == "coordd-dev-used" {
			defer lock.Close()
		} else if err := lock.Close(); err != nil {
			t.Fatal(err)
		}
		if name != "coordd-dev-young" {
			if err := os.Chtimes(filepath.Join(dir, devLockName), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	sweepTemporary()
	for name, want := range map[string]bool{"coordd-dev-dead": false, "coordd-dev-used": true, "coordd-dev-young": true, "coordd-dev-other": true} {
		if _, err := os.Stat(filepath.Join(tmp, name)); (err == nil) != want {
			t.Errorf("%s: there %v, want %v", name, err == nil, want)
		}
	}
}
