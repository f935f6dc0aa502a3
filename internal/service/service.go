package service

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/raft"
)

// Service answers NATS requests for one node.
type Service struct {
	cfg     Config
	node    Node
	sm      *StateMachine
	nc      *nats.Conn
	started time.Time

	answers *answerer
	watches *watcher
	prober  *prober
	rate    *rateLimiter // of each namespace's requests
	beats   *rateLimiter // of each namespace's keepalives
	saver   *saver
	admins  atomic.Int64 // operators' requests under way

	reign   atomic.Pointer[reign] // nil while this node doesn't lead
	cluster atomic.Pointer[string]

	ctx    context.Context // ends when Stop begins
	cancel context.CancelFunc
	wg     sync.WaitGroup

	watching sync.WaitGroup // the watcher's

	subs     []*nats.Subscription
	discover micro.Service
	stopOnce sync.Once
}

// New checks the configuration. Nothing runs before Start.
func New(cfg Config) (*Service, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, node: cfg.Node, sm: cfg.StateMachine, nc: cfg.Conn, started: time.Now()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.answers = newAnswerer(s)
	s.watches = newWatcher(s)
	s.prober = newProber(s)
	s.rate = newRateLimiter(cfg.Limits.RequestsPerSecond)
	s.beats = newRateLimiter(cfg.Limits.RequestsPerSecond)
	s.saver = &saver{take: cfg.SaveSnapshot, open: cfg.Scratch}
	return s, nil
}

// Start subscribes to what every node answers and begins to follow the leadership. It returns at once; a
// leader takes commands as soon as it leads and is reachable.
func (s *Service) Start() error {
	if err := s.listenEverywhere(); err != nil {
		s.cancel()
		s.unlistenEverywhere()
		return err
	}
	s.answers.start()
	s.watching.Go(s.watches.run)
	s.wg.Go(s.prober.run)
	s.wg.Go(s.followLeadership)
	return nil
}

// Stop takes the node out of NATS: no new commands, answers to those under way, then silence. It returns when
// no goroutine of the service is left. Stop the node after it. A second call does nothing.
func (s *Service) Stop(ctx context.Context) error {
	var err error
	s.stopOnce.Do(func() {
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			s.cancel()
			s.wg.Wait()
		}()
		select {
		case <-drained:
		case <-ctx.Done():
			err = fmt.Errorf("service: stop: %w", ctx.Err())
			if r := s.reign.Load(); r != nil {
				r.abandon()
			}
			<-drained
		}
		s.unlistenEverywhere()
		s.saver.stop()
		s.answers.stop()
		s.watches.close()
		s.watching.Wait()
		// Whoever asked last shall have the answer; a dead connection is no reason to wait.
		if s.nc.IsConnected() {
			_ = s.nc.FlushTimeout(time.Second)
		}
	})
	return err
}

// Serving reports whether this node leads, takes commands and lets time end things.
func (s *Service) Serving() bool {
	r := s.reign.Load()
	return r != nil && r.serving.Load()
}

// NATSHealthy reports whether NATS carries messages from and to this node: through a majority of the
// members' servers, through its own one where it is alone, or through the outside server.
func (s *Service) NATSHealthy() bool { return s.prober.healthy() }

// now is cluster time as well as this node knows it: at least the state's own time.
func (s *Service) now(stateTime int64) int64 {
	if t, ok := s.node.ClusterTime(); ok {
		return max(t, stateTime)
	}
	return stateTime
}

// clusterID is the cluster's ID in hexadecimal; empty while it is not known.
func (s *Service) clusterID() string {
	if id := s.cluster.Load(); id != nil {
		return *id
	}
	var none raft.ClusterID
	id := s.node.Status().ClusterID
	if id == none {
		return ""
	}
	text := id.String()
	s.cluster.Store(&text)
	return text
}

func (s *Service) wrongCluster(asked string) *coorddv1.Error {
	if asked == "" {
		return nil
	}
	if id := s.clusterID(); asked != id {
		return refuse(coorddv1.CodeWrongCluster, "the request is for cluster %s, this is %s (%s)", quote(asked), id, s.cfg.ClusterName)
	}
	return nil
}

// answerBytes is the largest answer that NATS takes here.
func (s *Service) answerBytes() int {
	if n := s.nc.MaxPayload(); n > 0 {
		return int(n)
	}
	return s.cfg.Limits.BodyBytes
}
