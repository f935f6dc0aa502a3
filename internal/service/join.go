package service

import (
	"errors"
	"sync"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
	"github.com/coordd/coordd/internal/service/decide"
	"github.com/coordd/coordd/pkg/raft/node"
)

// joiner proposes queued calls; what goes into which entry is for decide.Joiner to say.
type joiner struct {
	r *reign

	mu sync.Mutex
	j  decide.Joiner[*call]

	wake chan struct{}
}

func newJoiner(r *reign) *joiner { return &joiner{r: r, wake: make(chan struct{}, 1)} }

func (j *joiner) put(c *call) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.j.Put(c, c.beat) {
		return false
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
	return j.j.Close()
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
			calls, again := j.next()
			if calls == nil {
				beat.Reset(again)
				break
			}
			j.propose(calls)
		}
	}
}

func (j *joiner) next() ([]*call, time.Duration) {
	s := j.r.s
	l := &s.cfg.Limits
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.j.Next(time.Since(s.started), decide.Bounds{Commands: l.EntryCommands, Bytes: l.EntryBytes, Entries: l.Entries, Join: s.cfg.Timing.KeepaliveJoin})
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
	data, err := machine.EncodeCommandsAs(j.r.s.node.ClusterVersion(), cmds)
	if err != nil {
		j.unencodable(calls, err)
		return
	}
	j.r.s.node.Submit(data, func(res node.Result, err error) { j.done(calls, res, err) })
}

// unencodable answers for commands that can't be written into the log: in a rolling upgrade, those that a member does not
// know yet. All others checking should have refused. One such call must not take the others along.
func (j *joiner) unencodable(calls []*call, err error) {
	s := j.r.s
	if len(calls) == 1 {
		j.left()
		if errors.Is(err, machine.ErrVersion) {
			if !s.node.Lease() { // in doubt: the true leader's answer must win
				s.answers.drop(calls[0])
				return
			}
			calls[0].failed = refuse(coorddv1.CodeBusy, "%s waits until all members of the cluster are upgraded", calls[0].verb.name)
			s.answers.finish(calls[0])
			return
		}
		s.cfg.Logger.Error("a checked command can't be encoded", "verb", calls[0].verb.name, "error", err)
		calls[0].failed = refuse(coorddv1.CodeInternal, "the command can't be encoded: %s", plainSpaces(err.Error()))
		s.answers.finish(calls[0])
		return
	}
	j.mu.Lock()
	j.j.Split(len(calls))
	j.mu.Unlock()
	for i := range calls {
		j.propose(calls[i : i+1 : i+1])
	}
}

func commandsOf(calls []*call) (n int) {
	for _, c := range calls {
		n += c.Commands()
	}
	return n
}

func (j *joiner) left() {
	j.mu.Lock()
	j.j.Left()
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
	switch decide.Refuse(err, s.node.Lease()) {
	case decide.Busy:
		e = refuse(coorddv1.CodeBusy, "the leader %s has too much under way", s.cfg.Name)
	case decide.TooLarge:
		e = refuse(coorddv1.CodeTooLarge, "the request is too large for the log")
	}
	for _, c := range calls {
		if e == nil {
			s.answers.drop(c)
			continue
		}
		c.failed = e
		s.answers.finish(c)
	}
}
