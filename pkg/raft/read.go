package raft

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft/quorum"
)

// readRequest is one read that waits for proof of leadership: a local one (from 0, id as given to
// ReadIndex) or a follower's request (id is its number).
type readRequest struct {
	from MemberID
	id   uint64
}

// joinedReads are reads that wait for one round, with the commit index at which they joined it.
type joinedReads struct {
	round uint64
	index uint64
	reqs  []readRequest
}

// reads holds what waits, as leader and as follower.
type reads struct {
	waiting []readRequest // leader: for the next round
	joined  []joinedReads // leader: for an answer of a majority, ascending by round

	unsent    []uint64 // follower: for the next request
	forwarded []uint64 // follower: for the answer to request
	request   uint64
	resendAt  time.Duration
	// nextRequest begins at random, so that an answer to an earlier life of this process fits no request.
	nextRequest uint64
}

// ReadIndex asks for an index that covers everything that was committed before this call, anywhere. The
// answer, with the same id, comes in Output.Reads: the read may be answered once that index is applied.
// A leader that has not committed an entry of its term yet lets the read wait.
func (c *Core) ReadIndex(id uint64, now time.Duration) {
	c.advance(now)
	defer c.settle()
	switch {
	case c.role == Leader:
		c.reads.waiting = append(c.reads.waiting, readRequest{id: id})
	case c.leader != 0:
		c.reads.unsent = append(c.reads.unsent, id)
	default:
		c.answers = append(c.answers, ReadState{ID: id, Err: ErrNotLeader})
	}
}

// onReadIndex takes a follower's request. A follower has one at a time, so only its latest matters.
func onReadIndex(c *Core, p *peer, m *Message) {
	if p.request.id == m.Round && p.request.from != 0 {
		return // a repeat of one that waits
	}
	p.pr.Answered(c.now)
	p.request = readRequest{from: p.id, id: m.Round}
	c.reads.waiting = append(c.reads.waiting, p.request)
}

func refuseReadIndex(c *Core, p *peer, m *Message) { c.refuse(m, MsgReadIndexResp) }

// joinReads begins a round for the reads that wait, unless one for earlier reads is still under way: those
// that arrive meanwhile share the next.
func (c *Core) joinReads() {
	if len(c.reads.waiting) > 0 && len(c.reads.joined) == 0 && c.readable() {
		if canary.Broken(canary.ReadJoinsLaterRound) {
			c.join(c.lead.rounds.last)
		}
		c.startRound()
	}
}

// readable reports whether what this leader has as committed is all that ever was (dissertation, section 6.4).
func (c *Core) readable() bool { return c.ready() || canary.Broken(canary.ReadAfterTermStart) }

// join lets the reads that wait take part in a round that is about to be sent: it begins after they
// arrived, and their index is what is committed now (dissertation, section 6.4).
func (c *Core) join(round uint64) {
	if len(c.reads.waiting) == 0 || !c.readable() {
		return
	}
	c.reads.joined = append(c.reads.joined, joinedReads{round: round, index: c.log.commit, reqs: c.reads.waiting})
	c.reads.waiting = nil
}

// finishReads answers the reads whose round a majority has acknowledged.
func (c *Core) finishReads() {
	if len(c.reads.joined) == 0 {
		return
	}
	acked := c.lead.scratch[:0]
	if c.current().conf.isVoter(c.id) {
		acked = append(acked, c.lead.rounds.last)
	}
	for _, p := range c.peers {
		if p.voter {
			acked = append(acked, p.pr.Round)
		}
	}
	c.lead.scratch = acked
	proved := quorum.Reached(acked)
	if canary.Broken(canary.ReadNeedsRound) {
		proved = c.lead.rounds.last
	}
	n := 0
	for n < len(c.reads.joined) && c.reads.joined[n].round <= proved {
		c.answerReads(&c.reads.joined[n])
		n++
	}
	if c.reads.joined = c.reads.joined[n:]; len(c.reads.joined) == 0 {
		c.reads.joined = nil
	}
}

func (c *Core) answerReads(j *joinedReads) {
	for _, r := range j.reqs {
		if r.from == 0 {
			c.answers = append(c.answers, ReadState{ID: r.id, Index: j.index})
			continue
		}
		c.send = append(c.send, Message{Type: MsgReadIndexResp, From: c.id, To: r.from, Term: c.hard.Term, Round: r.id, Index: j.index})
		if p := c.peer(r.from); p != nil {
			if p.request == r {
				p.request = readRequest{}
			}
			p.tellSoon = true // it has to apply up to the index before it can answer
		}
	}
}

// failReads ends all reads of a leader that leads no more.
func (c *Core) failReads() {
	fail := func(reqs []readRequest) {
		for _, r := range reqs {
			if r.from == 0 {
				c.answers = append(c.answers, ReadState{ID: r.id, Err: ErrLeadershipLost})
				continue
			}
			c.send = append(c.send, Message{Type: MsgReadIndexResp, From: c.id, To: r.from, Term: c.hard.Term, Round: r.id, Reject: true})
		}
	}
	for i := range c.reads.joined {
		fail(c.reads.joined[i].reqs)
	}
	fail(c.reads.waiting)
	c.reads.joined, c.reads.waiting = nil, nil
}

// forwardReads sends a follower's reads to the leader, one request at a time: reads that arrive while it is
// under way share the next, because its answer may be older than they are.
func (c *Core) forwardReads() {
	if len(c.reads.unsent) == 0 || len(c.reads.forwarded) > 0 || c.leader == 0 {
		return
	}
	c.reads.forwarded, c.reads.unsent = c.reads.unsent, nil
	c.reads.nextRequest++
	c.reads.request = c.reads.nextRequest
	c.sendForwarded()
}

func (c *Core) sendForwarded() {
	c.reads.resendAt = c.now + c.cfg.heartbeatPeriod()
	c.send = append(c.send, Message{Type: MsgReadIndex, From: c.id, To: c.leader, Term: c.hard.Term, Round: c.reads.request})
}

// tickForwarded repeats a request that was not answered: it, or its answer, may be lost.
func (c *Core) tickForwarded() {
	if len(c.reads.forwarded) > 0 && c.leader != 0 && c.now >= c.reads.resendAt {
		c.sendForwarded()
	}
}

func onReadIndexResp(c *Core, p *peer, m *Message) {
	if m.From != c.leader || len(c.reads.forwarded) == 0 || m.Round != c.reads.request {
		c.Stats.Unexpected++
		return
	}
	if m.Reject {
		c.endForwarded(ErrNotLeader)
		return
	}
	for _, id := range c.reads.forwarded {
		c.answers = append(c.answers, ReadState{ID: id, Index: m.Index})
	}
	c.reads.forwarded = nil
}

// endForwarded fails the reads whose request is under way.
func (c *Core) endForwarded(err error) {
	for _, id := range c.reads.forwarded {
		c.answers = append(c.answers, ReadState{ID: id, Err: err})
	}
	c.reads.forwarded = nil
}

// failForwarded fails all of a follower's reads: their leader is gone.
func (c *Core) failForwarded(err error) {
	c.endForwarded(err)
	for _, id := range c.reads.unsent {
		c.answers = append(c.answers, ReadState{ID: id, Err: err})
	}
	c.reads.unsent = nil
}
