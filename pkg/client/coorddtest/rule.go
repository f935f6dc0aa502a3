package coorddtest

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// Request is a client's message to the service, as far as a [Match] may want to see it.
type Request struct {
	// Verb is the verb of its subject, such as lock.acquire; batch for several commands together.
	Verb string
	// Commands are what it asks for: one, or those of a batch.
	Commands []Command

	session uint64
}

// Command is one command of a request.
type Command struct {
	Verb string // lock.acquire, session.keepalive, …
	Name string // of the lock, election, sequence; "" for verbs without
}

// Match says whether a request is meant.
type Match func(Request) bool

// Verb matches requests that hold a command with the verb, in a batch or alone.
func Verb(verb string) Match {
	return func(q Request) bool {
		for _, c := range q.Commands {
			if c.Verb == verb {
				return true
			}
		}
		return false
	}
}

// Named matches requests that hold a command for the name.
func Named(name string) Match {
	return func(q Request) bool {
		for _, c := range q.Commands {
			if c.Name == name {
				return true
			}
		}
		return false
	}
}

// rule is what happens to the next so many requests that all of its matches mean.
type rule struct {
	left        int
	matches     []Match
	drop, twice bool
}

func (u *rule) means(q Request) bool {
	for _, m := range u.matches {
		if !m(q) {
			return false
		}
	}
	return u.left > 0
}

// fateLocked applies the oldest rule of each kind that means the request.
func (r *relay) fateLocked(q Request) (drop, twice bool) {
	kept := r.rules[:0]
	for _, u := range r.rules {
		if (u.drop && !drop || u.twice && !twice) && u.means(q) {
			u.left--
			drop, twice = drop || u.drop, twice || u.twice
		}
		if u.left > 0 {
			kept = append(kept, u)
		}
	}
	r.rules = kept
	return drop, twice
}

func (r *relay) add(u *rule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = append(r.rules, u)
}

// requestOf reads a message to the service; false if it is none of a client's verbs.
func requestOf(m *nats.Msg) (q Request, ok bool) {
	parts := strings.SplitN(m.Subject, ".", 6) // coord v1 ns verb verb name
	if len(parts) < 4 || parts[1] != "v1" {
		return Request{Verb: m.Subject}, false
	}
	name := ""
	switch {
	case parts[3] == "batch":
		q.Verb = "batch"
	case len(parts) < 5:
		return Request{Verb: parts[3]}, false
	default:
		q.Verb = parts[3] + "." + parts[4]
	}
	if len(parts) == 6 {
		name = parts[5]
		if coded, is := strings.CutPrefix(name, "~"); is {
			if raw, err := base64.RawURLEncoding.DecodeString(coded); err == nil {
				name = string(raw)
			}
		}
	}
	var batch coorddv1.BatchRequest
	if q.Verb == "batch" && proto.Unmarshal(m.Data, &batch) == nil {
		q.session = batch.GetSession()
		for _, c := range batch.GetCommands() {
			q.Commands = append(q.Commands, Command{Verb: c.GetVerb(), Name: c.GetName()})
		}
		return q, true
	}
	q.Commands = []Command{{Verb: q.Verb, Name: name}}
	q.session = sessionOf(q.Verb, m.Data)
	return q, true
}

// sessionOf reads the session out of a command's protobuf, where it is the first field of all commands besides open and the
// reads.
func sessionOf(verb string, body []byte) uint64 {
	switch verb {
	case "session.open", "session.list", "lock.get", "lock.list", "lock.why", "election.observe":
		return 0
	}
	var k coorddv1.SessionKeepaliveRequest
	if proto.Unmarshal(body, &k) != nil {
		return 0
	}
	return k.GetSession()
}

// withoutCutLocked takes what belongs to sessions that are cut off out of a request. A keepalive among those of other
// sessions loses its secret, which has it refused and the others answered.
func (r *relay) withoutCutLocked(q Request, body []byte) (left []byte, pass bool) {
	if r.cut[q.session] {
		return nil, false
	}
	if q.Verb != "batch" || q.session != 0 {
		return body, true
	}
	var batch coorddv1.BatchRequest
	if proto.Unmarshal(body, &batch) != nil {
		return body, true
	}
	for _, c := range batch.GetCommands() {
		var k coorddv1.SessionKeepaliveRequest
		if proto.Unmarshal(c.GetRaw(), &k) != nil || !r.cut[k.GetSession()] {
			continue
		}
		k.Secret = []byte("cut off by session " + strconv.FormatUint(k.GetSession(), 10))
		if raw, err := proto.Marshal(&k); err == nil {
			c.Raw = raw
		}
	}
	if changed, err := proto.Marshal(&batch); err == nil {
		return changed, true
	}
	return body, true
}
