//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// maxPause is what service may be away for, whatever is done to the membership.
const maxPause = 2 * time.Second

// change is one thing that was done to the membership while clients worked.
type change struct {
	what     string
	from, to time.Time
}

// mover changes the membership of a cluster under load.
type mover struct {
	t       *testing.T
	c       *cluster
	lives   map[string]int // data directories that a name has had
	changes []change
}

// TestEndToEndMembership grows a cluster from one node to three and to five, replaces each member, shrinks it to
// three, hands leadership over twenty times, restarts each node, and removes the leader, all while clients work.
// No operation may fail, service may never be away for more than two seconds, and the whole history must be
// linearizable.
func TestEndToEndMembership(t *testing.T) {
	dir := t.TempDir()
	var dirs []string
	for i := range 5 {
		dirs = append(dirs, filepath.Join(dir, fmt.Sprintf("n%d-1", i+1)))
	}
	c := newCluster(t, buildBinary(t), dirs)
	all := c.nodes
	m := &mover{t: t, c: c, lives: map[string]int{}}
	peers := freePorts(t, len(all))
	for i, nd := range all {
		// The routes of the embedded NATS servers are left to the defaults, which follow the members.
		for _, flag := range []string{"--peers", "--nats-routes", "--nats-cluster-listen"} {
			nd.args = withoutFlag(nd.args, flag)
		}
		nd.args[slices.Index(nd.args, "--peer-listen")+1] = fmt.Sprintf("127.0.0.1:%d", peers[i])
		m.lives[nd.name] = 1
	}
	urls := c.urls()
	t.Cleanup(func() {
		for _, nd := range all {
			nd.kill()
		}
	})
	c.nodes = all[:1]
	c.startAll()

	w := newWorkload(t, urls, locks)
	anchor := holdAnchor(t, w)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx, clients)
	}()
	pause(ctx, time.Second)

	for _, nd := range all[1:] {
		m.do("join of "+nd.name, func() { m.join(nd) })
	}
	m.expectVoters("n1", "n2", "n3", "n4", "n5")
	for _, nd := range all {
		m.do("replacement of "+nd.name, func() { m.replace(nd) })
	}
	m.expectVoters("n1", "n2", "n3", "n4", "n5")
	for _, nd := range []*node{all[4], all[3]} {
		m.do("removal of "+nd.name, func() { m.remove(nd) })
	}
	m.expectVoters("n1", "n2", "n3")
	for i := range 20 {
		m.do("transfer", func() { m.transfer(c.nodes[i%3].name) })
	}
	for _, nd := range slices.Clone(c.nodes) {
		m.do("restart of "+nd.name, func() { m.restart(nd) })
	}
	leader := m.leader()
	m.do("removal of the leader", func() { m.remove(leader) })
	m.do("return of the removed leader", func() { m.comeBack(leader) })
	m.expectVoters("n1", "n2", "n3")

	pause(ctx, time.Second)
	cancel()
	<-done
	anchor(t)
	w.report()
	m.report(w)
	w.hist.check(t, 5*time.Minute)
	checkNothingLost(t, c, w)
	if len(w.errs) > 0 {
		t.Errorf("operations failed: %v", w.errs)
	}
}

// do carries out one change and leaves the clients a moment to work after it.
func (m *mover) do(what string, f func()) {
	m.t.Helper()
	ch := change{what: what, from: time.Now()}
	f()
	ch.to = time.Now()
	m.changes = append(m.changes, ch)
	m.t.Logf("%s took %v", what, ch.to.Sub(ch.from).Round(time.Millisecond))
	pause(m.t.Context(), 300*time.Millisecond)
}

// coordd runs a command of the operator's and returns its standard output.
func (m *mover) coordd(args ...string) []byte {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	var urls []string
	for _, nd := range m.c.nodes {
		urls = append(urls, nd.natsURL)
	}
	cmd := exec.CommandContext(ctx, m.c.bin, append(args, "--nats-url", strings.Join(urls, ","), "--timeout", "30s")...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		m.c.dumpLogs()
		m.t.Fatalf("coordd %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out.Bytes()
}

// roles asks for the members and what each is.
func (m *mover) roles() map[string]string {
	m.t.Helper()
	var ls struct {
		Members []struct{ Name, Role string }
	}
	if err := json.Unmarshal(m.coordd("member", "ls", "-o", "json"), &ls); err != nil {
		m.t.Fatal(err)
	}
	roles := map[string]string{}
	for _, member := range ls.Members {
		roles[member.Name] = member.Role
	}
	return roles
}

func (m *mover) expectVoters(names ...string) {
	m.t.Helper()
	roles := m.roles()
	for _, name := range names {
		if roles[name] != "voter" {
			m.t.Errorf("%s is %q, want a voter", name, roles[name])
		}
	}
	if len(roles) != len(names) {
		m.t.Errorf("members %v, want %v", roles, names)
	}
}

// waitVoter waits until a member is a voter and its node is ready.
func (m *mover) waitVoter(nd *node) {
	m.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for m.roles()[nd.name] != "voter" {
		if time.Now().After(deadline) {
			m.c.dumpLogs()
			m.t.Fatalf("%s did not become a voter: %v", nd.name, m.roles())
		}
		pause(m.t.Context(), 50*time.Millisecond)
	}
	m.c.waitReady(time.Minute, nd)
}

// joining makes a node announce itself to the present members.
func (m *mover) joining(nd *node) {
	var peers []string
	for _, other := range m.c.nodes {
		if other != nd {
			peers = append(peers, other.flag("--peer-listen"))
		}
	}
	if i := slices.Index(nd.args, "--join"); i >= 0 {
		nd.args = slices.Delete(nd.args, i, i+2)
	}
	nd.args = append(nd.args, "--join", strings.Join(peers, ","))
}

// join starts a new node, which announces itself.
func (m *mover) join(nd *node) {
	m.t.Helper()
	m.joining(nd)
	if err := nd.start(m.c.bin); err != nil {
		m.t.Fatal(err)
	}
	m.c.nodes = append(slices.Clone(m.c.nodes), nd)
	m.waitVoter(nd)
}

// anew gives a node an empty data directory.
func (m *mover) anew(nd *node) {
	m.lives[nd.name]++
	old := nd.dataDir
	nd.dataDir = filepath.Join(filepath.Dir(old), fmt.Sprintf("%s-%d", nd.name, m.lives[nd.name]))
	nd.args[slices.Index(nd.args, "--data-dir")+1] = nd.dataDir
	if err := os.RemoveAll(old); err != nil {
		m.t.Error(err)
	}
}

// replace stops a node, gives its data up, and has a new directory take its place.
func (m *mover) replace(nd *node) {
	m.t.Helper()
	nd.terminate(m.t)
	m.anew(nd)
	m.joining(nd)
	if err := nd.start(m.c.bin); err != nil {
		m.t.Fatal(err)
	}
	m.coordd("member", "replace", nd.name)
	m.waitVoter(nd)
}

func (m *mover) remove(nd *node) {
	m.t.Helper()
	m.coordd("member", "remove", nd.name)
	m.c.nodes = slices.DeleteFunc(slices.Clone(m.c.nodes), func(o *node) bool { return o == nd })
	nd.terminate(m.t)
}

// comeBack lets a removed node join as a new member.
func (m *mover) comeBack(nd *node) {
	m.t.Helper()
	m.anew(nd)
	m.join(nd)
	slices.SortFunc(m.c.nodes, func(a, b *node) int { return strings.Compare(a.name, b.name) })
}

func (m *mover) transfer(to string) {
	m.t.Helper()
	m.coordd("leader", "transfer", to)
}

func (m *mover) restart(nd *node) {
	m.t.Helper()
	nd.terminate(m.t)
	if err := nd.start(m.c.bin); err != nil {
		m.t.Fatal(err)
	}
	m.c.waitReady(30*time.Second, nd)
}

func (m *mover) leader() *node {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
	defer cancel()
	for {
		if l := m.c.leader(ctx); l != nil {
			return l
		}
		if ctx.Err() != nil {
			m.t.Fatal("nobody leads")
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// report prints the longest pause of service in each kind of change, and fails where one was too long.
func (m *mover) report(w *workload) {
	m.t.Helper()
	var ends []time.Time
	for _, s := range w.successes {
		ends = append(ends, s.ret)
	}
	slices.SortFunc(ends, time.Time.Compare)
	pauses := map[string][]time.Duration{}
	var kinds []string
	for _, ch := range m.changes {
		kind := strings.TrimSuffix(strings.Split(ch.what, " of n")[0], " ")
		if pauses[kind] == nil {
			kinds = append(kinds, kind)
		}
		pauses[kind] = append(pauses[kind], longestGap(ends, ch.from, ch.to.Add(250*time.Millisecond)))
	}
	for _, kind := range kinds {
		m.t.Logf("longest pause of service, %s: %s", kind, distribution(pauses[kind]))
	}
	whole := longestGap(ends, m.changes[0].from, m.changes[len(m.changes)-1].to)
	m.t.Logf("longest pause of service in the whole run: %v", whole.Round(time.Millisecond))
	if whole > maxPause {
		m.t.Errorf("service was away for %v, at most %v is allowed", whole, maxPause)
	}
}
