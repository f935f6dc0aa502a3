package node

import (
	"errors"
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
)

// loop owns the core and everything that must agree with it. One turn: take all inputs, feed them to the core,
// take one Output, carry it out. A turn waits for nothing.
type loop struct {
	n    *Node
	core *raft.Core
	in   inputs // of this turn

	pending  pipeline.Proposals[func(Result, error)] // proposals that the core has appended
	groups   map[uint64]*readGroup                   // reads that the core has not answered
	lastRead uint64                                  // ID of the last group

	soft        raft.SoftState // as last published
	config      raft.Configuration
	configIndex uint64
	active      raft.Configuration // the last committed one
	activeIndex uint64
	hosts       []raft.Member // of a node that joins
	operated    logPoint      // the last change that an operator asked for
	standby     bool          // this member stands in no election, whatever the configuration says
	applied     uint64        // as last told to the core

	strangers strangers
	leading   leading
	readiness readiness
	disk      diskWatch
	watchdog  watchdog
	handover  time.Duration          // a leader that is to be a standby tries to hand over then
	away      map[raft.MemberID]bool // members that do not answer this leader
	contact   contact
	watches   []func(now time.Duration) (over bool)
	refreshed time.Duration // when Status was last published
	stale     bool          // there was a turn since

	timer   *time.Timer
	armed   time.Duration // what the timer is set to; 0: not set
	scratch []raft.Proposal
	answers []answer // to be given at the end of the turn
	counts  map[Outcome]int
}

// answer is a refusal or a loss; successes are the applier's.
type answer struct {
	done func(Result, error)
	err  error
}

func newLoop(n *Node, from *restored) (*loop, error) {
	core, err := newCore(n, from)
	if err != nil {
		return nil, err
	}
	l := &loop{n: n, core: core, groups: make(map[uint64]*readGroup), counts: make(map[Outcome]int),
		timer: time.NewTimer(0), applied: from.at.Index}
	l.disk.limit = n.cfg.AppendStallLimit
	l.config, l.configIndex = core.Config()
	l.soft.ConfigIndex = l.configIndex
	l.standby = n.cfg.Standby
	n.saysStandby.Store(n.cfg.Standby)
	l.activate()
	return l, nil
}

// run takes turns until the node halts, then answers whatever still waits for the loop.
func (l *loop) run() {
	defer l.timer.Stop()
	for {
		select {
		case <-l.n.halted:
			l.finish()
			return
		case <-l.n.in.ready:
		case <-l.timer.C:
			l.armed = 0
		}
		l.turn()
	}
}

func (l *loop) turn() {
	l.n.in.take(&l.in)
	l.feed()
	now := l.n.clock.now()
	if now >= l.core.NextTick() {
		l.core.Tick(now)
	}
	l.watchDisk(now)
	l.carryOut(now)
	l.watchMembers(now)
	l.giveWay(now)
	l.watchApplied(now)
	l.setTimer(l.n.clock.now())
	l.giveAnswers()
}

// feed gives the core its inputs. Completions come first, since they make room; then control, so that a
// heartbeat is seen before the election timer that it resets.
func (l *loop) feed() {
	in, now := &l.in, l.n.clock.now
	for _, m := range in.seen {
		l.core.Witnessed(m, now())
	}
	l.feedWritten(in.written)
	for _, f := range in.fetched {
		l.core.Fetched(f.to, f.lo, f.entries, now())
	}
	if applied := l.n.apply.applied.Load(); applied > l.applied {
		l.applied = applied
		l.core.ApplyDone(applied)
	}
	for i := range in.control {
		l.step(&in.control[i])
	}
	for i := range in.bulk {
		l.step(&in.bulk[i])
	}
	if len(in.reads) > 0 {
		l.read(in.reads)
	}
	for i := range in.refused {
		l.answer(in.refused[i].done, raft.ErrBusy)
	}
	if len(in.proposals) > 0 {
		l.propose(in.proposals)
	}
	for _, call := range in.calls { // a transfer comes behind the proposals that came before it
		call(now())
	}
	if in.dropped > 0 {
		l.n.cfg.Observer.Dropped(in.dropped)
	}
}

func (l *loop) step(m *raft.Message) {
	now := l.n.clock.now()
	if l.contact.received(l.n.cfg.Observer, m, l.soft.Leader, now) {
		l.n.leaderContact.Store(int64(now))
	}
	if m.Type == raft.MsgHeartbeatResp {
		l.heard(m, now)
	}
	l.core.Step(*m, now)
}

// read asks for one index for all reads that have queued: each of them arrived before the round that will
// prove it is sent.
func (l *loop) read(done []func(uint64, error)) {
	l.ask(&readGroup{done: slices.Clone(done)})
}

func (l *loop) ask(g *readGroup) {
	l.lastRead++
	l.groups[l.lastRead] = g
	l.core.ReadIndex(l.lastRead, l.n.clock.now())
}

// propose hands proposals to the core, which takes all or none. Where it refuses because of their size, the
// halves are tried, so that one that is too large fails alone and what still fits goes in.
func (l *loop) propose(ps []proposal) {
	wall := time.Now().UnixNano()
	l.scratch = l.scratch[:0]
	for i := range ps {
		l.scratch = append(l.scratch, raft.Proposal{Kind: raft.EntryCommand, Wall: wall, Data: ps[i].data})
	}
	first, term, err := l.core.Propose(l.scratch, l.n.clock.now())
	clear(l.scratch)
	switch {
	case err == nil:
		for i := range ps {
			l.pending.Push(pending{Index: first + uint64(i), Term: term, Value: ps[i].done})
		}
		return
	case len(ps) > 1 && (errors.Is(err, raft.ErrBusy) || errors.Is(err, raft.ErrTooLarge)):
		half := len(ps) / 2
		l.propose(ps[:half])
		l.propose(ps[half:])
		return
	case errors.Is(err, raft.ErrNotLeader):
		err = l.n.notLeader()
	case errors.Is(err, raft.ErrTransferring):
		err = errTransferring
	}
	for i := range ps {
		l.answer(ps[i].done, err)
	}
}

// answer notes a failure; the callback runs at the end of the turn, when the output has left.
func (l *loop) answer(done func(Result, error), err error) {
	l.answers = append(l.answers, answer{done, err})
	l.counts[outcomeOf(err)]++
}

func (l *loop) giveAnswers() {
	for i := range l.answers {
		l.answers[i].done(Result{}, l.answers[i].err)
	}
	l.answers = emptied(l.answers)
	for outcome, count := range l.counts {
		l.n.cfg.Observer.Proposals(outcome, count)
		delete(l.counts, outcome)
	}
}

func outcomeOf(err error) Outcome {
	switch {
	case errors.Is(err, raft.ErrLeadershipLost):
		return OutcomeLost
	case errors.Is(err, raft.ErrBusy):
		return OutcomeBusy
	case errors.Is(err, raft.ErrTooLarge):
		return OutcomeTooLarge
	case errors.Is(err, ErrStopped):
		return OutcomeStopped
	}
	return OutcomeNotLeader
}

// carryOut takes one Output and hands each part to whoever does it. What the node says of itself goes first: a
// lease or a leadership that this turn ended must be seen as ended before a message leaves that lets another
// member lead.
func (l *loop) carryOut(now time.Duration) {
	out := l.core.Output()
	l.publishState(&out, now)
	if out.Send = l.startSnapshots(out.Send); len(out.Send) > 0 {
		l.contact.sent(out.Send, now)
		l.n.send(out.Send)
	}
	if out.Append != nil {
		l.disk.handOut(out.Append, now)
		l.n.append.queue.push(pipeline.Item{Batch: *out.Append})
	}
	if out.Restore != nil {
		l.n.apply.queue.push(job{restore: out.Restore})
	}
	if len(out.Apply) > 0 {
		l.n.apply.queue.push(job{entries: out.Apply, waiting: l.pending.Match(out.Apply, l.lose)})
		if out.Apply[len(out.Apply)-1].Index < out.State.Commit {
			wake(l.n.in.ready) // there may be more to apply or to fetch: a replay must not wait for the timer
		}
	}
	l.pending.Lose(&out.State, l.lose)
	for _, r := range out.Reads {
		l.finishRead(r)
	}
	for _, r := range out.Fetch {
		l.n.fetch.queue.push(r)
	}
}

// startSnapshots takes out the messages that need a snapshot to be brought first.
func (l *loop) startSnapshots(ms []raft.Message) []raft.Message {
	return slices.DeleteFunc(ms, func(m raft.Message) bool {
		if m.Type == raft.MsgSnapshot {
			l.n.out.start(m)
		}
		return m.Type == raft.MsgSnapshot
	})
}

// lose tells whoever waits for a proposal that nobody here will learn its outcome.
func (l *loop) lose(done func(Result, error)) { l.answer(done, raft.ErrLeadershipLost) }

func (l *loop) finishRead(r raft.ReadState) {
	g, ok := l.groups[r.ID]
	if !ok {
		return
	}
	delete(l.groups, r.ID)
	if r.Err == nil {
		if g.proof { // nothing has to be applied, nor does the applier have to be free
			l.answerRead(g, nil)
			return
		}
		g.index = r.Index
		l.n.apply.queue.push(job{read: g})
		return
	}
	l.answerRead(g, r.Err)
}

// answerRead answers reads without the applier.
func (l *loop) answerRead(g *readGroup, err error) {
	if errors.Is(err, raft.ErrNotLeader) {
		err = l.n.notLeader()
	}
	l.n.apply.open.Add(-int64(len(g.done)))
	l.answers = append(l.answers, answer{func(_ Result, err error) { g.answer(0, err) }, err})
}

// setTimer arms the timer for the next thing that has a time. A timer that is set too early only costs a turn,
// so it is moved to earlier times alone: most turns leave it as it is.
func (l *loop) setTimer(now time.Duration) {
	next := l.core.NextTick()
	if t, ok := l.disk.next(); ok {
		next = min(next, t)
	}
	if len(l.watches) > 0 || l.readiness.wanted() {
		next = min(next, now+l.n.cfg.ElectionTimeoutMin)
	}
	if l.stale {
		next = min(next, l.refreshed+statusPeriod)
	}
	if l.armed != 0 && l.armed <= next {
		return
	}
	l.armed = max(next, 1)
	l.timer.Reset(max(next-now, 0))
}

// finish answers what waits for the loop when the node ends. What the core was given may have been replicated;
// what it was not given is certainly not done.
func (l *loop) finish() {
	l.n.in.close()
	l.n.in.take(&l.in)
	for _, p := range l.pending.TakeAll() {
		l.answer(p.Value, errAbandoned)
	}
	for _, p := range append(l.in.proposals, l.in.refused...) {
		l.answer(p.done, ErrStopped)
	}
	if len(l.in.reads) > 0 {
		l.answerRead(&readGroup{done: l.in.reads}, ErrStopped)
	}
	for id, g := range l.groups {
		delete(l.groups, id)
		l.answerRead(g, ErrStopped)
	}
	l.publishEnd()
	l.giveAnswers()
}
