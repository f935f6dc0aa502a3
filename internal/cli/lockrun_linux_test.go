package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// coordd runs a command to its end and returns what it said.
func coordd(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "coordd", args...)
	cmd.Env = env
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// lockState is what `lock get` says.
func lockState(t *testing.T, env []string, name string) string {
	t.Helper()
	out, errOut, code := coordd(t, env, "lock", "get", name, "-o", "json")
	var doc struct {
		Lock struct{ State string }
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 0 {
		t.Fatalf("code %d, %v: %s%s", code, err, out, errOut)
	}
	return doc.Lock.State
}

func TestCtrlCInLockRunReleasesAndEndsEverything(t *testing.T) {
	t.Parallel()
	_, env := newNode(t)
	dir := t.TempDir()
	cmd := exec.Command("coordd", "lock", "run", "demo", "--ttl", "60s", "--", "sh", "-c", leaves+`echo $$ >> pids; while :; do sleep 0.02; done`)
	cmd.Env, cmd.Dir = env, dir
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &lockedRun{t: t, dir: dir}
	pids := r.waitPIDs(4)
	if s := lockState(t, env, "demo"); s != "HELD" {
		t.Errorf("the lock is %s while the command runs", s)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("code %d, want 130:\n%s", code, errOut.String())
	}
	r.allEnded(pids)
	if s := lockState(t, env, "demo"); s != "FREE" {
		t.Errorf("the lock is %s afterwards", s)
	}
}

func TestKillingLockRunEndsTheCommandAndTheLockAfterItsTTL(t *testing.T) {
	t.Parallel()
	_, env := newNode(t)
	dir := t.TempDir()
	cmd := exec.Command("coordd", "lock", "run", "demo", "--ttl", "1s", "--", "sh", "-c", leaves+`echo $$ >> pids; while :; do sleep 0.02; done`)
	cmd.Env, cmd.Dir = env, dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &lockedRun{t: t, dir: dir}
	pids := r.waitPIDs(4)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for _, pid := range pids {
		eventually(t, "the command's processes end", func() bool { return !alive(pid) })
	}
	out, errOut, code := coordd(t, env, "lock", "run", "demo", "--wait", "2m", "--", "sh", "-c", "echo mine")
	if code != 0 || out != "mine\n" {
		t.Errorf("code %d: %s%s", code, out, errOut)
	}
}

func TestLockRunOutlivesSilenceAndEndsInTime(t *testing.T) {
	t.Parallel()
	n, env := newNode(t)
	dir := t.TempDir()
	cmd := exec.Command("coordd", "lock", "run", "demo", "--ttl", "8s", "--grace", "1s", "--timeout", "5s", "--", "sh", "-c", stubborn)
	cmd.Env, cmd.Dir = env, dir
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &lockedRun{t: t, dir: dir}
	pids := r.waitPIDs(1)
	if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	silent := time.Now()
	_ = cmd.Wait() // the code is looked at
	took := time.Since(silent)
	if err := n.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != exitLost {
		t.Errorf("code %d, want 4:\n%s", code, errOut.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "term")); err != nil {
		t.Errorf("the command never got TERM:\n%s", errOut.String())
	}
	r.allEnded(pids)
	// The release can't be confirmed while the node is stopped, which takes --timeout more.
	if took < time.Second || took > waitLimit {
		t.Errorf("it ended %v after the silence began", took)
	}
}

func TestAWaiterThatIsInterruptedHoldsNothing(t *testing.T) {
	t.Parallel()
	_, env := newNode(t)
	dir := t.TempDir()
	holder := exec.Command("coordd", "lock", "run", "demo", "--", "sh", "-c", `echo $$ > pids; exec sleep 1000`)
	holder.Env, holder.Dir = env, dir
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	r := &lockedRun{t: t, dir: dir}
	r.waitPIDs(1)
	waiter := exec.Command("coordd", "lock", "run", "demo", "--wait", "forever", "--", "sh", "-c", "echo never")
	waiter.Env = env
	var out bytes.Buffer
	waiter.Stdout = &out
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the waiter is in the queue", func() bool {
		out, _, _ := coordd(t, env, "lock", "ls")
		return strings.Contains(strings.Join(strings.Fields(out), " "), "s 1 EXCLUSIVE")
	})
	if err := waiter.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = waiter.Wait() // the code is looked at
	if code := waiter.ProcessState.ExitCode(); code != 143 || out.Len() > 0 {
		t.Errorf("code %d, want 143; stdout %q", code, out.String())
	}
	if err := holder.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait() // by a signal
	if s := lockState(t, env, "demo"); s != "FREE" {
		t.Errorf("the lock is %s afterwards", s)
	}
}

func TestSomebodyElsesNATSIsCalledThat(t *testing.T) {
	t.Parallel()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(waitLimit) {
		t.Fatal("the NATS server is not ready")
	}
	env := append(os.Environ(), "COORDD_NATS_URL="+s.ClientURL(), "COORDD_TIMEOUT=500ms")
	for _, args := range [][]string{{"lock", "get", "x"}, {"lock", "run", "x", "--", "true"}, {"id", "next"}, {"status"}, {"seq", "create", "s"}, {"bench", "--clients", "1"}} {
		out, errOut, code := coordd(t, env, args...)
		if code != exitUnreachable || out != "" || !strings.Contains(errOut, "no coordd is behind it") {
			t.Errorf("%v: code %d, stdout %q: %s", args, code, out, errOut)
		}
	}
}

func TestReleaseOfASessionThatSomebodyElseUses(t *testing.T) {
	t.Parallel()
	n, env := newNode(t)
	nc, err := nats.Connect(n.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ask := func(subject, body string) map[string]any {
		t.Helper()
		var msg *nats.Msg
		eventually(t, "an answer to "+subject, func() bool { // a node is ready a moment before it takes commands
			var err error
			if msg, err = nc.Request(subject, []byte(body), waitLimit); err != nil && !errors.Is(err, nats.ErrNoResponders) {
				t.Fatal(err)
			}
			return err == nil
		})
		var doc map[string]any
		if err := json.Unmarshal(msg.Data, &doc); err != nil {
			t.Fatal(err)
		}
		if doc["error"] != nil {
			t.Fatalf("%s: %s", subject, msg.Data)
		}
		return doc
	}
	open := ask("coord.v1.default.session.open", `{"ttl":"60s","owner":"me"}`)
	session, secret := open["session"].(string), open["secret"].(string)
	if _, err := base64.StdEncoding.DecodeString(secret); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// seq is where the session's own count stands, with everything before acknowledged.
	for _, seq := range []string{"1", "700", "1500"} {
		got := ask("coord.v1.default.lock.acquire.demo", `{"session":"`+session+`","secret":"`+secret+`","seq":"`+seq+`"}`)
		fence := got["fence"].(string)
		_, errOut, code := coordd(t, env, "lock", "release", "demo", "--session", session, "--secret-file", file, "--fence", "999999")
		if code != exitError || !strings.Contains(errOut, "NOT_HELD") {
			t.Errorf("a wrong fence: code %d: %s", code, errOut)
		}
		out, errOut, code := coordd(t, env, "lock", "release", "demo", "--session", session, "--secret-file", file, "--fence", fence, "-o", "json")
		if code != 0 || !strings.Contains(out, `"state":"RELEASED"`) {
			t.Errorf("seq %s: code %d: %s%s", seq, code, out, errOut)
		}
	}
	// The session's own next request still works.
	ask("coord.v1.default.lock.acquire.demo", `{"session":"`+session+`","secret":"`+secret+`","seq":"1501"}`)
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString([]byte("a wrong secret..")))[:24], 0o600); err != nil {
		t.Fatal(err)
	}
	_, errOut, code := coordd(t, env, "lock", "release", "demo", "--session", session, "--secret-file", file, "--fence", "1")
	if code != exitDenied {
		t.Errorf("a wrong secret: code %d: %s", code, errOut)
	}
}
