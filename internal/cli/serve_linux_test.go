package cli

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSIGHUPReadsTheFileAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "coordd.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("log-level: warn\npeer-backlog: 4\n")
	n, err := startNode(dir, "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	defer n.kill()
	log := func() string {
		b, err := os.ReadFile(n.log)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if strings.Contains(log(), "[INFO]") {
		t.Errorf("the file's log level was not used:\n%s", log())
	}
	write("log-level: debug\n")
	hup := func() {
		t.Helper()
		if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hup()
	eventually(t, "the new level", func() bool { return strings.Contains(log(), "log level: node=n1 level=debug") })
	// Metadata is announced to the leader.
	write("log-level: debug\nmetadata:\n  zone: b\n  rack: 7\nphi-threshold: 8\n")
	hup()
	eventually(t, "the new metadata", func() bool {
		out, _, _ := coordd(t, append(os.Environ(), "COORDD_NATS_URL="+n.nats), "member", "ls", "-o", "json")
		return strings.Contains(out, `"metadata":{"rack":"7","zone":"b"}`)
	})
	// A file that is wrong changes nothing and is reported.
	write("log-levle: error\n")
	hup()
	eventually(t, "the report", func() bool {
		return strings.Contains(log(), "configuration was not read again") && strings.Contains(log(), "log-levle")
	})
	if code := n.stop(); code != 0 {
		t.Errorf("code %d", code)
	}
}

func TestANodeEndsWithItsParentsPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := startNodeWith(t.TempDir(), []*os.File{r}, "--parent-fd", "3")
	if err != nil {
		t.Fatal(err)
	}
	defer n.kill()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.done:
	case <-time.After(waitLimit):
		t.Fatal("the node lives on")
	}
	_, errOut, code := coordd(t, os.Environ(), "serve", "--parent-fd", "99")
	if code != exitUsage || !strings.Contains(errOut, "99 is not an open file") {
		t.Errorf("code %d: %s", code, errOut)
	}
}
