package service

import (
	"crypto/sha256"
	"math"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

const (
	minSecretBytes = 16 // 128 bits
	maxSecretBytes = 64
	maxNonceBytes  = machine.MaxNonceBytes
	maxReasonBytes = machine.MaxReasonBytes
	// longestWait is far beyond any use and keeps cluster times from overflowing.
	longestWait = 100 * 365 * 24 * time.Hour
)

func hashSecret(secret []byte) (h machine.SecretHash) {
	sum := sha256.Sum256(secret)
	copy(h[:], sum[:])
	return h
}

// envelope is what the requests of a session have in common. A request has the parts that its message has.
type envelope struct {
	session, generation, seq, ack, eventsSeen uint64
	secret                                    []byte
	notAfter                                  int64
	cluster                                   string
}

func envelopeOf(m proto.Message) (e envelope) {
	if m, ok := m.(interface{ GetSession() uint64 }); ok {
		e.session = m.GetSession()
	}
	if m, ok := m.(interface{ GetSecret() []byte }); ok {
		e.secret = m.GetSecret()
	}
	if m, ok := m.(interface{ GetGeneration() uint64 }); ok {
		e.generation = m.GetGeneration()
	}
	if m, ok := m.(interface{ GetSeq() uint64 }); ok {
		e.seq = m.GetSeq()
	}
	if m, ok := m.(interface{ GetAck() uint64 }); ok {
		e.ack = m.GetAck()
	}
	if m, ok := m.(interface{ GetEventsSeen() uint64 }); ok {
		e.eventsSeen = m.GetEventsSeen()
	}
	if m, ok := m.(interface{ GetNotAfter() int64 }); ok {
		e.notAfter = m.GetNotAfter()
	}
	if m, ok := m.(interface{ GetCluster() string }); ok {
		e.cluster = m.GetCluster()
	}
	return e
}

// check says what a verb needs of its envelope.
func (e *envelope) check(v *verb) *coorddv1.Error {
	switch {
	case e.session == 0 && v.anonymous && e.seq != 0:
		return badRequest("seq without session: a request without a session has no seq")
	case e.session == 0 && v.anonymous:
		return nil
	case e.session == 0:
		return badRequest("session is missing")
	case e.seq == 0 && !v.noSeq:
		return badRequest("seq is missing: count a session's commands from 1 on")
	}
	return nil
}

func (e *envelope) into(c *machine.Command) {
	c.Session, c.Generation, c.Seq, c.Ack = e.session, e.generation, e.seq, e.ack
	c.NotAfter, c.EventsSeen = e.notAfter, e.eventsSeen
	if len(e.secret) > 0 {
		c.Secret = hashSecret(e.secret)
	}
}

// command makes the machine's command of a checked request. It does not look at cluster (see wrongCluster).
func (v *verb) command(l *Limits, ns, name string, m proto.Message, e *envelope) (c machine.Command, bad *coorddv1.Error) {
	if bad := e.check(v); bad != nil {
		return c, bad
	}
	c.Kind, c.Namespace, c.Name = v.kind, ns, name
	e.into(&c)
	return c, v.fill(l, m, &c)
}

func fillNothing(*Limits, proto.Message, *machine.Command) *coorddv1.Error { return nil }

func fillOpen(l *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.SessionOpenRequest)
	ttl, bad := duration("ttl", m.Ttl, l.TTLDefault)
	switch {
	case bad != nil:
		return bad
	case ttl < l.TTLMin || ttl > l.TTLMax:
		return badRequest("ttl %v is out of range: %v to %v", ttl, l.TTLMin, l.TTLMax)
	case len(m.Secret) > 0 && len(m.Secret) < minSecretBytes || len(m.Secret) > maxSecretBytes:
		return badRequest("secret has %d bytes, %d to %d are allowed", len(m.Secret), minSecretBytes, maxSecretBytes)
	case len(m.Nonce) > maxNonceBytes:
		return badRequest("nonce has %d bytes, at most %d are allowed", len(m.Nonce), maxNonceBytes)
	case len(m.Nonce) > 0 && len(m.Secret) == 0:
		return badRequest("nonce needs a secret of the client's own")
	}
	if bad := checkText("owner", m.Owner, l.OwnerBytes); bad != nil {
		return bad
	}
	if bad := checkMetadata(l, m.Metadata); bad != nil {
		return bad
	}
	c.Open = &machine.Open{TTL: int64(ttl), Owner: m.Owner, Metadata: m.Metadata, Nonce: m.Nonce}
	return nil
}

func fillResume(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.SessionResumeRequest)
	if len(m.Nonce) > maxNonceBytes {
		return badRequest("nonce has %d bytes, at most %d are allowed", len(m.Nonce), maxNonceBytes)
	}
	c.Resume = &machine.Resume{Nonce: m.Nonce}
	return nil
}

func fillCreate(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.SequenceCreateRequest)
	s := &machine.SeqCreate{Cycle: m.Cycle, HasMin: m.Min != nil, HasStart: m.Start != nil}
	switch {
	case m.Max != nil && *m.Max == 0:
		return badRequest("max 0 is not supported: leave it out for 2^63 - 1")
	case m.Step != nil && *m.Step <= 0:
		return badRequest("step %d is not positive", *m.Step)
	case m.MaxRange != nil && *m.MaxRange <= 0:
		return badRequest("max_range %d is not positive", *m.MaxRange)
	}
	switch m.Order {
	case coorddv1.Order_ORDER_UNSPECIFIED, coorddv1.Order_CACHED:
	case coorddv1.Order_STRICT:
		s.Strict = true
	default:
		return badRequest("order %d is unknown", m.Order)
	}
	s.Min, s.Max, s.Step = m.GetMin(), m.GetMax(), m.GetStep()
	s.Start, s.MaxRange = m.GetStart(), m.GetMaxRange()
	c.Create = s
	return nil
}

func fillAlloc(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	m := pm.(*coorddv1.SequenceAllocRequest)
	count := m.Count
	if count == 0 {
		count = 1
	}
	switch {
	case count < 0:
		return badRequest("count %d is negative", count)
	case m.MinCount < 0 || m.MinCount > count:
		return badRequest("min_count %d is not between 0 and count %d", m.MinCount, count)
	}
	c.Alloc = &machine.SeqAlloc{Count: count, MinCount: m.MinCount}
	return nil
}

func fillAdvance(_ *Limits, pm proto.Message, c *machine.Command) *coorddv1.Error {
	c.Advance = &machine.SeqAdvance{To: pm.(*coorddv1.SequenceAdvanceRequest).To}
	return nil
}

func unsupported(what string) *coorddv1.Error {
	return badRequest("%s is not supported by this version", what)
}

// duration reads a duration that may be absent.
func duration(field string, d *durationpb.Duration, absent time.Duration) (time.Duration, *coorddv1.Error) {
	if d == nil {
		return absent, nil
	}
	if d.CheckValid() != nil || d.Seconds > math.MaxInt64/int64(time.Second) || d.Seconds < math.MinInt64/int64(time.Second) {
		return 0, badRequest("%s is out of range", field)
	}
	return d.AsDuration(), nil
}

// checkText checks a text that is shown to people.
func checkText(field, s string, maxBytes int) *coorddv1.Error {
	if len(s) > maxBytes {
		return badRequest("%s has %d bytes, at most %d are allowed", field, len(s), maxBytes)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return badRequest("%s holds the control character %U", field, r)
		}
	}
	return nil
}

func checkMetadata(l *Limits, md map[string]string) *coorddv1.Error {
	n := 0
	for k, v := range md {
		if k == "" {
			return badRequest("metadata has an empty key")
		}
		n += len(k) + len(v)
	}
	if n > l.MetadataBytes {
		return badRequest("metadata has %d bytes, at most %d are allowed", n, l.MetadataBytes)
	}
	return nil
}

// commandBytes estimates what a command takes in a log entry.
func commandBytes(c *machine.Command) int {
	n := 96 + len(c.Namespace) + len(c.Name)
	switch {
	case c.Acquire != nil:
		n += mapBytes(c.Acquire.Metadata) + len(c.Acquire.Value) + 10*len(c.Acquire.Holding)
	case c.AcquireAll != nil:
		n += mapBytes(c.AcquireAll.Metadata) + 10*len(c.AcquireAll.Holding)
		for _, name := range c.AcquireAll.Names {
			n += len(name) + 2
		}
	case c.Proclaim != nil:
		n += len(c.Proclaim.Value)
	case c.Open != nil:
		n += len(c.Open.Owner) + len(c.Open.Nonce) + mapBytes(c.Open.Metadata)
	case c.Force != nil:
		n += len(c.Force.Reason)
	}
	return n
}

func mapBytes(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v) + 8
	}
	return n
}
