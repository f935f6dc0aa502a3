package badgerlog

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// childDir makes the test's binary append to a directory until it is killed.
const childDir = "COORDD_BADGERLOG_TEST_CHILD"

// child appends and prints the last index that was acknowledged, or the error of Open.
func child(dir string) int {
	l, err := Open(childOptions(dir))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	last := l.State().Last
	for {
		fmt.Println(last)
		es := storagetest.Entries(last+1, last+1+last%7, 3, 200)
		if err := l.Append(storage.Batch{HardState: hs(3, 1, last), TruncateAfter: last, Entries: es}); err != nil {
			fmt.Println(err)
			return 1
		}
		last += uint64(len(es))
	}
}

func childOptions(dir string) Options {
	return Options{Dir: dir, ClusterName: "test", Member: 1, MemberName: "a", MemTableBytes: minMemTableBytes, ReserveBytes: 1, BallastBytes: -1}
}

func startChild(t *testing.T, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

// TestKilled kills a process in the middle of its appends, again and again: all that it acknowledged is there.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	total := 0
	for round := range 5 {
		cmd, lines := startChild(t, dir)
		acked, reads := 0, 0
		for lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatalf("round %d: %s", round, lines.Text())
			}
			if n < total {
				t.Fatalf("round %d: the log ends at %d, %d was acknowledged", round, n, total)
			}
			acked = n
			if reads++; reads == 60+37*round {
				if err := cmd.Process.Kill(); err != nil { // what it prints until then still counts
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		total = acked
	}
	l := mustOpen(t, childOptions(dir))
	s := l.State()
	if s.Recovering != nil || s.Last < uint64(total) {
		t.Fatalf("state %+v, acknowledged %d", s, total)
	}
	wantPrefix(t, l, storagetest.Entries(1, s.Last, 3, 200), s.Last)
	t.Logf("%d entries through 5 kills", total)
}

// A second process on a directory gets an error that names the directory and the process that has it.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, lines := startChild(t, dir)
	if !lines.Scan() {
		t.Fatal("the child does not start")
	}
	err := wantRefused(t, childOptions(dir), ErrInUse)
	for _, part := range []string{dir, fmt.Sprintf("process ID %d", cmd.Process.Pid)} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v: it has to name %s", err, part)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	mustOpen(t, childOptions(dir)).Close()
}

func TestSecondOpenInOneProcess(t *testing.T) {
	t.Parallel()
	opt := testOptions(t, t.TempDir())
	l := mustOpen(t, opt)
	if err := wantRefused(t, opt, ErrInUse); !strings.Contains(err.Error(), fmt.Sprintf("process ID %d", os.Getpid())) {
		t.Errorf("%v: it has to name the process ID", err)
	}
	storagetest.Append(t, l, hs(1, 1, 0), storagetest.Entry(1, 1, 1)) // the first one is not harmed
	l.Close()
	mustOpen(t, opt).Close()
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Options){
		"no directory": func(o *Options) { o.Dir = "" },
		"no member":    func(o *Options) { o.Member = 0 },
		"no cluster":   func(o *Options) { o.ClusterName = "" },
		"long name":    func(o *Options) { o.MemberName = strings.Repeat("x", 256) },
		"tiny tables":  func(o *Options) { o.MemTableBytes = 1 },
		"a file":       func(o *Options) { o.Dir += "/file" },
	} {
		opt := testOptions(t, t.TempDir())
		if err := os.WriteFile(opt.Dir+"/file", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		spoil(&opt)
		if _, err := Open(opt); err == nil {
			t.Errorf("%s: no error", name)
		} else if errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
