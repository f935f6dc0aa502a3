package machine

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// replyModel is what a session's replies promise, in its simplest form: a reply is kept from its seq's execution until
// the client acknowledges it, and at most Window seqs are open.
type replyModel struct {
	generation uint64
	floor      uint64
	replies    map[uint64]keptReply
	next       int64 // of the sequence that the requests draw from
}

type keptReply struct {
	count int64 // what was asked for
	reply Reply
}

// expect says how a request for count numbers must end. With OK it is the stored reply, or, if that is nil, the execution.
func (m *replyModel) expect(generation, seq, ack uint64, count int64) (Code, *Reply) {
	switch {
	case generation != m.generation:
		return CodeSessionExpired, nil
	case seq == 0:
		return CodeBadRequest, nil
	}
	if ack == 0 {
		ack = seq
	}
	m.floor = max(m.floor, ack)
	for old := range m.replies {
		if old < m.floor {
			delete(m.replies, old)
		}
	}
	if seq < m.floor {
		return CodeRequestStale, nil
	}
	if kept, ok := m.replies[seq]; ok {
		if kept.count != count {
			return CodeRequestReused, nil
		}
		return OK, &kept.reply
	}
	if seq-m.floor >= Window {
		return CodeWindowFull, nil
	}
	return OK, nil
}

// FuzzReplies sends requests of one session: repeated, out of order, acknowledged early and late, beyond the window, of
// processes that lost the session to another one, to a machine that goes through snapshots. Four bytes are one request.
func FuzzReplies(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 1, 0, 2, 0})
	f.Add([]byte{0, 200, 1, 0, 0, 201, 1, 0, 2, 200, 1, 0, 3, 0, 0, 0, 0, 1, 0, 0})
	f.Add([]byte{0, 255, 5, 0, 0, 254, 5, 0, 0, 253, 6, 0, 0, 252, 6, 0, 4, 1, 0, 0, 0, 1, 0, 9, 0, 1, 3, 0})
	// A generation that is not yet; a resume, and a repeat of it; what the process before it sends; a repeat over it.
	f.Add([]byte{0, 0, 0, 31, 0, 0, 0, 0, 15, 1, 0, 0, 0, 1, 1, 30, 0, 1, 0, 0, 0, 1, 1, 0, 14, 0, 0, 0, 0, 1, 1, 30, 15, 0, 0, 0, 0, 1, 1, 0})
	// What was acknowledged is asked for again, then below the floor what was never used.
	f.Add([]byte{0, 0, 7, 0, 0, 0, 7, 0, 0, 1, 1, 0, 0, 2, 1, 0, 0, 3, 0, 0, 0, 0, 15, 0, 0, 1, 0, 0, 1, 70, 1, 0, 0, 5, 1, 0})
	// The window's last place and the first one beyond it, before and after an acknowledgment moves it, and the same again.
	f.Add([]byte{0, 247, 5, 0, 0, 248, 5, 0, 1, 247, 5, 0, 0, 255, 6, 0, 0, 246, 1, 0, 0, 247, 5, 0, 0, 248, 5, 0, 14, 0, 0, 0, 0, 255, 5, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		r := newRig(t)
		p := r.open("a", time.Duration(MaxTTL))
		got := r.want(p.do(createCommand("s", SeqCreate{})), OK)
		m := &replyModel{floor: 1, replies: map[uint64]keptReply{}, next: got.Seq.Next}
		last := p.seq
		m.replies[last] = keptReply{} // of another command than all that follow
		for ; len(script) >= 4; script = script[4:] {
			kind, where, acked, generation := script[0]%16, uint64(script[1]), uint64(script[2]), script[3]
			switch kind {
			case 15:
				p.ack = 0
				resumed := p.again(0, Command{Kind: KindSessionResume, Resume: &Resume{Nonce: fmt.Append(nil, r.index)}})
				m.generation++
				if got := r.want(r.apply(resumed), OK); got.Session.Generation != m.generation {
					t.Fatalf("generation %d, want %d", got.Session.Generation, m.generation)
				}
				if where%2 == 1 { // the answer was lost
					if got := r.want(r.apply(resumed), OK); got.Session.Generation != m.generation {
						t.Fatalf("a repeated resume raised the generation to %d from %d", got.Session.Generation, m.generation)
					}
				}
				continue
			case 14:
				r.m = restore(t, save(t, r.m.View()))
				continue
			}
			seq := last + 1
			switch {
			case where >= 240: // at the window's end, and beyond
				seq = m.floor + Window - 8 + (where - 240)
			case where >= 128: // around the last one
				seq = max(last+where%16, 8) - 8
			case where >= 64:
				seq = m.floor + where%64
			case where > 0: // a repeat, or a seq that was left out
				seq = max(last, where) - where
			}
			ack := m.floor
			switch {
			case acked%8 == 0:
				ack = 0
			case acked%8 < 4:
				ack = max(seq, acked%8) - acked%8
			case acked%8 == 7:
				ack = seq + acked/8
			}
			p.generation = m.generation
			switch generation % 32 {
			case 31:
				p.generation++
			case 30:
				p.generation -= min(p.generation, 1)
			}
			p.ack = ack
			count := int64(kind%2) + 1
			code, stored := m.expect(p.generation, seq, ack, count)
			got := r.want(r.apply(p.again(seq, allocCommand("s", count, 0))), code)
			if code == OK && stored != nil && !reflect.DeepEqual(got, *stored) {
				t.Fatalf("seq %d was answered with %+v, the first time with %+v", seq, got, *stored)
			}
			if code == OK && stored == nil {
				if got.Range.Lo != m.next || got.Range.Count != count || got.Index != r.index {
					t.Fatalf("seq %d got %+v at %d, want %d numbers from %d on at %d", seq, got.Range, got.Index, count, m.next, r.index)
				}
				m.next += count
				m.replies[seq] = keptReply{count, got}
				last = max(last, seq)
			}
		}
	})
}
