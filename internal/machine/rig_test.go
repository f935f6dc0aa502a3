package machine

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// rig feeds a machine as a log does, and looks after each entry for what must never happen: an
// inconsistent state, a fence that doesn't grow, a gap in a session's events.
type rig struct {
	t     tb
	m     *Machine
	index uint64
	term  uint64
	now   time.Duration // cluster time
	fence uint64        // highest ever granted
	told  map[uint64]uint64
	// last is what the last entry did.
	last Result
}

// tb is what testing.T and rapid.T have in common, as far as it is needed here.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

const electionTimeout = 300 * time.Millisecond

// newRig returns a rig in term 1 that is serving, at 1 s of cluster time, with domain 7.
func newRig(t tb) *rig {
	r := &rig{t: t, m: New(), now: time.Second, told: map[uint64]uint64{}}
	r.elect()
	r.apply(Command{Kind: KindInit, Init: &Init{Domain: 7}})
	r.serve()
	return r
}

// entry applies one entry, a no-op if there are no commands.
func (r *rig) entry(cs ...Command) Result {
	r.t.Helper()
	e := Entry{Index: r.index + 1, Term: r.term, Time: int64(r.now)}
	if len(cs) > 0 {
		data, err := EncodeCommandsAs(CommandVersion, cs)
		if err != nil {
			r.t.Fatal(err)
		}
		e.Command, e.Data = true, data
	}
	r.last = r.m.Apply(e)
	if r.last.Err != nil {
		r.t.Fatal(r.last.Err)
	}
	r.index++
	r.verify()
	return r.last
}

func (r *rig) verify() {
	r.t.Helper()
	if err := r.m.check(); err != nil {
		r.t.Fatalf("after entry %d: %v", r.index, err)
	}
	for _, ev := range r.last.Events {
		if ev.Seq != r.told[ev.Session]+1 {
			r.t.Fatalf("event %d of session %d comes after %d", ev.Seq, ev.Session, r.told[ev.Session])
		}
		r.told[ev.Session] = ev.Seq
	}
	if f := r.m.Live().Fence(); f < r.fence {
		r.t.Fatalf("fence counter went from %d to %d", r.fence, f)
	} else {
		r.fence = f
	}
	if now := r.m.Live().Now(); now != int64(r.now) {
		r.t.Fatalf("machine's time %d, entry's %d", now, r.now)
	}
}

// apply applies one entry with one command and returns its reply.
func (r *rig) apply(c Command) Reply {
	r.t.Helper()
	return r.entry(c).Replies[0]
}

func (r *rig) elect() { r.t.Helper(); r.term++; r.entry() }

func (r *rig) serve() {
	r.t.Helper()
	r.want(r.apply(Command{Kind: KindServing, Serving: &Serving{ElectionTimeout: int64(electionTimeout)}}), OK)
}

func (r *rig) tick() Result { r.t.Helper(); return r.entry(Command{Kind: KindTick}) }

// pass lets time go on without an entry.
func (r *rig) pass(d time.Duration) *rig { r.now += d; return r }

func (r *rig) want(got Reply, code Code) Reply {
	r.t.Helper()
	if got.Code != code {
		r.t.Fatalf("reply %s, want %s (%+v)", got.Code, code, got.Detail)
	}
	if got.Code != OK && got.Detail == nil {
		r.t.Fatalf("%s without detail", got.Code)
	}
	return got
}

func secretOf(who string) (h SecretHash) {
	sum := sha256.Sum256([]byte(who))
	copy(h[:], sum[:])
	return h
}

// peer is one client with one session.
type peer struct {
	r          *rig
	owner      string
	id         uint64
	generation uint64
	seq        uint64 // last used
	ack        uint64 // 0: same as seq
	events     uint64 // events seen
}

func (r *rig) open(owner string, ttl time.Duration) *peer {
	r.t.Helper()
	got := r.want(r.apply(openCommand(owner, ttl, "")), OK)
	return &peer{r: r, owner: owner, id: got.Session.ID}
}

func openCommand(owner string, ttl time.Duration, nonce string) Command {
	c := Command{Kind: KindSessionOpen, Namespace: "ns", Secret: secretOf(owner), Open: &Open{TTL: int64(ttl), Owner: owner}}
	if nonce != "" {
		c.Open.Nonce = []byte(nonce)
	}
	return c
}

// fill sets the envelope of the next request.
func (p *peer) fill(c Command) Command {
	p.seq++
	return p.again(p.seq, c)
}

// again sets the envelope of a request with a given seq.
func (p *peer) again(seq uint64, c Command) Command {
	c.Namespace, c.Session, c.Secret, c.Generation = "ns", p.id, secretOf(p.owner), p.generation
	c.Seq, c.Ack, c.EventsSeen = seq, p.ack, p.events
	return c
}

func acquireCommand(name string, wait time.Duration) Command {
	return Command{Kind: KindLockAcquire, Name: name, Acquire: &Acquire{Mode: Exclusive, Wait: int64(wait)}}
}

func cancelCommand(name string, ticket uint64) Command {
	return Command{Kind: KindLockCancel, Name: name, Cancel: &Cancel{Ticket: ticket}}
}

func releaseCommand(name string, fence uint64) Command {
	return Command{Kind: KindLockRelease, Name: name, Release: &Release{Fence: fence}}
}

func forceCommand(name string, fence uint64, now bool) Command {
	return Command{Kind: KindLockForceRelease, Namespace: "ns", Name: name, Force: &Force{Fence: fence, Reason: "ticket 4711", Now: now}}
}

const noLimit = time.Duration(NoWaitLimit)

func (p *peer) do(c Command) Reply { p.r.t.Helper(); return p.r.apply(p.fill(c)) }

// lock acquires a free lock.
func (p *peer) lock(name string) uint64 {
	p.r.t.Helper()
	got := p.r.want(p.do(acquireCommand(name, 0)), OK)
	if got.Lock.State != StateGranted {
		p.r.t.Fatalf("state %d, want granted", got.Lock.State)
	}
	return got.Lock.Fence
}

// queue waits for a held lock and returns the ticket.
func (p *peer) queue(name string, wait time.Duration) uint64 {
	p.r.t.Helper()
	got := p.r.want(p.do(acquireCommand(name, wait)), OK)
	if got.Lock.State != StateQueued {
		p.r.t.Fatalf("state %d, want queued", got.Lock.State)
	}
	return p.seq
}

func (p *peer) release(name string, fence uint64) {
	p.r.t.Helper()
	p.r.want(p.do(releaseCommand(name, fence)), OK)
}

func (p *peer) keepaliveCommand() Command {
	c := p.again(0, Command{Kind: KindSessionKeepalive})
	return c
}

func (p *peer) keepalive() SessionReply {
	p.r.t.Helper()
	return *p.r.want(p.r.apply(p.keepaliveCommand()), OK).Session
}

// holder returns session and fence of the hold of a lock; 0 if it is free.
func (r *rig) holder(name string) (session, fence uint64) {
	r.t.Helper()
	l, held := r.m.Live().Lock("ns", name)
	if !held {
		return 0, 0
	}
	if len(l.Holders) != 1 {
		r.t.Fatalf("%d holders", len(l.Holders))
	}
	return l.Holders[0].Session, l.Holders[0].Fence
}

func (r *rig) wantHolder(name string, p *peer) uint64 {
	r.t.Helper()
	id := uint64(0)
	if p != nil {
		id = p.id
	}
	got, fence := r.holder(name)
	if got != id {
		r.t.Fatalf("%s is held by session %d, want %d", name, got, id)
	}
	return fence
}

// wantEvents compares what the last entry told.
func (r *rig) wantEvents(want ...string) {
	r.t.Helper()
	kinds := map[EventKind]string{EventGranted: "granted", EventLost: "lost", EventTimedOut: "timed-out", EventSessionExpired: "expired"}
	var got []string
	for _, e := range r.last.Events {
		got = append(got, fmt.Sprintf("%d:%s:%s", e.Session, kinds[e.Kind], e.Name))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Fatalf("events %v, want %v", got, want)
	}
}
