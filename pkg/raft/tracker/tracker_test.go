package tracker

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestInflightAgainstList compares the ring with a plain list.
func TestInflightAgainstList(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var f Inflight
		var list []flight
		last := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				last += rapid.Uint64Range(1, 5).Draw(t, "step")
				n := rapid.IntRange(1, 100).Draw(t, "bytes")
				f.Add(last, n)
				list = append(list, flight{last, n})
			},
			"free": func(t *rapid.T) {
				to := rapid.Uint64Range(0, last+1).Draw(t, "to")
				f.FreeTo(to)
				for len(list) > 0 && list[0].last <= to {
					list = list[1:]
				}
			},
			"reset": func(*rapid.T) {
				f.Reset()
				list = nil
			},
			"": func(t *rapid.T) {
				sum := 0
				for _, x := range list {
					sum += x.bytes
				}
				if f.Bytes() != sum || f.Len() != len(list) {
					t.Fatalf("%d messages of %d bytes, want %d of %d", f.Len(), f.Bytes(), len(list), sum)
				}
			},
		})
	})
}

// TestProgressStaysValid drives a progress with whatever a network may do to it.
func TestProgressStaysValid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const bound = 1000
		var p Progress
		p.Reset(rapid.Uint64Range(0, 20).Draw(t, "last"), 1, time.Second)
		top := p.Next + 100
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				if !p.CanSend(bound) {
					return
				}
				last := rapid.Uint64Range(p.Next-1, min(p.Next+5, top)).Draw(t, "sent")
				if last+1 < p.Next {
					return
				}
				p.Sent(last, int(last+1-p.Next)*50)
			},
			"ack": func(t *rapid.T) {
				before := p.Match
				index := rapid.Uint64Range(0, top).Draw(t, "index")
				if p.Acked(index) != (index > before) || p.Match != max(before, index) {
					t.Fatalf("acknowledgement of %d moved match from %d to %d", index, before, p.Match)
				}
			},
			"probe":     func(t *rapid.T) { p.ToProbe(rapid.Uint64Range(0, top).Draw(t, "next")) },
			"lower":     func(t *rapid.T) { p.Lowered(rapid.Uint64Range(0, top).Draw(t, "index"), p.Session+1) },
			"doubt":     func(*rapid.T) { p.Doubted(p.Session + 1) },
			"heartbeat": func(*rapid.T) { p.HeartbeatAnswered() },
			"": func(t *rapid.T) {
				if err := p.Valid(); err != nil {
					t.Fatal(err)
				}
				if p.Inflight.Bytes() > bound+300 {
					t.Fatalf("%d bytes in flight", p.Inflight.Bytes())
				}
			},
		})
	})
}

// TestProbeSendsOne waits for an answer, or for a heartbeat's, before the next append.
func TestProbeSendsOne(t *testing.T) {
	t.Parallel()
	var p Progress
	p.Reset(10, 1, 0)
	if !p.CanSend(100) {
		t.Fatal("a fresh probe may not send")
	}
	p.Sent(10, 0)
	if p.CanSend(100) || p.Next != 11 {
		t.Fatalf("a second probe may leave, or next moved to %d", p.Next)
	}
	p.HeartbeatAnswered()
	if !p.CanSend(100) {
		t.Fatal("a heartbeat's answer does not allow another probe")
	}
	p.Acked(10)
	if p.State != Replicate || p.Match != 10 || p.Next != 11 {
		t.Fatalf("after the answer: %v, match %d, next %d", p.State, p.Match, p.Next)
	}
}

// TestLossIsNoticed asks the peer after two answered heartbeats without an acknowledgement.
func TestLossIsNoticed(t *testing.T) {
	t.Parallel()
	var p Progress
	p.Reset(0, 1, 0)
	p.Acked(0)
	p.Sent(5, 100)
	if p.HeartbeatAnswered() {
		t.Fatal("taken as lost after one heartbeat")
	}
	if !p.HeartbeatAnswered() {
		t.Fatal("not taken as lost after two heartbeats")
	}
	p.Acked(5)
	for range 3 {
		if p.HeartbeatAnswered() {
			t.Fatal("taken as lost with nothing on its way")
		}
	}
}
