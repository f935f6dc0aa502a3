package service

import (
	"errors"
	"sync"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// joiner turns queued calls into log entries. While some entries are under way, whatever arrives waits and
// becomes the next one: the batch grows with the load and no timer is needed. Keepalives alone wait on purpose,
// so that those of many sessions share an entry, and then go first.
type joiner struct {
	r *reign

	mu       sync.Mutex
	queue    []*call
	beats    []*call   // keepalives
	lastBeat time.Time // when keepalives last left
	entries  int       // under way
	closed   bool

	wake chan struct{}
}

func newJoiner(r *reign) *joiner { return &joiner{r: r, wake: make(chan struct{}, 1)} }

func (j *joiner) put(c *call) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return false
	}
	if c.verb.kind == machine.KindSessionKeepalive {
		j.beats = append(j.beats, c)
	} else {
		j.queue = append(j.queue, c)
	}
	j.kick()
	return true
}

func (j *joiner) kick() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// close ends the joiner and returns the calls that never left.
func (j *joiner) close() []*call {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	left := append(j.beats, j.queue...)
	j.beats, j.queue = nil, nil
	return left
}

// run proposes until the reign is over.
func (j *joiner) run() {
	beat := time.NewTimer(time.Hour)
	defer beat.Stop()
	for {
		select {
		case <-j.r.ctx.Done():
			return
		case <-j.wake:
		case <-beat.C:
		}
		for {
			calls, beatIn := j.next(time.Now())
			if calls == nil {
				beat.Reset(beatIn)
				break
			}
			j.propose(calls)
		}
	}
}

// next takes the calls of the next entry, keepalives first. With nothing to do now it returns nil and the time
// after which to look for keepalives again.
func (j *joiner) next(now time.Time) (calls []*call, beatIn time.Duration) {
	l := &j.r.s.cfg.Limits
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, time.Hour
	}
	beatIn = time.Hour
	if len(j.beats) > 0 {
		// One that comes after a quiet while leaves at once. They don't count against the entries under way.
		beatIn = j.r.s.cfg.Timing.KeepaliveJoin - now.Sub(j.lastBeat)
		if beatIn <= 0 {
			calls, j.beats = take(j.beats, l.EntryCommands, l.EntryBytes)
			if len(j.beats) == 0 {
				j.lastBeat, j.beats = now, nil
			}
			j.entries++
			return calls, 0
		}
	}
	if len(j.queue) == 0 || j.entries >= l.Entries {
		return nil, beatIn
	}
	calls, j.queue = take(j.queue, l.EntryCommands, l.EntryBytes)
	if len(j.queue) == 0 {
		j.queue = nil
	}
	j.entries++
	return calls, 0
}

// propose makes one entry of the calls and hands it to the node.
func (j *joiner) propose(calls []*call) {
	cmds := calls[0].cmds
	if len(calls) > 1 {
		cmds = make([]machine.Command, 0, commandsOf(calls))
		for _, c := range calls {
			cmds = append(cmds, c.cmds...)
		}
	}
	data, err := machine.EncodeCommands(cmds)
	if err != nil {
		j.unencodable(calls, err)
		return
	}
	j.r.s.node.Submit(data, func(res node.Result, err error) { j.done(calls, res, err) })
}

// unencodable answers for commands that can't be written into the log. Checking should have refused them; one
// bad call must not take the others along.
func (j *joiner) unencodable(calls []*call, err error) {
	s := j.r.s
	if len(calls) == 1 {
		j.left()
		s.cfg.Logger.Error("a checked command can't be encoded", "verb", calls[0].verb.name, "error", err)
		calls[0].failed = refuse(coorddv1.CodeInternal, "the command can't be encoded: %s", plainSpaces(err.Error()))
		s.answers.finish(calls[0])
		return
	}
	j.mu.Lock()
	j.entries += len(calls) - 1
	j.mu.Unlock()
	for i := range calls {
		j.propose(calls[i : i+1 : i+1])
	}
}

func commandsOf(calls []*call) (n int) {
	for _, c := range calls {
		n += len(c.cmds)
	}
	return n
}

func (j *joiner) left() {
	j.mu.Lock()
	j.entries--
	j.kick()
	j.mu.Unlock()
}

// done runs on the applier goroutine right after the entry was applied, or elsewhere when it failed. It hands
// on and returns.
func (j *joiner) done(calls []*call, res node.Result, err error) {
	j.left()
	s := j.r.s
	if err != nil {
		s.unproposed(calls, err)
		return
	}
	out := res.Value.(*applied)
	replies := out.Replies
	if want := commandsOf(calls); len(replies) != want {
		s.cfg.Logger.Error("an entry has not as many replies as commands", "index", res.Index, "replies", len(replies), "commands", want)
		for _, c := range calls {
			s.answers.drop(c)
		}
		return
	}
	reads := false
	for _, c := range calls {
		c.index = res.Index
		c.replies, replies = replies[:len(c.cmds):len(c.cmds)], replies[len(c.cmds):]
		reads = reads || c.batch != nil && c.batch.reads()
	}
	if reads {
		v := s.sm.machine.View()
		now := s.now(v.Now())
		for _, c := range calls {
			if c.batch != nil {
				c.view, c.now = v, now
			}
		}
	}
	s.answers.entry(calls, s.sm.takeEvents())
}

// unproposed deals with an entry that was refused or lost. Where this node may still be taken for the leader
// it says what is certain; in doubt it stays silent, and the client asks again.
func (s *Service) unproposed(calls []*call, err error) {
	var e *coorddv1.Error
	switch {
	case errors.Is(err, raft.ErrBusy), errors.Is(err, raft.ErrTransferring):
		e = refuse(coorddv1.CodeBusy, "the leader %s has too much under way", s.cfg.Name)
	case errors.Is(err, raft.ErrTooLarge):
		e = refuse(coorddv1.CodeTooLarge, "the request is too large for the log")
	}
	for _, c := range calls {
		if e == nil || !s.node.Lease() {
			s.answers.drop(c)
			continue
		}
		c.failed = e
		s.answers.finish(c)
	}
}
