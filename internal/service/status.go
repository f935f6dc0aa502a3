package service

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

const (
	// staleQueue is the queue group of reads that any node answers.
	staleQueue = "coordd-stale"
	// inspectTimeout bounds what a status waits for a busy applier.
	inspectTimeout = 200 * time.Millisecond
	// contactLimit, in election timeouts, is the silence after which a peer is shown as not connected.
	contactLimit = 4
)

// listenEverywhere subscribes to what every node answers, leader or not.
func (s *Service) listenEverywhere() error {
	add := func(sub *nats.Subscription, err error) error {
		if err != nil {
			return fmt.Errorf("service: subscribe: %w", err)
		}
		s.subs = append(s.subs, sub)
		return nil
	}
	if err := add(s.nc.Subscribe(s.prober.inbox+".*", s.prober.receive)); err != nil {
		return err
	}
	if err := add(s.nc.Subscribe(probeSubject(s.cfg.Name), s.prober.answer)); err != nil {
		return err
	}
	for _, v := range []*verb{staleGet, staleList} {
		subject, h := clientPrefix+"*."+v.name, s.handleStale(v)
		if err := add(s.nc.QueueSubscribe(subject, staleQueue, h)); err != nil {
			return err
		}
		if !v.named {
			continue
		}
		if err := add(s.nc.QueueSubscribe(subject+".>", staleQueue, h)); err != nil {
			return err
		}
	}
	return s.announce()
}

func (s *Service) unlistenEverywhere() {
	if s.discover != nil {
		_ = s.discover.Stop() // fails on a closed connection only
	}
	for _, sub := range s.subs {
		_ = sub.Unsubscribe()
	}
	s.subs = nil
}

var semver = regexp.MustCompile(`^v?((0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)$`)

// announce makes the node a micro service named coordd, so that `nats micro ls` finds it, with role and term in
// its stats. Only what every node answers stands there: micro's endpoints can't come and go with the leadership.
func (s *Service) announce() error {
	version := "0.0.0"
	if m := semver.FindStringSubmatch(s.cfg.Version); m != nil {
		version = m[1]
	}
	svc, err := micro.AddService(s.nc, micro.Config{
		Name: "coordd", Version: version, Description: "coordd node " + s.cfg.Name,
		Metadata: map[string]string{"node": s.cfg.Name, "cluster": s.cfg.ClusterName},
		StatsHandler: func(*micro.Endpoint) any {
			st := s.node.Status()
			return struct {
				Role string `json:"role"`
				Term uint64 `json:"term"`
			}{st.Role.String(), st.Term}
		},
		ErrorHandler: func(_ micro.Service, e *micro.NATSError) {
			s.cfg.Logger.Warn("nats reports an error", "subject", e.Subject, "error", e.Description)
		},
	})
	if err != nil {
		return fmt.Errorf("service: micro: %w", err)
	}
	s.discover = svc
	for name, subject := range map[string]string{"node-status": statusSubject(s.cfg.Name), "cluster-status": clusterStatus} {
		err := svc.AddEndpoint(name, micro.HandlerFunc(s.handleStatus), micro.WithEndpointSubject(subject), micro.WithEndpointQueueGroupDisabled())
		if err != nil {
			return fmt.Errorf("service: micro endpoint %s: %w", subject, err)
		}
	}
	return nil
}

// handleStatus answers for this node alone; a cluster status brings one answer from each.
func (s *Service) handleStatus(req micro.Request) {
	asJSON := isJSON(req.Data())
	if bad := decodeBody(req.Data(), new(coorddv1.StatusRequest)); bad != nil {
		if body, err := encodeBody(&coorddv1.ErrorReply{Error: bad}, asJSON); err == nil {
			_ = req.Error(fmt.Sprint(bad.Number), bad.Code+": "+bad.Message, body)
		}
		return
	}
	body, err := encodeBody(s.Status(), asJSON)
	if err != nil {
		s.cfg.Logger.Error("the status can't be encoded", "error", err)
		return
	}
	_ = req.Respond(body)
}

// Status tells what this node knows of itself and the cluster.
func (s *Service) Status() *coorddv1.NodeStatus {
	st := s.node.Status()
	m := &coorddv1.NodeStatus{
		Name: s.cfg.Name, Id: st.ID.String(), Role: st.Role.String(), Pid: int64(os.Getpid()), Term: st.Term,
		LastIndex: st.Last, CommitIndex: st.Commit, AppliedIndex: st.Applied, Lag: st.Commit - min(st.Applied, st.Commit),
		Version: s.cfg.Version, Uptime: durationpb.New(time.Since(s.started).Round(time.Millisecond)),
		NatsConnected: s.nc.IsConnected() && s.prober.healthy(), Recovering: st.Recovering, Reachable: true,
		Leader: st.LeaderName, LeaderContact: durationpb.New(s.leaderAge()),
		Cluster: &coorddv1.ClusterInfo{Id: s.clusterID(), Name: s.cfg.ClusterName, Leader: st.LeaderName, Term: st.Term},
	}
	m.Active, m.Members, m.ClusterVersion = memberNames(&st.Active), s.members(&st), st.ClusterVersion
	if st.Proposed != nil {
		m.Proposed = memberNames(st.Proposed)
	}
	if me, ok := configOf(&st).Member(st.ID); ok {
		m.Peer, m.Role = me.Address, roleOf(st.Role, &me)
	}
	for i := range st.Peers {
		p := &st.Peers[i]
		m.Peers = append(m.Peers, &coorddv1.PeerStatus{Name: p.Name, Match: p.Match, Connected: s.heardLately(p),
			WarmupRound: uint64(p.WarmupRound), SnapshotSent: uint64(p.SnapshotSent), SnapshotSize: uint64(p.SnapshotSize)})
	}
	m.Removed, m.RefusedBy, m.Joining = st.Removed, s.refusedBy(&st), st.Joining
	m.LogEntries, m.LogBytes = st.Last+1-min(st.First, st.Last+1), uint64(st.LogBytes)
	s.inspectInto(m, st.Snapshot)
	if s.cfg.Describe != nil {
		s.cfg.Describe(m)
	}
	return m
}

// roleOf shows a member that never leads as what it is.
func roleOf(r raft.Role, m *raft.Member) string {
	switch {
	case r == raft.Follower && m.Learner:
		return raft.Learner.String()
	case r == raft.Follower && m.Standby:
		return raft.Standby.String()
	}
	return r.String()
}

// refusedBy says who refuses this node, by name, and what keeps it from being taken in.
func (s *Service) refusedBy(st *node.Status) (out []string) {
	for _, text := range st.RefusedBy {
		for _, m := range configOf(st).Members {
			if rest, ok := strings.CutPrefix(text, m.ID.String()+": "); ok {
				text = m.Name + ": " + rest
			}
		}
		out = append(out, text)
	}
	return out
}

func memberNames(c *raft.Configuration) (names []string) {
	for i := range c.Members {
		names = append(names, c.Members[i].Name)
	}
	slices.Sort(names)
	return names
}

// inspectInto adds what only the state machine knows, unless the applier is too busy to tell: the age of a snapshot is
// cluster time, since nodes don't compare their clocks.
func (s *Service) inspectInto(m *coorddv1.NodeStatus, snapshot *raft.SnapshotMeta) {
	if snapshot != nil {
		m.SnapshotIndex = snapshot.Index
	}
	type known struct {
		fence  uint64
		domain uint16
		now    int64
	}
	ch := make(chan known, 1)
	if !s.node.Inspect(func(uint64) {
		v := s.sm.machine.Live()
		ch <- known{v.Fence(), v.Domain(), s.now(v.Now())}
	}) {
		return
	}
	limit := time.NewTimer(inspectTimeout)
	defer limit.Stop()
	select {
	case k := <-ch:
		m.Cluster.Fence, m.Cluster.Domain = k.fence, uint32(k.domain)
		if snapshot != nil {
			m.SnapshotAge = durationpb.New(time.Duration(max(k.now-snapshot.Time, 0)))
		}
	case <-limit.C:
	}
}
