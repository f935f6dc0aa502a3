package daemon

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// staticConfigs are the settings of a static start of n members.
func staticConfigs(t *testing.T, n int) (cfgs []Config) {
	t.Helper()
	var peers []string
	for i := range n {
		peers = append(peers, fmt.Sprintf("n%d=%s", i+1, freeAddr(t)))
	}
	for i := range n {
		cfg := testConfig(t, fmt.Sprintf("n%d", i+1))
		cfg.PeerListen = ""
		// Long ones: a busy test machine must not look like a dead leader.
		cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 500*time.Millisecond, time.Second
		var err error
		if cfg.Peers, err = ParsePeers(peers); err != nil {
			t.Fatal(err)
		}
		cfgs = append(cfgs, cfg)
	}
	return cfgs
}

func runAll(t *testing.T, cfgs []Config) (nodes []*running) {
	t.Helper()
	for _, cfg := range cfgs {
		nodes = append(nodes, run(t, cfg))
	}
	for _, r := range nodes {
		r.waitReady()
	}
	return nodes
}

// leaderOf waits until one of the nodes serves clients.
func leaderOf(nodes []*running) (leader *running) {
	nodes[0].eventually("a leader that serves", func() bool {
		i := slices.IndexFunc(nodes, func(r *running) bool { svc := r.d.service.Load(); return svc != nil && svc.Serving() })
		if i >= 0 {
			leader = nodes[i]
		}
		return i >= 0
	})
	return leader
}

// admin asks the leader, through any node, and returns the answer.
func admin(r *running, verb, body string) (answer map[string]any) {
	r.t.Helper()
	nc, err := nats.Connect("nats://" + r.d.cfg.NATSListen)
	if err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	r.eventually("an answer to "+verb, func() bool {
		msg, err := nc.Request("coord.admin.v1."+verb, []byte(body), askLimit)
		return err == nil && json.Unmarshal(msg.Data, &answer) == nil
	})
	return answer
}

// rows lists the members as name, role and address.
func rows(r *running) (out []string) {
	r.t.Helper()
	list, _ := admin(r, "member.list", "{}")["members"].([]any)
	for _, m := range list {
		m := m.(map[string]any)
		out = append(out, fmt.Sprint(m["name"], " ", m["role"], " ", m["address"]))
	}
	return out
}

func (r *running) halt() {
	r.t.Helper()
	r.cancel()
	if err := r.end(); err != nil {
		r.t.Error(err)
	}
}

// A leader whose NATS server lost its routes, while Raft's connections are up, asks the others over those, and hands
// over to one that NATS reaches.
func TestALeaderThatLostNATSAloneHandsOver(t *testing.T) {
	t.Parallel()
	nodes := runAll(t, staticConfigs(t, 3))
	old := leaderOf(nodes)
	rest := without(nodes, old)
	cut := time.Now()
	if err := old.d.nats.SetRoutes(nil); err != nil {
		t.Fatal(err)
	}
	for i, r := range rest {
		if err := r.d.nats.SetRoutes([]string{rest[1-i].d.nats.RouteAddr()}); err != nil {
			t.Fatal(err)
		}
	}
	next := leaderOf(rest)
	t.Logf("%s serves %v after %s was cut from NATS", next.d.cfg.Name, time.Since(cut).Round(10*time.Millisecond), old.d.cfg.Name)
	if old.d.node.Status().Leading {
		t.Error("both lead")
	}
	ask(t, next, "coord.v1.default.session.open", `{"ttl":"5s"}`)
}

// Members that were started with different lists refuse each other, say why, and elect nobody.
func TestAStaticStartWithDifferentListsServesNobody(t *testing.T) {
	t.Parallel()
	cfgs := staticConfigs(t, 2)
	cfgs[1].Peers = append(slices.Clone(cfgs[1].Peers), Peer{Name: "n3", Address: freeAddr(t)})
	for _, cfg := range cfgs {
		r := run(t, cfg)
		defer func() {
			r.eventually("the reason on "+cfg.Name, func() bool {
				code, body := r.get("/readyz")
				return code == 503 && strings.Contains(body, "[-]member failed: refused by ") && strings.Contains(body, "different cluster names or lists of members")
			})
			if st := r.d.node.Status(); st.Leader != 0 {
				t.Errorf("%s follows %s", cfg.Name, st.Leader)
			}
		}()
	}
}

// A member whose volume was wiped is refused with its old flags, until an operator gives the old directory up; the
// others serve all the time.
func TestAWipedVolumeIsRefusedUntilItIsReplaced(t *testing.T) {
	t.Parallel()
	cfgs := staticConfigs(t, 3)
	nodes := runAll(t, cfgs)
	leader := leaderOf(nodes)
	lost := without(nodes, leader)[0]
	cfg := cfgs[slices.Index(nodes, lost)]
	lost.halt()
	if err := os.RemoveAll(cfg.DataDir); err != nil {
		t.Fatal(err)
	}
	again := run(t, cfg)
	again.eventually("what to do", func() bool {
		code, body := again.get("/readyz")
		return code == 503 && strings.Contains(body, "[-]member failed") && strings.Contains(body, "coordd member replace")
	})
	if st := again.d.node.Status(); st.Last != 0 || st.Role.String() != "follower" {
		t.Errorf("the refused node has %d entries and is %s", st.Last, st.Role)
	}
	ask(t, leader, "coord.v1.default.session.open", `{"ttl":"5s"}`)
	o := admin(leader, "member.replace", fmt.Sprintf(`{"name":%q,"wait":"20s"}`, cfg.Name))
	if m, _ := o["member"].(map[string]any); m["role"] != "voter" {
		t.Fatalf("replaced: %v", o)
	}
	again.waitReady()
}

// A member that is given another address tells the others of it at its start.
func TestAMemberMoves(t *testing.T) {
	t.Parallel()
	cfgs := staticConfigs(t, 3)
	nodes := runAll(t, cfgs)
	leader := leaderOf(nodes)
	moved := without(nodes, leader)[0]
	i := slices.Index(nodes, moved)
	moved.halt()
	cfg := cfgs[i]
	cfg.Peers, cfg.PeerListen = nil, freeAddr(t) // what is stored counts, not how it began
	cfg.Metadata = map[string]string{"rack": "7"}
	again := run(t, cfg)
	again.waitReady()
	want := cfg.Name + " voter " + cfg.PeerListen
	leader.eventually("the new address", func() bool { return slices.Contains(rows(leader), want) })
	for _, m := range leader.d.node.Status().Active.Members {
		if m.Name == cfg.Name && m.Metadata["rack"] != "7" {
			t.Errorf("metadata %v", m.Metadata)
		}
	}
	if err := again.d.Tune(Tunables{LogLevel: "debug", PhiThreshold: 16, Metadata: map[string]string{"rack": "8"}}); err != nil {
		t.Fatal(err)
	}
	leader.eventually("the new metadata", func() bool {
		m, ok := leader.d.node.Status().Active.Member(again.d.node.Status().ID)
		return ok && m.Metadata["rack"] == "8"
	})
}

func TestAMemberLeavesWhenItStops(t *testing.T) {
	t.Parallel()
	cfgs := staticConfigs(t, 3)
	for i := range cfgs {
		cfgs[i].LeaveOnStop = true
	}
	nodes := runAll(t, cfgs)
	// The leader leaves, then one of two; the last one can't.
	for n := 3; n > 1; n-- {
		leader := leaderOf(nodes)
		leader.halt()
		nodes = without(nodes, leader)
		next := leaderOf(nodes)
		next.eventually("one member less", func() bool { return len(rows(next)) == n-1 })
	}
	last := nodes[0]
	last.halt()
	again := run(t, last.d.cfg)
	again.waitReady()
	if got := rows(again); len(got) != 1 {
		t.Errorf("members %v", got)
	}
}

// Who belongs to another cluster is not taken in, and a directory that has members of its own asks nobody.
func TestAJoinOfTheWrongCluster(t *testing.T) {
	t.Parallel()
	mine := testConfig(t, "n1")
	mine.PeerListen = freeAddr(t)
	host := run(t, mine)
	host.waitReady()
	guest := testConfig(t, "n2")
	guest.PeerListen, guest.Cluster, guest.Join = freeAddr(t), "other", []string{mine.PeerListen}
	other := run(t, guest)
	other.eventually("the refusal", func() bool {
		code, body := other.get("/readyz")
		return code == 503 && strings.Contains(body, "[-]member failed: not a member yet: announced to "+mine.PeerListen) && strings.Contains(body, "different cluster names")
	})
	if got := rows(host); len(got) != 1 {
		t.Errorf("members %v", got)
	}

	alone := testConfig(t, "n3")
	alone.PeerListen = freeAddr(t)
	third := run(t, alone)
	third.waitReady()
	id := third.d.node.Status().ClusterID
	third.halt()
	alone.Join = []string{mine.PeerListen}
	third = run(t, alone)
	third.waitReady()
	if third.d.node.Status().ClusterID != id || len(third.d.cfg.NATSRoutes) > 0 || len(rows(host)) != 1 {
		t.Errorf("a member of another cluster was taken in: %v, routes %v", rows(host), third.d.cfg.NATSRoutes)
	}
	if !strings.Contains(third.log.String(), "--join is not used") {
		t.Error("nothing says that --join is not used")
	}
}

// A backup that takes many answers is whole, while the state changes under it and the leadership moves between two of
// its parts: then it begins anew.
func TestABackupOfManyPartsIsWhole(t *testing.T) {
	t.Parallel()
	nodes := runAll(t, staticConfigs(t, 3))
	leader := leaderOf(nodes)
	nc, err := nats.Connect("nats://" + leader.d.cfg.NATSListen)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	const sessions = 300
	padding := strings.Repeat("x", 4000)
	open := func() {
		t.Helper()
		for end := time.Now().Add(waitLimit); ; time.Sleep(10 * time.Millisecond) {
			msg, err := nc.Request("coord.v1.default.session.open", []byte(`{"ttl":"3600s","metadata":{"padding":"`+padding+`"}}`), askLimit)
			if err == nil && msg.Header.Get("Nats-Service-Error") == "" {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("a session is not opened: %v %v", err, msg)
			}
		}
	}
	for range sessions {
		open()
	}
	path := filepath.Join(t.TempDir(), "backup.snap")
	var file []byte
	anew := 0
	for size, parts, moved := -1, 0, false; size < 0 || len(file) < size; {
		o := admin(leader, "snapshot.save", fmt.Sprintf(`{"snapshot":"mine","offset":%d}`, len(file)))
		if e, _ := o["error"].(map[string]any); e != nil {
			if e["code"] != "NOT_FOUND" || !moved || len(file) == 0 {
				t.Fatalf("at %d: %v", len(file), e)
			}
			file, size, anew = nil, -1, anew+1
			continue
		}
		data, err := base64.StdEncoding.DecodeString(o["data"].(string))
		if err != nil {
			t.Fatal(err)
		}
		size, _ = strconv.Atoi(o["size"].(string))
		file = append(file, data...)
		open()
		if parts++; parts == 2 {
			now := leaderOf(nodes)
			next := without(nodes, now)[0]
			admin(next, "leader.transfer", fmt.Sprintf(`{"to":%q}`, next.d.cfg.Name))
			leaderOf([]*running{next})
			moved = true
		}
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := InspectSnapshot(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Sessions < sessions+2 || len(file) < sessions*4000 || anew == 0 {
		t.Errorf("%d bytes with %d sessions, begun anew %d times", len(file), s.Sessions, anew)
	}
	// Whoever led has a snapshot of their own now, and show it.
	_, metrics := leader.get("/metrics")
	for _, want := range []string{`coordd_snapshot_save_duration_seconds_count [1-9]`, `coordd_snapshot_size_bytes [1-9]`, `coordd_log_entries [1-9]`} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(metrics) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	st := status(t, "nats://"+leader.d.cfg.NATSListen, leader.d.cfg.Name)
	if st.GetSnapshotIndex() == 0 || st.GetSnapshotBytes() < sessions*4000 || st.GetLogEntries() == 0 || st.GetSnapshotAge() == nil {
		t.Errorf("status: snapshot %d, %d bytes, age %v, %d entries", st.GetSnapshotIndex(), st.GetSnapshotBytes(), st.GetSnapshotAge(), st.GetLogEntries())
	}
}
