package coorddtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// Subjects on the service's side of the relay.
const (
	replyPrefix   = "relay.reply."
	barrierPrefix = "relay.barrier."
	inboxPrefix   = "_INBOX." // and a client's name
)

// relay carries requests, answers and events between the clients, who are in one NATS account, and the service, which is
// in another. What happens to a message is decided here; what is under way is known here.
type relay struct {
	out, in *nats.Conn // the clients' side, the service's side
	onLost  func()     // an answer was dropped on purpose

	mu       sync.Mutex
	passed   uint64 // messages
	last     uint64
	forwards map[uint64]*forward          // to the service, not answered yet, by the reply subject's number
	arrived  map[string]uint64            // requests of a client
	told     map[string]uint64            // answers to a client
	asked    map[string]map[string]string // verbs of requests without a final answer, by client and request
	lost     map[string]bool              // of these, those whose answer was dropped
	owners   map[uint64]string            // the client of a session
	rules    []*rule
	cut      map[uint64]bool // sessions that the service hears nothing of, nor they of it
	barriers map[uint64]chan struct{}
}

// forward is a request on its way to the service.
type forward struct {
	reply           string // where the client waits
	client, request string
	verb            string
	session         uint64
	drop            bool // the answer
}

func newRelay(out, in *nats.Conn) *relay {
	return &relay{out: out, in: in, forwards: make(map[uint64]*forward),
		arrived: make(map[string]uint64), told: make(map[string]uint64), asked: make(map[string]map[string]string),
		lost: make(map[string]bool), owners: make(map[uint64]string), cut: make(map[uint64]bool), barriers: make(map[uint64]chan struct{})}
}

// start begins to carry. Each side has one subscription, so that one order.
func (r *relay) start() error {
	if _, err := r.in.Subscribe(">", r.fromService); err != nil {
		return err
	}
	if err := r.in.Flush(); err != nil {
		return err
	}
	if _, err := r.out.Subscribe("coord.>", r.fromClient); err != nil {
		return err
	}
	return r.out.Flush()
}

// caller takes the client and the request out of a reply subject: all tries of a request differ in what follows the last
// hyphen only.
func caller(reply string) (client, request string) {
	rest, ok := strings.CutPrefix(reply, inboxPrefix)
	if !ok {
		return "", reply
	}
	client, _, _ = strings.Cut(rest, ".")
	if i := strings.LastIndexByte(reply, '-'); i >= 0 {
		return client, reply[:i]
	}
	return client, reply
}

// fromClient carries one request.
func (r *relay) fromClient(m *nats.Msg) {
	q, ok := requestOf(m)
	client, request := caller(m.Reply)
	r.mu.Lock()
	r.passed++
	r.arrived[client]++
	f := forward{reply: m.Reply, client: client, request: request, verb: q.Verb, session: q.session}
	if r.asked[client] == nil {
		r.asked[client] = make(map[string]string)
	}
	r.asked[client][request] = q.Verb
	data, pass := m.Data, true
	if ok && len(r.cut) > 0 {
		data, pass = r.withoutCutLocked(q, data)
	}
	copies := 1
	if pass {
		drop, twice := r.fateLocked(q)
		f.drop = drop
		if twice {
			copies = 2
		}
	}
	var numbers []uint64
	for range copies {
		if pass {
			r.last++
			own := f
			r.forwards[r.last] = &own
			numbers = append(numbers, r.last)
		}
	}
	r.mu.Unlock()
	for _, n := range numbers {
		// A connection that is closed is one of a server that is.
		_ = r.in.PublishMsg(&nats.Msg{Subject: m.Subject, Reply: replyPrefix + strconv.FormatUint(n, 10), Data: data, Header: m.Header})
	}
}

// fromService carries an answer or an event. What is neither, and the service's talk to itself, ends here.
func (r *relay) fromService(m *nats.Msg) {
	if n, ok := strings.CutPrefix(m.Subject, replyPrefix); ok {
		if number, err := strconv.ParseUint(n, 10, 64); err == nil {
			r.answer(number, m)
		}
		return
	}
	if n, ok := strings.CutPrefix(m.Subject, barrierPrefix); ok {
		number, _ := strconv.ParseUint(n, 10, 64)
		r.mu.Lock()
		defer r.mu.Unlock()
		if done := r.barriers[number]; done != nil {
			close(done)
			delete(r.barriers, number)
		}
		return
	}
	parts := strings.SplitN(m.Subject, ".", 5)
	if len(parts) != 5 || parts[0] != "coord" || parts[3] != "evt" && parts[3] != "watch" {
		return
	}
	r.mu.Lock()
	r.passed++
	session, _ := strconv.ParseUint(parts[4], 10, 64)
	pass := parts[3] == "watch" || !r.cut[session]
	r.mu.Unlock()
	if pass {
		_ = r.out.PublishMsg(&nats.Msg{Subject: m.Subject, Data: m.Data, Header: m.Header})
	}
}

func (r *relay) answer(number uint64, m *nats.Msg) {
	r.mu.Lock()
	r.passed++
	f := r.forwards[number]
	delete(r.forwards, number)
	if f == nil || r.cut[f.session] {
		r.mu.Unlock()
		return
	}
	r.learnLocked(f, m)
	if f.drop {
		r.lost[f.request] = true
		r.mu.Unlock()
		r.onLost()
		return
	}
	if final(m) {
		delete(r.asked[f.client], f.request)
		delete(r.lost, f.request)
	}
	r.told[f.client]++
	r.mu.Unlock()
	_ = r.out.PublishMsg(&nats.Msg{Subject: f.reply, Data: m.Data, Header: m.Header})
}

// final says whether a client takes the answer for one: it asks again when nobody is there, or when it is told to.
func final(m *nats.Msg) bool {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return false
	}
	if m.Header.Get(coorddv1.ErrorCodeHeader) == "" {
		return true
	}
	var e coorddv1.ErrorReply
	return proto.Unmarshal(m.Data, &e) != nil || !e.GetError().GetRetryable()
}

// learnLocked notes whose session it is.
func (r *relay) learnLocked(f *forward, m *nats.Msg) {
	if m.Header.Get(coorddv1.ErrorCodeHeader) != "" || f.client == "" {
		return
	}
	switch f.verb {
	case "session.open":
		var rep coorddv1.SessionOpenReply
		if proto.Unmarshal(m.Data, &rep) == nil {
			r.owners[rep.GetSession()] = f.client
		}
	case "session.resume":
		r.owners[f.session] = f.client
	}
}

// sessionsOf returns the sessions that a client opened or resumed.
func (r *relay) sessionsOf(client string) (ids []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, owner := range r.owners {
		if owner == client {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// messages returns what is known of a client's messages.
func (r *relay) messages(client string) messages {
	r.mu.Lock()
	defer r.mu.Unlock()
	return messages{arrived: r.arrived[client], told: r.told[client], open: len(r.asked[client])}
}

// open returns how many requests of a client have no final answer.
func (r *relay) open(client string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked[client])
}

// underWay returns how many requests the service has yet to answer.
func (r *relay) underWay() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.forwards)
}

// forget gives up those that a leader took along.
func (r *relay) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.forwards)
}

// traffic counts messages.
func (r *relay) traffic() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed
}

// unheard returns how many dropped answers have not been made good by a repeated request.
func (r *relay) unheard() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lost)
}

// giveUp forgets dropped answers that nobody asks for any more.
func (r *relay) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.lost)
}

// barrierPatience bounds the wait for the service to answer a barrier: it does not while its leadership changes.
const barrierPatience = 100 * time.Millisecond

// barrier returns when what was published on either side before has arrived: the service says nothing out of order, and a
// request that it answers comes after its events.
func (r *relay) barrier(namespace string) error {
	if err := r.out.FlushTimeout(time.Minute); err != nil {
		return fmt.Errorf("the clients' side: %w", err)
	}
	done := make(chan struct{})
	r.mu.Lock()
	r.last++
	number := r.last
	r.barriers[number] = done
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.barriers, number)
	}()
	reply := barrierPrefix + strconv.FormatUint(number, 10)
	if err := r.in.PublishRequest("coord.v1."+namespace+".lock.get.barrier", reply, []byte("{}")); err != nil {
		return fmt.Errorf("the service's side: %w", err)
	}
	limit := time.NewTimer(barrierPatience)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	}
	if err := r.out.FlushTimeout(time.Minute); err != nil {
		return fmt.Errorf("the clients' side: %w", err)
	}
	return nil
}
