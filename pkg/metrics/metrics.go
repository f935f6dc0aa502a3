package metrics

import (
	"runtime"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const namespace = "coordd"

// Build says which program runs.
type Build struct {
	Version   string
	Revision  string
	GoVersion string
}

// Metrics holds all metrics of one node. Its methods are safe for concurrent use.
type Metrics struct {
	registry      *prometheus.Registry
	state         *stateCollector
	dbBytes       atomic.Int64
	snapshotBytes atomic.Int64

	leaderChanges         prometheus.Counter
	proposals             *prometheus.CounterVec
	heartbeatSendFailures prometheus.Counter

	logSync         prometheus.Histogram
	snapshotSave    prometheus.Histogram
	snapshotInstall prometheus.Histogram

	peerRoundTrip    *prometheus.HistogramVec
	peerSent         *prometheus.CounterVec
	peerReceived     *prometheus.CounterVec
	peerSendFailures *prometheus.CounterVec
	peerRejected     *prometheus.CounterVec

	natsReconnects    prometheus.Counter
	natsSlowConsumers prometheus.Counter
	requests          *prometheus.HistogramVec

	lockWait          prometheus.Histogram
	lockHold          prometheus.Histogram
	duplicateRequests prometheus.Counter
	quotaRefusals     *prometheus.CounterVec
	clockJumps        prometheus.Counter
	tlsExpiry         *prometheus.GaugeVec
}

// New declares all metrics in a registry of their own.
func New(build Build) *Metrics {
	if build.GoVersion == "" {
		build.GoVersion = runtime.Version()
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		state:    newStateCollector(),

		leaderChanges:         counter("leader_changes_total", "Times that this node came to know another leader."),
		proposals:             counters("proposals_total", "Proposals by result; leadership_lost is the only one of unknown outcome, all but applied and it are certainly not done.", "result"),
		heartbeatSendFailures: counter("heartbeat_send_failures_total", "Messages to peers, heartbeats included, that could not be delivered."),

		logSync:         histogram("log_sync_duration_seconds", "Time of one durable write of the log: transaction, sidecar and sync."),
		snapshotSave:    histogram("snapshot_save_duration_seconds", "Time to write one snapshot."),
		snapshotInstall: histogram("snapshot_install_duration_seconds", "Time to install one snapshot from the leader."),

		peerRoundTrip:    histograms("peer_round_trip_seconds", "Round trip of heartbeats to a peer.", "peer", "transport"),
		peerSent:         counters("peer_sent_bytes_total", "Bytes sent to a peer.", "peer", "transport"),
		peerReceived:     counters("peer_received_bytes_total", "Bytes received from a peer.", "peer", "transport"),
		peerSendFailures: counters("peer_send_failures_total", "Messages to a peer that were dropped or failed.", "peer", "transport"),
		peerRejected:     counters("peer_rejected_total", "Peer connections that were refused, by reason.", "kind"),

		natsReconnects:    counter("nats_reconnects_total", "Times that the node's own NATS connection was made again."),
		natsSlowConsumers: counter("nats_slow_consumers_total", "Times that NATS dropped messages for this node because it was slow."),
		requests:          histograms("request_duration_seconds", "Time from a client's request to its answer, by verb and code.", "op", "code"),

		lockWait:          histogram("lock_wait_seconds", "Time that granted requests had waited in a queue, in cluster time."),
		lockHold:          histogram("lock_hold_seconds", "Time that locks were held, in cluster time."),
		duplicateRequests: counter("duplicate_requests_total", "Requests that were answered from the reply cache."),
		quotaRefusals:     counters("quota_refusals_total", "Requests refused by a limit, by the limit's kind.", "kind"),
		clockJumps:        counter("clock_jumps_total", "Differences between wall and monotonic clock of more than a second (suspend, clock set)."),
		tlsExpiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "tls_certificate_expiry_timestamp_seconds",
			Help: "End of a certificate's validity, Unix time; 0 without TLS."}, []string{"kind"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "build_info", Help: "1; the labels say which program runs.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "goversion": build.GoVersion}})
	info.Set(1)
	m.registry.MustRegister(m.state, info,
		m.leaderChanges, m.proposals, m.heartbeatSendFailures,
		m.logSync, m.snapshotSave, m.snapshotInstall,
		m.peerRoundTrip, m.peerSent, m.peerReceived, m.peerSendFailures, m.peerRejected,
		m.natsReconnects, m.natsSlowConsumers, m.requests,
		m.lockWait, m.lockHold, m.duplicateRequests, m.quotaRefusals, m.clockJumps, m.tlsExpiry,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.fillKnownLabels()
	return m
}

// Gatherer returns what a scrape handler needs.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

func histogramOpts(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help,
		Buckets:                         prometheus.ExponentialBuckets(100e-6, 2, 16),
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: 3600e9,
	}
}

func histogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(histogramOpts(name, help))
}

func histograms(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(histogramOpts(name, help), labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}
