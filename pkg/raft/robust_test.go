package raft

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// messages draws anything that a peer may send, from the plausible to the absurd.
func messages(c *Core) *rapid.Generator[Message] {
	return rapid.Custom(func(t *rapid.T) Message {
		near := func(n uint64, name string) uint64 {
			if rapid.IntRange(0, 30).Draw(t, name+" is absurd") == 0 {
				return rapid.Uint64().Draw(t, name)
			}
			return rapid.Uint64Range(n-min(n, 2), max(n, n+2)).Draw(t, name)
		}
		m := Message{
			Type: MessageType(rapid.IntRange(0, int(numMessageTypes)).Draw(t, "type")),
			From: MemberID(rapid.IntRange(0, 6).Draw(t, "from")), To: c.id,
			Term: near(c.hard.Term, "term"), Index: near(c.log.last, "index"),
			Commit: near(c.log.commit, "commit"), Hint: near(c.log.last, "hint"),
			Round: near(c.lead.rounds.last, "round"), Session: near(2, "session"),
			Promise: time.Duration(rapid.Int64().Draw(t, "promise")),
			Reject:  rapid.Bool().Draw(t, "reject"), Transfer: rapid.Bool().Draw(t, "transfer"), Blank: rapid.Bool().Draw(t, "blank"),
		}
		m.LogTerm = near(c.log.term(m.Index), "log term")
		if m.Type == MsgAppend {
			term := max(m.LogTerm, 1)
			for i := range rapid.IntRange(0, 4).Draw(t, "entries") {
				term += rapid.Uint64Range(0, 1).Draw(t, "later term")
				e := Entry{Index: m.Index + uint64(i) + 1, Term: term, Kind: EntryCommand}
				if rapid.IntRange(0, 9).Draw(t, "configuration") == 0 {
					e.Kind = EntryConfig
					e.Data = Configuration{Members: members(rapid.IntRange(1, 5).Draw(t, "size"))}.Encode()
				}
				m.Entries = append(m.Entries, e)
			}
		}
		return m
	})
}

// TestNoMessageMakesItPanic drives a core through all roles with messages of any content, writes that
// finish at any time, and reads, proposals and fetches in between. Its invariants hold after each input.
func TestNoMessageMakesItPanic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		now := time.Hour
		c, err := New(Config{ID: 1, Members: members(3), CheckQuorum: true, Rand: rnd.Uint64N, MaxTailBytes: 400,
			MaxMessageBytes: 300, MaxInflightBytes: 600, MaxApplyBytes: 500, MaxUncommittedBytes: 2000},
			Restored{HardState: HardState{Term: 3, Vote: 1}, First: 1, Last: 3, LastTerm: 2, Tail: entries(1, 1, 2, 2)}, now)
		if err != nil {
			t.Fatal(err)
		}
		var batches []*AppendBatch
		var fetches []FetchRequest
		var disk []Entry
		disk = append(disk, entries(1, 1, 2, 2)...)
		applied, handed := uint64(0), uint64(0)
		commit, stored := uint64(0), uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"message":  func(t *rapid.T) { c.Step(messages(c).Draw(t, "message"), now) },
			"message2": func(t *rapid.T) { c.Step(messages(c).Draw(t, "message"), now) },
			"answer": func(t *rapid.T) { // what makes it win now and then
				typ := map[Role]MessageType{PreCandidate: MsgPreVoteResp, Candidate: MsgVoteResp, Leader: MsgAppendResp}[c.role]
				if typ == 0 {
					return
				}
				m := Message{Type: typ, From: MemberID(rapid.IntRange(2, 3).Draw(t, "from")), To: 1, Term: c.hard.Term}
				if typ == MsgPreVoteResp {
					m.Term++
				}
				if p := c.peer(m.From); p != nil {
					m.Session, m.Index = p.pr.Session, rapid.Uint64Range(0, c.log.last).Draw(t, "acknowledged")
				}
				c.Step(m, now)
			},
			"time": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond
				c.Tick(now)
			},
			"propose": func(t *rapid.T) {
				n := rapid.IntRange(0, 3).Draw(t, "n")
				ps := make([]Proposal, n)
				for i := range ps {
					ps[i] = Proposal{Kind: EntryCommand, Data: make([]byte, rapid.IntRange(0, 200).Draw(t, "bytes"))}
				}
				_, _, _ = c.Propose(ps, now) // refusals are fine
			},
			"change": func(t *rapid.T) {
				_, _ = c.ProposeConfChange(Configuration{Members: members(rapid.IntRange(1, 5).Draw(t, "size"))}, now)
			},
			"transfer": func(t *rapid.T) { _ = c.TransferLeadership(MemberID(rapid.IntRange(0, 4).Draw(t, "to")), now) },
			"read":     func(t *rapid.T) { c.ReadIndex(1, now) },
			"witness": func(t *rapid.T) {
				c.Witnessed(Mark{LastTerm: c.log.lastTerm, Last: c.log.last + rapid.Uint64Range(0, 2).Draw(t, "more")}, now)
			},
			"output": func(t *rapid.T) {
				out := c.Output()
				if out.Append != nil {
					batches = append(batches, out.Append)
				}
				fetches = append(fetches, out.Fetch...)
				for _, e := range out.Apply {
					if e.Index != handed+1 {
						t.Fatalf("index %d handed out after %d", e.Index, handed)
					}
					handed++
				}
				for _, m := range out.Send {
					if m.To == 1 || m.From != 1 || !m.Type.Valid() {
						t.Fatalf("sent %+v", m)
					}
				}
			},
			"write": func(t *rapid.T) {
				if len(batches) == 0 {
					return
				}
				b := batches[0]
				batches = batches[1:]
				if b.TruncateAfter > uint64(len(disk)) || b.TruncateAfter < stored {
					t.Fatalf("batch %+v on %d entries", b, len(disk))
				}
				if b.MustWrite {
					stored = b.HardState.Commit
				}
				disk = append(disk[:b.TruncateAfter:b.TruncateAfter], b.Entries...)
				c.AppendDone(b.Seq, b.LastTerm, b.Last, now)
			},
			"apply": func(t *rapid.T) { applied = handed; c.ApplyDone(applied) },
			"fetch": func(t *rapid.T) {
				if len(fetches) == 0 {
					return
				}
				f := fetches[0]
				fetches = fetches[1:]
				var es []Entry
				for i := f.Lo; i < f.Hi && i <= uint64(len(disk)); i++ {
					es = append(es, disk[i-1])
				}
				c.Fetched(f.To, f.Lo, es, now)
			},
			"": func(t *rapid.T) {
				if c.log.commit < commit {
					t.Fatalf("commit went back from %d to %d", commit, c.log.commit)
				}
				commit = c.log.commit
				if n := c.NextTick(); n <= 0 {
					t.Fatalf("next tick at %v", n)
				}
			},
		})
	})
}

// TestStatesThatCannotBe refuses what storage should never hand over, with a reason.
func TestStatesThatCannotBe(t *testing.T) {
	t.Parallel()
	good := func() (Config, Restored) {
		h := &host{log: entries(1, 1, 2, 2), hard: HardState{Term: 2, Commit: 1}}
		return Config{ID: 1, Members: members(3), Rand: h.draw1}, h.restored(2)
	}
	if cfg, r := good(); true {
		if _, err := New(cfg, r, 0); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(*Config, *Restored){
		"no ID":               func(c *Config, r *Restored) { c.ID = 0 },
		"no randomness":       func(c *Config, r *Restored) { c.Rand = nil },
		"timeouts":            func(c *Config, r *Restored) { c.ElectionTimeoutMin, c.ElectionTimeoutMax = 2, 1 },
		"threshold":           func(c *Config, r *Restored) { c.HeartbeatThreshold = 1 },
		"drift":               func(c *Config, r *Restored) { c.DriftBound = 0.9 },
		"bound":               func(c *Config, r *Restored) { c.MaxTailBytes = -1 },
		"member twice":        func(c *Config, r *Restored) { c.Members = append(members(2), Member{ID: 1}) },
		"no tail":             func(c *Config, r *Restored) { r.Tail = nil },
		"tail with a gap":     func(c *Config, r *Restored) { r.Tail = append(entries(1, 1), entries(3, 2)...) },
		"tail of other terms": func(c *Config, r *Restored) { r.Tail = entries(2, 1, 2) },
		"no runs":             func(c *Config, r *Restored) { r.Runs = nil },
		"runs go back":        func(c *Config, r *Restored) { r.Runs = []TermRun{{1, 3}, {2, 2}} },
		"front missing":       func(c *Config, r *Restored) { r.First = 2 },
		"term behind the log": func(c *Config, r *Restored) { r.HardState.Term = 1 },
		"commit beyond":       func(c *Config, r *Restored) { r.HardState.Commit = 4 },
		"applied beyond":      func(c *Config, r *Restored) { r.Applied = 4 },
		"no configuration":    func(c *Config, r *Restored) { r.Config = &Entry{Index: 2, Kind: EntryConfig, Data: []byte{9}} },
		"empty with a commit": func(c *Config, r *Restored) { *r = Restored{HardState: HardState{Term: 2, Commit: 1}} },
	} {
		cfg, r := good()
		spoil(&cfg, &r)
		if _, err := New(cfg, r, 0); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
