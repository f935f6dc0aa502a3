package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport/inmem"
	"github.com/coordd/coordd/pkg/transport/tcp"
)

const usage = `usage: replicatedmap tcp PORT [FOLDER]    one member on this port
       replicatedmap mem [FOLDER]         all members in this process
`

// httpOffset lies between a member's port and that of its HTTP server.
const httpOffset = 1000

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "replicatedmap:", err)
		os.Exit(1)
	}
}

// line is a command line.
type line struct {
	inMemory bool
	port     int
	folder   string
	members  []int
	join     []int
	http     int
	verbose  bool
}

func parse(args []string) (l line, err error) {
	flags := pflag.NewFlagSet("replicatedmap", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntSliceVar(&l.members, "members", []int{3262, 3263, 3264}, "ports of the static members of a first start")
	flags.IntSliceVar(&l.join, "join", nil, "ports of members of a running cluster to join")
	flags.IntVar(&l.http, "http", 0, "port of the HTTP server (default PORT + 1000)")
	flags.BoolVarP(&l.verbose, "verbose", "v", false, "print the node's log to stderr")
	wrong := func(err error) (line, error) { return l, fmt.Errorf("%w\n\n%s\n%s", err, usage, flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		return wrong(err)
	}
	args = flags.Args()
	switch {
	case len(args) > 0 && len(args) <= 2 && (args[0] == "mem" || args[0] == "inmem"):
		l.inMemory = true
		l.folder = strings.Join(args[1:], "")
		if len(l.join) > 0 || l.http != 0 {
			return wrong(errors.New("--join and --http are for tcp"))
		}
	case len(args) >= 2 && len(args) <= 3 && args[0] == "tcp":
		if l.port, err = strconv.Atoi(args[1]); err != nil || l.port < 1 || l.port > 65535 {
			return wrong(fmt.Errorf("%q is no port", args[1]))
		}
		l.folder = strings.Join(args[2:], "")
		if len(l.join) == 0 && !slices.Contains(l.members, l.port) {
			return wrong(fmt.Errorf("port %d is not of the static members %v; a further member joins with --join PORT", l.port, l.members))
		}
	default:
		return wrong(errors.New("what is to be started?"))
	}
	return l, nil
}

// run runs members until ctx ends or one of them fails.
func run(ctx context.Context, args []string, out io.Writer) error {
	l, err := parse(args)
	if err != nil {
		return err
	}
	var logger hclog.Logger
	if l.verbose {
		logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: os.Stderr})
	}
	all := []settings{l.overTCP()}
	if l.inMemory {
		all = l.inOneProcess()
	}
	shared := &terminal{to: out}
	var running []*member
	for _, s := range all {
		s.out, s.logger = shared, logger
		m, err := l.open(s)
		if err != nil {
			return errors.Join(err, stopAll(running))
		}
		running = append(running, m)
	}
	failed := make(chan error, len(running))
	for _, m := range running {
		go func() {
			<-m.node.Done()
			failed <- m.node.Err()
		}()
	}
	select {
	case <-ctx.Done():
		return stopAll(running)
	case err := <-failed: // a node never goes on half-alive
		return errors.Join(err, stopAll(running))
	}
}

func stopAll(running []*member) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, m := range running {
		err = errors.Join(err, m.stop(ctx))
	}
	return err
}

// open binds the HTTP port of a member, then starts it.
func (l *line) open(s settings) (*member, error) {
	port := l.http
	if port == 0 {
		port = int(s.id) + httpOffset
	}
	var err error
	if s.web, err = net.Listen("tcp", loopback(port)); err != nil {
		return nil, err
	}
	if s.transport == nil {
		if s.transport, err = tcp.New(tcp.Config{Listen: s.address, Logger: s.logger}); err != nil {
			return nil, errors.Join(err, s.web.Close())
		}
	}
	m, err := start(s)
	if err != nil {
		return nil, errors.Join(err, s.web.Close())
	}
	return m, nil
}

// overTCP is the one member of this process. It is in the static list, or joins.
func (l *line) overTCP() settings {
	s := settings{id: raft.MemberID(l.port), address: loopback(l.port), folder: l.folder}
	for _, p := range l.join {
		s.join = append(s.join, loopback(p))
	}
	if len(s.join) == 0 {
		s.members = static(l.members)
	}
	return s
}

// inOneProcess is all members of the static list, on a network of this process.
func (l *line) inOneProcess() (all []settings) {
	network := inmem.NewNetwork()
	for _, m := range static(l.members) {
		s := settings{id: m.ID, members: static(l.members), address: m.Address,
			transport: network.New(inmem.Config{Address: m.Address})}
		if l.folder != "" {
			s.folder = filepath.Join(l.folder, m.Name)
		}
		all = append(all, s)
	}
	return all
}

// static makes members of ports: a port is a member's ID, its name, and its address.
func static(ports []int) (members []raft.Member) {
	for _, p := range ports {
		id := raft.MemberID(p)
		members = append(members, raft.Member{ID: id, Name: nameOf(id), Address: loopback(p)})
	}
	return members
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
