package node

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/coordd/coordd/pkg/raft"
)

// Whatever the configuration is: what a detector may take away leaves three voters, and a majority of those that were set.
func TestMayGoKeepsTheFloor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var c raft.Configuration
		for id := range rapid.IntRange(1, 9).Draw(t, "members") {
			c.Members = append(c.Members, raft.Member{ID: raft.MemberID(id + 1), Learner: rapid.Bool().Draw(t, "learner")})
		}
		voters := len(c.Voters())
		c.SetVoters = uint32(rapid.IntRange(0, 9).Draw(t, "set"))
		id := raft.MemberID(rapid.IntRange(1, 10).Draw(t, "id"))
		m, ok := c.Member(id)
		if !mayGo(&c, id) {
			set := int(c.SetVoters)
			if set == 0 {
				set = voters
			}
			if !ok || m.Learner || (voters > 3 && voters-1 > set/2) {
				t.Fatalf("%d of %+v may not go", id, c)
			}
			return
		}
		next, err := removingFailed(id)(c)
		if !ok || err != nil {
			return
		}
		left := len(next.Voters())
		if !m.Learner && (left < 3 || left < int(next.SetVoters)/2+1) {
			t.Fatalf("%d of %+v may go: %d voters are left", id, c, left)
		}
		if c.SetVoters != 0 && next.SetVoters != c.SetVoters {
			t.Fatalf("what the operator set went from %d to %d", c.SetVoters, next.SetVoters)
		}
		if c.SetVoters == 0 && int(next.SetVoters) != voters {
			t.Fatalf("%d voters were set where there were %d", next.SetVoters, voters)
		}
	})
}

// watched is a cluster whose leaders remove members.
func watched(t *testing.T, size int) (*vaulted, *member) {
	v := newVaulted(t, size)
	v.also = func(cfg *Config) { cfg.FailureDetector = PhiDetector(0) }
	v.start()
	l := v.leader()
	for _, m := range v.running() {
		<-m.Ready()
	}
	return v, l
}

const window = judgingWindow * 75 * time.Millisecond

func TestThreeVotersStay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, l := watched(t, 3)
		defer v.stop()
		time.Sleep(window) // virtual
		v.others(l)[0].kill()
		time.Sleep(time.Minute) // virtual
		v.voters(l, 3)
		var phi float64
		for _, p := range l.Status().Peers {
			phi = max(phi, p.Phi)
		}
		if phi < 16 {
			t.Errorf("φ of the stopped member is %v", phi)
		}
	})
}

func TestNobodyIsJudgedForAWindowAfterAnElection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, l := watched(t, 5)
		defer v.stop()
		begun := time.Now()
		v.others(l)[0].kill()
		for time.Since(begun) < window-time.Second {
			time.Sleep(100 * time.Millisecond) // virtual
			if n := len(l.Status().Active.Members); n != 5 {
				t.Fatalf("%d members %v after the election", n, time.Since(begun))
			}
		}
		v.voters(l, 4)
	})
}

func TestAMemberNeverHeardIsNotRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v, l := watched(t, 5)
		defer v.stop()
		time.Sleep(window) // virtual
		silent := v.others(l)[0]
		silent.kill()
		l.kill() // before it has judged
		l = v.leader()
		time.Sleep(time.Minute) // virtual
		v.voters(l, 5)          // the new leader has heard neither of the two that are gone
	})
}

func TestNobodyIsRemovedWhileTheRestDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 5)
		v.also = func(cfg *Config) { cfg.FailureDetector, cfg.CheckQuorum = PhiDetector(0), false }
		v.start()
		defer v.stop()
		l := v.leader()
		time.Sleep(window) // virtual
		for _, m := range v.others(l)[:3] {
			v.net.Isolate(m.id)
		}
		time.Sleep(time.Minute) // virtual: φ is high for three, and only two are left
		if n := len(l.Status().Active.Members); n != 5 || l.Status().Proposed != nil {
			t.Errorf("%d members, proposed %+v", n, l.Status().Proposed)
		}
	})
}

// A leader that stood still must not hold it against the others.
func TestAGapInTheLeadersOwnLoopIsHeldAgainstNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVaulted(t, 5)
		v.also = func(cfg *Config) {
			cfg.FailureDetector = PhiDetector(0)
			cfg.ElectionTimeoutMin, cfg.HeartbeatThreshold = 400*time.Millisecond, 0.1
		}
		v.start()
		defer v.stop()
		l := v.leader()
		window := judgingWindow * l.heartbeatPeriod()
		time.Sleep(2 * window) // virtual
		f := v.others(l)[0]
		term := l.Status().Term
		var judgeAt time.Duration
		done := make(chan struct{})
		l.in.call(func(now time.Duration) {
			time.Sleep(150 * time.Millisecond) // virtual: the loop stands still, for less than it would take to lose leadership
			close(done)
		})
		<-done
		if err := l.await(v.ctx(), func() bool { judgeAt = l.loop.watchdog.judgeAt; return true }); err != nil {
			t.Fatal(err)
		}
		if now := l.clock.now(); judgeAt < now+window-time.Second || l.Status().Term != term {
			t.Fatalf("the next verdict is due in %v, in term %d", judgeAt-now, l.Status().Term)
		}
		f.kill()
		begun := time.Now()
		v.voters(l, 4)
		if took := time.Since(begun); took < window-time.Second {
			t.Errorf("removed after %v", took)
		}
	})
}
