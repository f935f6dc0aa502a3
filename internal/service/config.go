package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service/natsserver"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// Node is what the service needs of a node; *node.Node has it.
type Node interface {
	Propose(ctx context.Context, data []byte) (node.Result, error)
	Submit(data []byte, done func(node.Result, error))
	SubmitRead(done func(index uint64, err error))
	Inspect(f func(applied uint64)) bool
	LeadershipContext() context.Context
	Events() (<-chan node.Event, func())
	Status() node.Status
	ClusterTime() (int64, bool)
	ClusterVersion() uint32
	Lease() bool
	TransferLeadership(ctx context.Context, to raft.MemberID) error
}

var _ Node = (*node.Node)(nil)

// Config says what a service runs on. Node, StateMachine, Conn, Name and ClusterName are required.
type Config struct {
	Node         Node
	StateMachine *StateMachine
	Conn         *nats.Conn // in process for an embedded server; the service does not close it

	Name        string // the node's name, <id> in coord.node.v1.<id>
	ClusterName string
	// ExternalNATS is true where Conn leads to an outside NATS: health is then that server's answer, not the
	// other members'.
	ExternalNATS bool

	ElectionTimeoutMax time.Duration // default 300 ms; decides the grace that sessions get after a failover
	Limits             Limits
	Timing             Timing

	Version string       // shown in status and by nats micro
	Logger  hclog.Logger // nil: none
	// Observer is told about requests, for metrics; nil: none.
	Observer Observer
	// Interest says whether anybody listens on a subject: what nobody hears is not even encoded. nil: that is not known,
	// and everything is published, as with an outside NATS.
	Interest func(subject string) bool
	// AskPeer asks a member by another way than NATS (node.Request; its answer is AnswerPeer's). A leader that lost NATS
	// hands over only to a member that says of itself that NATS reaches it. nil: only members that still answer over NATS
	// are asked.
	AskPeer func(ctx context.Context, to raft.MemberID, body []byte) ([]byte, error)
	// Members changes who belongs to the cluster, MemberID is the ID of the member of a name. nil: there are no member
	// verbs.
	Members  Members
	MemberID func(name string) raft.MemberID
	// SaveSnapshot writes a whole snapshot file as of now, on the leader, and returns the index of its last entry.
	// Scratch makes the file in which it is kept while it is fetched, without a name. nil: there is no snapshot.save.
	SaveSnapshot func(ctx context.Context, w io.Writer) (index uint64, err error)
	Scratch      func() (*os.File, error)
	// Describe adds to this node's status what the service doesn't know: addresses, disk figures. nil: nothing.
	Describe func(*coorddv1.NodeStatus)
}

// Limits are the bounds of requests; a zero field takes its default. The machine has bounds of its own on names,
// metadata, owners and TTLs, which are part of the replicated behaviour: here they can only be made narrower.
type Limits struct {
	BodyBytes     int           // of one request (256 KiB)
	BatchCommands int           // in one batch (1,024)
	NameBytes     int           // of a lock's or sequence's name (512)
	MetadataBytes int           // keys and values together (4 KiB)
	OwnerBytes    int           // of a session's owner (256)
	TTLMin        time.Duration // 1 s
	TTLMax        time.Duration // 24 h
	TTLDefault    time.Duration // 15 s

	Outstanding   int // requests taken and not answered (32,768), and as many keepalives; more get BUSY
	EntryCommands int // commands joined into one log entry (1,024)
	EntryBytes    int // their estimated size (256 KiB)
	Entries       int // entries under way at once (4)

	// RequestsPerSecond bounds each namespace, its keepalives and everything else by themselves, with a burst of one
	// second; 0: no bound. A batch counts as one.
	RequestsPerSecond float64
}

// Timing are the service's periods; a zero field takes its default.
type Timing struct {
	KeepaliveJoin time.Duration // keepalives within it share an entry (100 ms)
	ProbeInterval time.Duration // between two probes through the other members' servers (500 ms)
	NATSLost      time.Duration // without an answered probe for so long NATS counts as lost (2 s)
	Drain         time.Duration // what Stop waits for requests under way (2 s)

	ClockDrift float64       // of the ratio of any two clocks, for safe_for (0.01)
	ClockGuard time.Duration // for safe_for (50 ms)
}

// Observer is told what the service does. Its methods are called from several goroutines and must be quick.
type Observer interface {
	natsserver.Observer
	// RequestDone reports one answered request: its verb (see Verbs), OK or its code, and the time from its
	// arrival to its answer.
	RequestDone(op, code string, took time.Duration)
	// DuplicateRequest reports a request that was answered from the reply cache.
	DuplicateRequest()
	// QuotaRefused reports a request that a limit refused: sessions, locks, sequences, payload or rate.
	QuotaRefused(kind string)
}

type noObserver struct{}

func (noObserver) NATSConnected(bool)                        {}
func (noObserver) NATSReconnected()                          {}
func (noObserver) NATSSlowConsumer()                         {}
func (noObserver) RequestDone(string, string, time.Duration) {}
func (noObserver) DuplicateRequest()                         {}
func (noObserver) QuotaRefused(string)                       {}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.BodyBytes, natsserver.MaxRequestBytes)
	orDefault(&l.BatchCommands, 1024)
	orDefault(&l.NameBytes, machine.MaxNameBytes)
	orDefault(&l.MetadataBytes, machine.MaxMetadataBytes)
	orDefault(&l.OwnerBytes, machine.MaxOwnerBytes)
	orDefault(&l.TTLMin, time.Duration(machine.MinTTL))
	orDefault(&l.TTLMax, time.Duration(machine.MaxTTL))
	orDefault(&l.TTLDefault, 15*time.Second)
	orDefault(&l.Outstanding, 32768)
	orDefault(&l.EntryCommands, 1024)
	orDefault(&l.EntryBytes, 256<<10)
	orDefault(&l.Entries, 4)
	return l
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Node == nil:
		return c, errors.New("service: no node")
	case c.StateMachine == nil:
		return c, errors.New("service: no state machine")
	case c.Conn == nil:
		return c, errors.New("service: no nats connection")
	case c.ClusterName == "":
		return c, errors.New("service: no cluster name")
	case c.Name == "":
		return c, errors.New("service: no node name")
	case c.Members != nil && c.MemberID == nil:
		return c, errors.New("service: members are changed, and nobody knows their IDs")
	case c.SaveSnapshot != nil && c.Scratch == nil:
		return c, errors.New("service: snapshots are saved, and there is no scratch file for them")
	}
	if e := checkName(c.Name, machine.MaxNameBytes); e != nil {
		return c, fmt.Errorf("service: node name %q: %s", c.Name, e.Message)
	}
	orDefault(&c.ElectionTimeoutMax, 300*time.Millisecond)
	c.Limits = c.Limits.withDefaults()
	t := &c.Timing
	orDefault(&t.KeepaliveJoin, 100*time.Millisecond)
	orDefault(&t.ProbeInterval, 500*time.Millisecond)
	orDefault(&t.NATSLost, 2*time.Second)
	orDefault(&t.Drain, 2*time.Second)
	orDefault(&t.ClockDrift, 0.01)
	orDefault(&t.ClockGuard, 50*time.Millisecond)
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Observer == nil {
		c.Observer = noObserver{}
	}
	return c, nil
}
