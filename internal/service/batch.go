package service

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// nested is one command of a batch before it was looked into.
type nested struct {
	seq  uint64
	verb string
	name string
	body []byte
}

// decodeBatch reads a batch's body. In JSON a command's body is the verb's request as an object; in protobuf
// it is the verb's request in raw, in protobuf.
func decodeBatch(body []byte, maxCommands int) (m *coorddv1.BatchRequest, cmds []nested, bad *coorddv1.Error) {
	m = new(coorddv1.BatchRequest)
	if !isJSON(body) {
		if bad := decodeBody(body, m); bad != nil {
			return nil, nil, bad
		}
		if bad := checkBatchSize(len(m.Commands), maxCommands); bad != nil {
			return nil, nil, bad
		}
		for i, c := range m.Commands {
			if isJSON(c.Raw) {
				return nil, nil, badRequest("command %d: raw is JSON in a protobuf batch", i)
			}
			if len(c.ProtoReflect().GetUnknown()) > 0 {
				return nil, nil, badRequest("command %d has an unknown field", i)
			}
			cmds = append(cmds, nested{seq: c.Seq, verb: c.Verb, name: c.Name, body: c.Raw})
		}
		return m, cmds, nil
	}
	fields, err := splitObject(body)
	if err != nil {
		return nil, nil, badRequest("the JSON body is not right: %s", plainSpaces(err.Error()))
	}
	var list []json.RawMessage
	if raw, ok := fields["commands"]; ok {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, nil, badRequest("commands is not a list of objects")
		}
	}
	delete(fields, "commands")
	rest, err := json.Marshal(fields)
	if err != nil {
		return nil, nil, badRequest("the JSON body is not right: %s", plainSpaces(err.Error()))
	}
	if bad := decodeJSON(rest, m); bad != nil {
		return nil, nil, bad
	}
	if bad := checkBatchSize(len(list), maxCommands); bad != nil {
		return nil, nil, bad
	}
	for i, raw := range list {
		c, bad := decodeNested(raw)
		if bad != nil {
			bad.Message = "command " + strconv.Itoa(i) + ": " + bad.Message
			return nil, nil, bad
		}
		cmds = append(cmds, c)
	}
	return m, cmds, nil
}

func checkBatchSize(n, most int) *coorddv1.Error {
	switch {
	case n == 0:
		return badRequest("the batch has no commands")
	case n > most:
		return refuse(coorddv1.CodeTooLarge, "the batch has %d commands, at most %d are allowed", n, most)
	}
	return nil
}

func decodeNested(raw json.RawMessage) (c nested, bad *coorddv1.Error) {
	fields, err := splitObject(raw)
	if err != nil {
		return c, badRequest("%s", plainSpaces(err.Error()))
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		v := fields[key]
		var err error
		switch key {
		case "seq":
			c.seq, err = strconv.ParseUint(string(bytes.Trim(v, `"`)), 10, 64)
		case "verb":
			err = json.Unmarshal(v, &c.verb)
		case "name":
			err = json.Unmarshal(v, &c.name)
		case "body":
			c.body = v
		default:
			return c, badRequest("unknown field %s", quote(key))
		}
		if err != nil {
			return c, badRequest("%s has a wrong value", key)
		}
	}
	if len(c.body) == 0 || string(c.body) == "null" {
		c.body = []byte("{}")
	}
	if !isJSON(c.body) {
		return c, badRequest("body is not a JSON object")
	}
	return c, nil
}

// fillBatch turns the commands of a batch into items and machine commands, each checked by itself: a batch
// allows nothing that its parts would not.
func (s *Service) fillBatch(c *call, m *coorddv1.BatchRequest, cmds []nested) *coorddv1.Error {
	if m.Atomic {
		return unsupported("atomic")
	}
	outer := envelopeOf(m)
	if bad := s.wrongCluster(outer.cluster); bad != nil {
		return bad
	}
	c.batch = &batch{items: make([]item, len(cmds))}
	c.beat = true
	for i := range cmds {
		it := &c.batch.items[i]
		it.cmd = -1
		it.refused = s.fillItem(c, it, &outer, &cmds[i])
		c.beat = c.beat && cmds[i].verb == keepaliveVerb.name
	}
	return nil
}

func (s *Service) fillItem(c *call, it *item, outer *envelope, n *nested) *coorddv1.Error {
	v, ok := verbByName[n.verb]
	switch {
	case !ok:
		return badRequest("unknown verb %s", quote(n.verb))
	case v.alone:
		return badRequest("%s does not go into a batch: send it alone", v.name)
	case v.named:
		if bad := checkName(n.name, s.cfg.Limits.NameBytes); bad != nil {
			return bad
		}
	case n.name != "":
		return badName("%s takes no name", v.name)
	}
	it.verb, it.name = v, n.name
	body := v.request()
	if bad := decodeBody(n.body, body); bad != nil {
		return bad
	}
	inner := envelopeOf(body)
	e := *outer
	e.seq = n.seq
	if v == keepaliveVerb && outer.session == 0 {
		// One of many sessions: the whole envelope is its own.
		if bad := s.wrongCluster(inner.cluster); bad != nil {
			return bad
		}
		e = inner
	} else if bad := inner.agrees(&e); bad != nil {
		return bad
	}
	if inner.notAfter != 0 {
		e.notAfter = inner.notAfter
	}
	if v.read != nil {
		it.read = body
		return nil
	}
	if e.session == 0 || v == keepaliveVerb {
		e.seq = 0
	}
	cmd, bad := v.command(&s.cfg.Limits, c.ns, n.name, body, &e)
	if bad != nil {
		return bad
	}
	it.cmd = len(c.cmds)
	c.add(cmd)
	return nil
}

// agrees says whether what a nested command repeats of the batch's envelope is the same there.
func (e *envelope) agrees(outer *envelope) *coorddv1.Error {
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"session", e.session != 0 && e.session != outer.session},
		{"generation", e.generation != 0 && e.generation != outer.generation},
		{"seq", e.seq != 0 && e.seq != outer.seq},
		{"cluster", e.cluster != "" && e.cluster != outer.cluster},
		{"secret", len(e.secret) > 0 && !bytes.Equal(e.secret, outer.secret)},
	} {
		if f.differs {
			return badRequest("%s differs from that of the batch: it stands outside of body", f.name)
		}
	}
	return nil
}

func (c *call) add(cmd machine.Command) {
	c.bytes += commandBytes(&cmd)
	if c.cmds == nil {
		c.cmds = c.one[:0]
	}
	c.cmds = append(c.cmds, cmd)
}

const (
	// bareBytes is more than the shortest form of any result takes.
	bareBytes = 320
	// batchMargin is for what stands around the results.
	batchMargin = 1024
)

// batchBody encodes the answer of a batch. Where all of it does not fit, later results are cut down to what a
// program needs: messages and holders go first, and a read is refused, since asking again costs nothing.
func (s *Service) batchBody(c *call) ([]byte, error) {
	out := &coorddv1.BatchReply{Index: c.index}
	var list []json.RawMessage
	room := s.answerBytes() - batchMargin
	for i := range c.batch.items {
		it := &c.batch.items[i]
		reserve := bareBytes * (len(c.batch.items) - i - 1)
		raw, e, err := s.itemBody(c, it, room-reserve)
		if err != nil {
			return nil, err
		}
		if !c.asJSON {
			room -= len(raw) + proto.Size(e) + 16
			out.Results = append(out.Results, &coorddv1.BatchResult{Raw: raw, Error: e})
			continue
		}
		if e != nil {
			if raw, err = encodeBody(&coorddv1.ErrorReply{Error: e}, true); err != nil {
				return nil, err
			}
		}
		room -= len(raw) + 1
		list = append(list, raw)
	}
	if !c.asJSON {
		return proto.Marshal(out)
	}
	return json.Marshal(struct {
		Results []json.RawMessage `json:"results"`
		Index   string            `json:"index"`
	}{list, strconv.FormatUint(c.index, 10)})
}

// itemBody encodes one result into at most room bytes: the answer, or an error.
func (s *Service) itemBody(c *call, it *item, room int) (raw []byte, e *coorddv1.Error, err error) {
	m, e := s.itemResult(c, it)
	if e != nil {
		if 2*proto.Size(e)+bareBytes > room {
			e = &coorddv1.Error{Code: e.Code, Number: e.Number, Retryable: e.Retryable}
		}
		return nil, e, nil
	}
	raw, err = encodeBody(m, c.asJSON)
	if err != nil || len(raw) <= room {
		return raw, nil, err
	}
	if it.read != nil {
		return nil, &coorddv1.Error{Code: coorddv1.CodeTooLarge, Number: 413}, nil
	}
	switch m := m.(type) {
	case *coorddv1.LockAcquireReply:
		m.Holders = nil
	case *coorddv1.SessionReply:
		m.Holds, m.Waits, m.Incomplete = nil, nil, true
	case *coorddv1.SequenceReply:
		m.Sequence = nil
	}
	raw, err = encodeBody(m, c.asJSON)
	return raw, nil, err
}

func (s *Service) itemResult(c *call, it *item) (proto.Message, *coorddv1.Error) {
	switch {
	case it.refused != nil:
		return nil, it.refused
	case it.read != nil:
		return it.verb.read(c.view, readQuery{verb: it.verb.name, ns: c.ns, name: it.name, request: it.read, now: c.now, maxBytes: s.answerBytes()})
	}
	r := &c.replies[it.cmd]
	if r.Code != machine.OK {
		return nil, s.errorOf(it.verb, it.name, r)
	}
	return it.verb.reply(s, c, r), nil
}
