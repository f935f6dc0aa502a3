package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

var (
	both       = []bool{false, true}
	withFolder = []bool{true}
)

// fill has 16 clients write so many keys in all.
func (c *cluster) fill(id raft.MemberID, count int, value string) {
	c.t.Helper()
	var writers sync.WaitGroup
	for w := range 16 {
		writers.Go(func() {
			for i := w; i < count; i += 16 {
				if r := c.patiently(id, "PUT", fmt.Sprintf("/map/fill/%d", i), value); r.code != http.StatusOK {
					c.t.Errorf("filling: %d %s", r.code, r.body)
					return
				}
			}
		})
	}
	writers.Wait()
}

func TestEachMemberServesTheMap(t *testing.T) {
	variants(t, both, func(t *testing.T, c *cluster) {
		for i, m := range c.static { // at the leader, and by way of a redirect
			key, value := fmt.Sprintf("dir/%d", i), strings.Repeat("x", i+1)
			if o := c.write(m.ID, "PUT", "/map/"+key, value); o.Existed || o.Index == 0 {
				t.Errorf("first write: %+v", o)
			}
			c.everywhere(key, value)
		}
		if o := c.write(1, "DELETE", "/map/dir/1", ""); !o.Existed {
			t.Errorf("delete: %+v", o)
		}
		for id := range c.running {
			if r := c.patiently(id, "GET", "/map/dir/1", ""); r.code != http.StatusNotFound {
				t.Errorf("a deleted key on node %d: %d %q", id, r.code, r.body)
			}
		}
		leader := c.leader()
		for _, read := range []string{"lease", "stale"} {
			r := c.send(leader, "GET", "/map/dir/2?read="+read, "")
			if r.code != http.StatusOK || r.body != "xxx" {
				t.Errorf("read=%s on the leader: %d %q", read, r.code, r.body)
			}
		}
		r := c.send(c.follower(), "GET", "/map/dir/2?read=stale", "")
		if age, err := time.ParseDuration(r.header.Get("Older-By")); err != nil || age < 0 || age > limit || r.header.Get("Index") == "" {
			t.Errorf("a stale read does not say how old it may be: %v", r.header)
		}
		for name, r := range map[string]reply{
			"no sequence":        c.patiently(1, "PUT", "/map/a", "v", "Client", "x"),
			"sequence no number": c.patiently(1, "PUT", "/map/a", "v", "Client", "x", "Sequence", "-1"),
			"too large":          c.patiently(1, "PUT", "/map/a", strings.Repeat("x", maxValueBytes+1)),
			"no such member":     c.patiently(1, "DELETE", "/members/99", ""),
			"no member's ID":     c.patiently(1, "DELETE", "/members/x", ""),
			"no such read":       c.patiently(1, "GET", "/map/dir/2?read=maybe", ""),
			"no such path":       c.patiently(1, "GET", "/other", ""),
		} {
			if r.code < 400 || r.code >= 500 {
				t.Errorf("%s: %d %s", name, r.code, r.body)
			}
		}
	})
}

// A follower says where the leader is and keeps path and query.
func TestARedirectIsFollowed(t *testing.T) {
	variants(t, []bool{false}, func(t *testing.T, c *cluster) {
		leader, follower := c.leader(), c.follower()
		c.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		r := c.send(follower, "PUT", "/map/a%2Fb?x=1", "v")
		if want := c.running[leader].url + "/map/a%2Fb?x=1"; r.code != http.StatusTemporaryRedirect || r.header.Get("Location") != want {
			t.Fatalf("%d to %q, want %q", r.code, r.header.Get("Location"), want)
		}
		if r := c.patiently(follower, "GET", "/map/a", ""); r.code != http.StatusNotFound {
			t.Errorf("a read was sent elsewhere: %d %v", r.code, r.header)
		}
		c.client.CheckRedirect = nil
		c.write(follower, "PUT", "/map/a%2Fb?x=1", "v")
		c.everywhere("a%2Fb", "v")
	})
}

func TestADuplicateWriteIsExecutedOnce(t *testing.T) {
	variants(t, both, func(t *testing.T, c *cluster) {
		write := func(id raft.MemberID, value, sequence string) reply {
			return c.patiently(id, "PUT", "/map/k", value, "Client", "me", "Sequence", sequence)
		}
		first := write(1, "a", "1")
		c.write(2, "PUT", "/map/k", "b")
		if again := write(3, "a", "1"); again.code != http.StatusOK || again.body != first.body {
			t.Errorf("the repeat: %d %s, first %s", again.code, again.body, first.body)
		}
		c.everywhere("k", "b")
		// Another leader knows it too, and what a snapshot restored.
		old := c.leader()
		c.want(old, "POST", "/resign", "")
		c.await("another leader", func() bool { return c.leader() != old })
		c.want(1, "POST", "/snapshot", "")
		if again := write(1, "a", "1"); again.body != first.body {
			t.Errorf("the repeat to another leader: %s, first %s", again.body, first.body)
		}
		if c.folder != "" {
			for _, m := range c.static {
				c.stop(m.ID)
			}
			c.startAll()
			if again := write(1, "a", "1"); again.body != first.body {
				t.Errorf("the repeat after a restart: %s, first %s", again.body, first.body)
			}
		}
		c.everywhere("k", "b")
		if r := write(2, "c", "2"); r.code != http.StatusOK {
			t.Errorf("the next one: %d %s", r.code, r.body)
		}
		if r := write(2, "a", "1"); r.code != http.StatusConflict {
			t.Errorf("one from before: %d %s", r.code, r.body)
		}
		c.everywhere("k", "c")
	})
}

func TestMembersTellHowFarTheyAre(t *testing.T) {
	variants(t, []bool{false}, func(t *testing.T, c *cluster) {
		c.write(1, "PUT", "/map/a", "v")
		c.everywhere("a", "v")
		leader := c.leader()
		gone := c.follower()
		list := func() map[raft.MemberID]memberInfo {
			var all []memberInfo
			if err := json.Unmarshal([]byte(c.want(leader, "GET", "/members", "")), &all); err != nil {
				t.Fatal(err)
			}
			by := map[raft.MemberID]memberInfo{}
			for _, m := range all {
				by[m.ID] = m
			}
			return by
		}
		for id, m := range list() {
			if m.HTTP != c.running[id].url || m.Leader != (id == leader) || m.Keys != 1 || m.Applied == 0 || m.Error != "" {
				t.Errorf("%+v", m)
			}
		}
		c.kill(gone)
		if m := list()[gone]; m.Error == "" {
			t.Errorf("one that is down: %+v", m)
		}
		c.want(leader, "DELETE", fmt.Sprintf("/members/%d", gone), "")
		if _, is := list()[gone]; is {
			t.Error("a removed member is listed")
		}
		c.want(leader, "POST", "/resign", "")
		c.await("another leader", func() bool { return c.leader() != leader })
	})
}

// Without a majority nothing is promised: neither writes nor linearizable reads, only stale ones.
func TestOneOfThreeServesStaleReadsAlone(t *testing.T) {
	variants(t, []bool{false}, func(t *testing.T, c *cluster) {
		c.write(1, "PUT", "/map/a", "v")
		c.everywhere("a", "v")
		c.kill(1)
		c.kill(2)
		c.await("loss of the leader", func() bool { return c.running[3].node.Status().Leader == 0 })
		for _, method := range []string{"GET", "PUT"} {
			start := time.Now()
			r := c.send(3, method, "/map/a", "w")
			if r.code != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
				t.Errorf("%s after %v: %d %s", method, time.Since(start), r.code, r.body)
			}
		}
		if r := c.send(3, "GET", "/map/a?read=stale", ""); r.code != http.StatusOK || r.body != "v" {
			t.Errorf("stale read: %d %q", r.code, r.body)
		}
	})
}
