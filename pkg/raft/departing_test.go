package raft

import (
	"testing"
	"time"
)

// TestWhoIsLeavingStandsUntilThatIsCommitted: a leader wrote its own removal, or demotion, into its log alone and
// crashed. Nobody else's log is as new as its own, and the others still need its vote: it has to stand again, without
// counting itself (dissertation, section 4.2.2, figure 4.6).
func TestWhoIsLeavingStandsUntilThatIsCommitted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Configuration){
		"removed": func(c *Configuration) { c.Members = c.Members[1:] },
		"demoted": func(c *Configuration) { c.Members[0].Learner = true },
		"standby": func(c *Configuration) { c.Members[0].Standby = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nw := newNetwork(t, 2)
			l := nw.elect(1)
			conf, _ := l.c.Config()
			change(&conf)
			nw.isolate(1)
			index, err := l.c.ProposeConfChange(conf, nw.now)
			if err != nil {
				t.Fatal(err)
			}
			nw.settle()
			nw.crash(1)
			nw.start(nw.host(1))
			nw.heal()
			if !nw.passUntil(5*time.Second, func() bool { return nw.core(2).log.commit >= index }) {
				t.Fatalf("nobody commits the change: %+v, %+v", nw.core(1).Status(), nw.core(2).Status())
			}
			nw.pass(2 * time.Second)
			if nw.core(1).eligible() {
				t.Fatal("it may still stand though the change is committed")
			}
		})
	}
}
