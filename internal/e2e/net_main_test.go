//go:build net

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/coordd/coordd/internal/canary"
)

// What the outer process tells the inner one, and the helpers.
const (
	envBinary = "COORDD_NET_BINARY" // the daemon's binary; set: this is the inner process
	envNATS   = "COORDD_NET_NATS"   // set: this process is a NATS server and nothing else
)

// TestMain runs the tests in a second process, which has a network and a list of mounts of its own: whatever it makes there,
// named namespaces included, is gone when its last process is, in whatever way it ends; nothing of it is seen outside, and
// two runs do not see each other.
func TestMain(m *testing.M) {
	var code int
	var err error
	switch {
	case os.Getenv(envNATS) != "":
		err = serveNATS(os.Getenv(envNATS))
	case os.Getenv(envBinary) == "":
		code, err = goInside()
	default:
		if err = enter(); err == nil {
			code = m.Run()
			total.print(code == 0)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test-net:", err)
		code = 1
	}
	os.Exit(code)
}

// needs says what this machine lacks for the run, nil if nothing.
func needs() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for tool, pkg := range map[string]string{"ip": "iproute2", "tc": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing (Debian: apt-get install %s)", tool, pkg)
		}
	}
	return nil
}

// goInside builds the daemon, which may need the network, and runs this very program again inside. It cleans up also when it is
// interrupted; the inner process and the nodes die with their parents.
func goInside() (int, error) {
	if err := needs(); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "coordd-net-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "coordd")
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "github.com/coordd/coordd/cmd/coordd")
	if os.Getenv(canary.Variable) != "" {
		build.Args = append(build.Args[:2], append([]string{"-tags", "canary"}, build.Args[2:]...)...) // a run that has to fail
	}
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build: %w\n%s", err, out)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	runtime.LockOSThread() // the inner process dies with the thread that started it
	inner := exec.Command("/proc/self/exe", os.Args[1:]...)
	inner.Env = append(os.Environ(), envBinary+"="+bin, "TMPDIR="+dir)
	inner.Stdin, inner.Stdout, inner.Stderr = os.Stdin, os.Stdout, os.Stderr
	inner.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := inner.Start(); err != nil {
		return 1, fmt.Errorf("a network namespace: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- inner.Wait() }()
	select {
	case err = <-ended:
	case s := <-interrupted:
		_ = inner.Process.Kill() // it may have been interrupted as well
		<-ended
		return 1, fmt.Errorf("ended by %s; everything is removed", s)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// enter makes the inner process's own place for named namespaces, and shows that the kernel can do what the run needs.
func enter() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("a place for namespaces of the run's own: %w", err)
	}
	for _, c := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"nft", "add table ip probe; add chain ip probe c { type filter hook forward priority 0; }; " +
			"add rule ip probe c numgen random mod 10 < 3 drop; add rule ip probe c meta l4proto tcp reject with tcp reset; delete table ip probe"},
		{"ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"},
		{"tc", "qdisc", "add", "dev", "probe0", "root", "tbf", "rate", "1mbit", "burst", "16k", "latency", "100ms"},
		{"ip", "link", "del", "probe0"},
	} {
		if err := command(c[0], c[1:]...); err != nil {
			return fmt.Errorf("this kernel can't do what the run needs: %w", err)
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// command runs a tool and returns what it complains about.
func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", name, args, err, out)
	}
	return nil
}
