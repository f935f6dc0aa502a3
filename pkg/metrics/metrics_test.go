package metrics

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/coordd/coordd/internal/service"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/transport"
)

// families are the names that dashboards and alert rules outside this repository are written against.
var families = strings.Fields(`
	coordd_has_leader coordd_is_leader coordd_term coordd_leader_changes_total coordd_commit_index coordd_applied_index
	coordd_proposals_total coordd_proposals_pending coordd_heartbeat_send_failures_total coordd_leader_last_contact_seconds
	coordd_failure_tolerance
	coordd_log_sync_duration_seconds coordd_snapshot_save_duration_seconds coordd_snapshot_install_duration_seconds
	coordd_db_size_bytes coordd_recovering
	coordd_peer_round_trip_seconds coordd_peer_sent_bytes_total coordd_peer_received_bytes_total coordd_peer_send_failures_total
	coordd_nats_connected coordd_nats_reconnects_total coordd_nats_slow_consumers_total coordd_request_duration_seconds
	coordd_locks_held coordd_lock_waiters coordd_lock_wait_seconds coordd_lock_hold_seconds coordd_lock_grants_total
	coordd_lock_expirations_total coordd_sessions
	coordd_ids_allocated_total coordd_id_ranges_total coordd_sequence_remaining_ratio_min
	coordd_build_info coordd_peer_rejected_total coordd_duplicate_requests_total coordd_quota_refusals_total
	coordd_tls_certificate_expiry_timestamp_seconds coordd_clock_jumps_total coordd_snapshot_size_bytes coordd_log_entries`)

func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]*dto.MetricFamily)
	for _, f := range all {
		out[f.GetName()] = f
	}
	return out
}

func TestLint(t *testing.T) {
	t.Parallel()
	m := New(Build{Version: "v0", Revision: "abc"})
	m.KnowPeers("tcp", []string{"n2", "n3"})
	problems, err := testutil.GatherAndLint(m.Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, namespace) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestEveryFamilyIsThereFromTheFirstScrape(t *testing.T) {
	t.Parallel()
	got := gather(t, New(Build{}))
	for _, name := range families {
		f := got[name]
		if f == nil || len(f.GetMetric()) == 0 {
			t.Errorf("%s is missing", name)
			continue
		}
		for _, m := range f.GetMetric() {
			if h := m.GetHistogram(); h != nil {
				// The last bucket, +Inf, is implied.
				if b := h.GetBucket(); len(b) != 16 || b[0].GetUpperBound() != 100e-6 || h.GetSampleCount() != 0 {
					t.Errorf("%s: %d buckets, count %d", name, len(b), h.GetSampleCount())
				}
				if h.Schema == nil {
					t.Errorf("%s is not a native histogram", name)
				}
			}
			if c := m.GetCounter(); c != nil && c.GetValue() != 0 {
				t.Errorf("%s begins at %v", name, c.GetValue())
			}
		}
	}
	for name := range got {
		if strings.HasPrefix(name, namespace) && !slices.Contains(families, name) {
			t.Errorf("%s is not in the contract", name)
		}
	}
}

func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	allowed := []string{"op", "code", "result", "peer", "transport", "kind"}
	for name, f := range gather(t, New(Build{})) {
		if !strings.HasPrefix(name, namespace) || name == "coordd_build_info" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(allowed, l.GetName()) {
					t.Errorf("%s has the label %s", name, l.GetName())
				}
			}
		}
	}
}

func TestKnownLabelValuesStandAtZero(t *testing.T) {
	t.Parallel()
	m := New(Build{})
	m.KnowPeers("tcp", []string{"n2"})
	got := gather(t, m)
	has := func(family string, labels map[string]string) bool {
		return slices.ContainsFunc(got[family].GetMetric(), func(m *dto.Metric) bool {
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] != l.GetValue() {
					return false
				}
			}
			return true
		})
	}
	for _, op := range service.Verbs() {
		if !has("coordd_request_duration_seconds", map[string]string{"op": op, "code": "OK"}) {
			t.Errorf("no series for %s", op)
		}
	}
	for _, o := range []node.Outcome{node.OutcomeApplied, node.OutcomeNotLeader, node.OutcomeBusy, node.OutcomeTooLarge, node.OutcomeLost, node.OutcomeStopped} {
		if !has("coordd_proposals_total", map[string]string{"result": string(o)}) {
			t.Errorf("no series for proposals that ended as %s", o)
		}
	}
	if !has("coordd_peer_sent_bytes_total", map[string]string{"peer": "n2", "transport": "tcp"}) {
		t.Error("no series for a known peer")
	}
	if has("coordd_peer_sent_bytes_total", map[string]string{"peer": "none", "transport": "tcp"}) {
		t.Error("the placeholder stays beside real peers")
	}
}

func TestObserversFeedTheirMetrics(t *testing.T) {
	t.Parallel()
	m := New(Build{})
	m.Transport().PeerSent("n2", "tcp", 10)
	m.Transport().PeerReceived("n2", "tcp", 20)
	m.Transport().PeerSendFailed("n2", "tcp")
	m.Transport().PeerRejected(transport.RejectCluster)
	m.Transport().PeerRoundTrip("n2", "tcp", 0.001)
	n := m.Node()
	n.Proposals(node.OutcomeApplied, 3)
	n.SendFailed(2)
	n.LeaderContact(7, 0)
	n.LeaderContact(7, 0.1)
	n.RoleChanged(raft.Candidate, 2)
	n.RoleChanged(raft.Leader, 2)
	m.Storage().LogSync(0.002, 100, 1)
	m.Storage().DBSize(4096)
	s := m.Service()
	s.RequestDone("lock.acquire", "OK", time.Millisecond)
	s.DuplicateRequest()
	s.QuotaRefused("rate")
	s.NATSReconnected()
	s.NATSSlowConsumer()
	s.LockWaited(0)
	s.LockWaited(time.Second)
	s.LockHeld(time.Second)
	m.ClockJumped()
	m.SetSource(func() State { return State{IsLeader: true, Term: 9, DBBytes: m.DBBytes(), SequenceRemaining: 0.5} })

	got := gather(t, m)
	sum := func(name string) (v float64) {
		for _, x := range got[name].GetMetric() {
			v += x.GetCounter().GetValue() + x.GetGauge().GetValue() + float64(x.GetHistogram().GetSampleCount())
		}
		return v
	}
	for name, want := range map[string]float64{
		"coordd_peer_sent_bytes_total": 10, "coordd_peer_received_bytes_total": 20, "coordd_peer_send_failures_total": 1,
		"coordd_peer_rejected_total": 1, "coordd_peer_round_trip_seconds": 1, "coordd_proposals_total": 3,
		"coordd_heartbeat_send_failures_total": 1, "coordd_leader_changes_total": 2, "coordd_log_sync_duration_seconds": 1,
		"coordd_db_size_bytes": 4096, "coordd_request_duration_seconds": 1, "coordd_duplicate_requests_total": 1,
		"coordd_quota_refusals_total": 1, "coordd_nats_reconnects_total": 1, "coordd_nats_slow_consumers_total": 1,
		"coordd_lock_wait_seconds": 2, "coordd_lock_hold_seconds": 1, "coordd_clock_jumps_total": 1, "coordd_is_leader": 1, "coordd_term": 9, "coordd_sequence_remaining_ratio_min": 0.5,
	} {
		if v := sum(name); v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}
