package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coordd/coordd/internal/ports"
)

// devNode is one node of a development cluster.
type devNode struct {
	Name     string `json:"name"`
	Peer     string `json:"peer"`  // where its peers reach it; kept, because the log remembers it
	Route    string `json:"route"` // of its NATS server
	NATSPort int    `json:"-"`
	HTTPPort int    `json:"-"`
}

func (n *devNode) natsURL() string { return "nats://127.0.0.1:" + strconv.Itoa(n.NATSPort) }
func (n *devNode) httpURL() string { return "http://127.0.0.1:" + strconv.Itoa(n.HTTPPort) }

// devPlan is where each node of a development cluster stands.
type devPlan struct {
	Cluster string     `json:"cluster"`
	Nodes   []*devNode `json:"nodes"`
	dir     string
}

const devCluster = "dev"

func (p *devPlan) dataDir(n *devNode) string { return filepath.Join(p.dir, n.Name) }
func (p *devPlan) logPath(n *devNode) string { return filepath.Join(p.dir, n.Name+".log") }

func (p *devPlan) natsURLs() string {
	var urls []string
	for _, n := range p.Nodes {
		urls = append(urls, n.natsURL())
	}
	return strings.Join(urls, ",")
}

// planDev finds ports for the nodes. A directory that held a cluster before keeps its peer addresses.
func planDev(o devOptions, dir string, out io.Writer) (*devPlan, error) {
	path := filepath.Join(dir, "layout.json")
	p := &devPlan{Cluster: devCluster, dir: dir}
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, p); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if len(p.Nodes) != o.nodes {
			return nil, usagef("%s holds a cluster of %d nodes: give --nodes %d, or another directory", dir, len(p.Nodes), len(p.Nodes))
		}
		for _, n := range p.Nodes {
			for _, addr := range []string{n.Peer, n.Route} {
				if !isFree(addr) {
					return nil, fmt.Errorf("%s, which %s in %s listened on before, is in use", addr, n.Name, dir)
				}
			}
		}
	case errors.Is(err, os.ErrNotExist):
		addrs, err := ports.Addresses(2 * o.nodes)
		if err != nil {
			return nil, err
		}
		for i := range o.nodes {
			p.Nodes = append(p.Nodes, &devNode{Name: fmt.Sprintf("n%d", i+1), Peer: addrs[2*i], Route: addrs[2*i+1]})
		}
		if b, err = json.Marshal(p); err != nil {
			return nil, err
		}
		if err := writeFileAtomically(path, b); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	nats, err := portBlock("nats-port", o.natsPort, o.nodes, o.natsAsked, out)
	if err != nil {
		return nil, err
	}
	http, err := portBlock("http-port", o.httpPort, o.nodes, o.httpAsked, out)
	if err != nil {
		return nil, err
	}
	for i, n := range p.Nodes {
		n.NATSPort, n.HTTPPort = nats+i, http+i
	}
	return p, nil
}

// portBlock returns the first of n ports in a row that are free: the one given, or, unless it was asked
// for, the next block.
func portBlock(flag string, first, n int, asked bool, out io.Writer) (int, error) {
	if first < 1 || first+n-1 > 65535 {
		return 0, usagef("--%s: ports %d to %d are not between 1 and 65535", flag, first, first+n-1)
	}
	taken := firstTaken(first, n)
	if taken == 0 {
		return first, nil
	}
	if asked {
		return 0, fmt.Errorf("--%s %d: port %d is in use", flag, first, taken)
	}
	for block := first + n; block+n-1 <= 65535; block += n {
		if firstTaken(block, n) == 0 {
			fmt.Fprintf(out, "port %d is in use: taking %d to %d for --%s\n", taken, block, block+n-1, flag)
			return block, nil
		}
	}
	return 0, fmt.Errorf("--%s: no %d free ports in a row from %d on", flag, n, first)
}

// firstTaken returns the first of n ports that is in use, 0 if none is.
func firstTaken(first, n int) int {
	for port := first; port < first+n; port++ {
		if !isFree(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) {
			return port
		}
	}
	return 0
}

func isFree(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// writeFileAtomically writes a file so that a reader sees it whole or not at all.
func writeFileAtomically(path string, b []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

const (
	devTempPattern = "coordd-dev-*"
	devLockName    = "dev.lock"
)

// lockDirectory keeps a second dev out of a directory. The lock ends with the process.
func lockDirectory(dir string) (*os.File, error) {
	path := filepath.Join(dir, devLockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		owner, _ := os.ReadFile(path) // only for the message
		_ = f.Close()
		return nil, fmt.Errorf("%s is in use by another coordd dev (process %s)", dir, orDash(strings.TrimSpace(string(owner))))
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sweepTemporary removes the temporary directories of runs that were killed.
func sweepTemporary() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), devTempPattern))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Lstat(filepath.Join(dir, devLockName))
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // not one of ours, or one that is just being made
		}
		f, err := os.OpenFile(filepath.Join(dir, devLockName), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(dir) // what stays is only space
		}
		_ = f.Close()
	}
}
