package service

import (
	"crypto/rand"
	"time"

	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// traceHeader is the W3C trace context as NATS writes it. NATS headers are case-sensitive, and OpenTelemetry's
// HTTP carrier writes the other one.
const (
	traceHeader     = "traceparent"
	traceHeaderHTTP = "Traceparent"
	// longestTrace keeps a header from costing more than its request.
	longestTrace = 256
)

func traceOf(msg *nats.Msg) string {
	if msg.Header == nil {
		return ""
	}
	t := msg.Header.Get(traceHeader)
	if t == "" {
		t = msg.Header.Get(traceHeaderHTTP)
	}
	if len(t) > longestTrace {
		return ""
	}
	return t
}

func (s *Service) newCall(v *verb, msg *nats.Msg) *call {
	return &call{verb: v, inbox: msg.Reply, trace: traceOf(msg), asJSON: isJSON(msg.Data), arrived: time.Now()}
}

// checkBody refuses what is too large before anything is made of it.
func (s *Service) checkBody(body []byte) *coorddv1.Error {
	if most := s.cfg.Limits.BodyBytes; len(body) > most {
		s.cfg.Observer.QuotaRefused("payload")
		return refuse(coorddv1.CodeTooLarge, "the body has %d bytes, at most %d are allowed", len(body), most)
	}
	return nil
}

// handle returns the handler of a client's verb. It decodes, checks and queues; it never waits.
func (r *reign) handle(v *verb) nats.MsgHandler {
	s := r.s
	return func(msg *nats.Msg) {
		c := s.newCall(v, msg)
		bad := s.checkBody(msg.Data)
		if bad == nil {
			c.ns, c.name, bad = parseSubject(v, msg.Subject, s.cfg.Limits.NameBytes)
		}
		if bad == nil {
			bad = s.decode(c, msg.Data)
		}
		if bad != nil {
			s.answers.refuse(c, bad)
			return
		}
		rate := s.rate
		if c.beat {
			rate = s.beats
		}
		if !rate.allow(c.ns) {
			s.cfg.Observer.QuotaRefused("rate")
			r.refuseBusy(c, "namespace "+c.ns+" has more requests a second than it is allowed")
			return
		}
		r.admit(c)
	}
}

// handleForce is handle for the operators' forced release.
func (r *reign) handleForce(msg *nats.Msg) {
	s := r.s
	c := s.newCall(forceVerb, msg)
	bad := s.checkBody(msg.Data)
	if bad == nil {
		c.ns, c.name, bad = parseForceRelease(msg.Subject, s.cfg.Limits.NameBytes)
	}
	if bad == nil {
		bad = s.decode(c, msg.Data)
	}
	if bad != nil {
		s.answers.refuse(c, bad)
		return
	}
	r.admit(c)
}

// decode reads a request's body and makes of it what is to be done.
func (s *Service) decode(c *call, body []byte) *coorddv1.Error {
	v := c.verb
	if v == batchVerb {
		m, cmds, bad := decodeBatch(body, s.cfg.Limits.BatchCommands)
		if bad != nil {
			return bad
		}
		return s.fillBatch(c, m, cmds)
	}
	c.beat = v.kind == machine.KindSessionKeepalive
	m := v.request()
	if bad := decodeBody(body, m); bad != nil {
		return bad
	}
	e := envelopeOf(m)
	if bad := s.wrongCluster(e.cluster); bad != nil {
		return bad
	}
	if v.read != nil {
		c.request = m
		return nil
	}
	cmd, bad := v.command(&s.cfg.Limits, c.ns, c.name, m, &e)
	if bad != nil {
		return bad
	}
	if v.kind == machine.KindSessionOpen && len(e.secret) == 0 {
		c.secret = make([]byte, minSecretBytes)
		_, _ = rand.Read(c.secret) // crypto/rand.Read never fails
		cmd.Secret = hashSecret(c.secret)
	}
	c.add(cmd)
	return nil
}

// handleStale returns the handler of a read that any node answers from what it has applied.
func (s *Service) handleStale(v *verb) nats.MsgHandler {
	return func(msg *nats.Msg) {
		c := s.newCall(v, msg)
		bad := s.checkBody(msg.Data)
		if bad == nil {
			c.ns, c.name, bad = parseSubject(v, msg.Subject, s.cfg.Limits.NameBytes)
		}
		if bad == nil {
			bad = s.decode(c, msg.Data)
		}
		if bad != nil {
			s.answers.refuse(c, bad)
			return
		}
		c.age = s.leaderAge()
		if !s.node.Inspect(func(uint64) { s.look(c) }) {
			s.answers.refuse(c, refuse(coorddv1.CodeBusy, "node %s has too many reads under way, or is stopping", s.cfg.Name))
		}
	}
}

// look runs a read on the applier goroutine. Small ones are answered from the live tables; big ones take a copy
// along.
func (s *Service) look(c *call) {
	v := s.sm.machine.Live()
	c.index = v.Index()
	c.now = s.now(v.Now())
	if c.verb.big || c.batch != nil {
		c.view = s.sm.machine.View()
	} else {
		c.answer, c.failed = c.verb.read(v, s.query(c))
	}
	s.answers.read(c)
}

func (s *Service) query(c *call) readQuery {
	return readQuery{verb: c.verb.name, ns: c.ns, name: c.name, request: c.request, now: c.now, maxBytes: s.answerBytes()}
}
