package service

import (
	"github.com/nats-io/nats.go"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// maxTraces bounds the remembered traces of waiting requests.
const maxTraces = 65536

// formats remembers how to speak to sessions that did not ask just now: events go out as JSON unless the
// session's last request to this leader was protobuf. A new leader knows nothing and begins with JSON, which
// every client can tell by its first byte. It belongs to one goroutine.
type formats struct {
	protobuf map[uint64]struct{} // sessions
	traces   map[ticket]string   // of acquires that wait
}

type ticket struct{ session, seq uint64 }

func (f *formats) reset() {
	f.protobuf = make(map[uint64]struct{})
	f.traces = make(map[ticket]string)
}

// learn looks at a call that was executed.
func (f *formats) learn(c *call) {
	for i := range c.cmds {
		cmd, r := &c.cmds[i], &c.replies[i]
		id := cmd.Session
		if r.Session != nil {
			id = r.Session.ID
		}
		gone := cmd.Kind == machine.KindSessionClose || r.Code == machine.CodeSessionExpired || r.Code == machine.CodeSessionUnknown
		switch {
		case id == 0 || r.Code == machine.CodeDenied:
		case gone || c.asJSON:
			delete(f.protobuf, id)
		default:
			f.protobuf[id] = struct{}{}
		}
		if c.trace != "" && r.Lock != nil && r.Lock.State == machine.StateQueued && len(f.traces) < maxTraces {
			f.traces[ticket{id, cmd.Seq}] = c.trace
		}
	}
}

// trace returns the trace of the acquire that an event is about. A ticket's first event is its last but one
// at most: a loss after a grant has no request to belong to.
func (f *formats) trace(e *machine.Event) string {
	if len(f.traces) == 0 {
		return ""
	}
	k := ticket{e.Session, e.Ticket}
	t := f.traces[k]
	delete(f.traces, k)
	return t
}

// event pushes one event to its session's client.
func (a *answerer) event(e *machine.Event) {
	_, protobuf := a.formats.protobuf[e.Session]
	trace := a.formats.trace(e)
	if e.Kind == machine.EventSessionExpired {
		delete(a.formats.protobuf, e.Session)
	}
	subject := eventSubject(e.Namespace, e.Session)
	if !a.s.heard(subject) {
		return
	}
	body, err := encodeBody(&coorddv1.Event{EventSeq: e.Seq, Kind: coorddv1.Event_Kind(e.Kind), Name: e.Name, Ticket: e.Ticket,
		Generation: e.Generation, Fence: e.Fence, Until: e.Until, Reason: e.Reason, At: e.At}, !protobuf)
	if err != nil {
		a.s.cfg.Logger.Error("an event can't be encoded", "session", e.Session, "error", err)
		return
	}
	a.transmit(&nats.Msg{Subject: subject, Data: body}, trace)
}
