package service

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

func durationOf(ns int64) *durationpb.Duration { return durationpb.New(time.Duration(ns)) }

// safeFor is how long a client may rely on its session when it counts from the sending of its request.
func (s *Service) safeFor(r *machine.SessionReply) *durationpb.Duration {
	left := float64(r.Deadline-r.Now)*(1-s.cfg.Timing.ClockDrift) - float64(s.cfg.Timing.ClockGuard)
	return durationOf(max(0, int64(left)))
}

func replyOpen(s *Service, c *call, r *machine.Reply) proto.Message {
	x := r.Session
	return &coorddv1.SessionOpenReply{Index: r.Index, Session: x.ID, Secret: c.secret, Ttl: durationOf(x.TTL),
		Now: x.Now, Deadline: x.Deadline, SafeFor: s.safeFor(x), Cluster: s.clusterID(), Domain: uint32(x.Domain)}
}

// holdBytes is more than one hold or wait takes in an answer besides its name, in JSON.
const holdBytes = 160

func replySession(s *Service, c *call, r *machine.Reply) proto.Message {
	x := r.Session
	m := &coorddv1.SessionReply{Index: r.Index, Ttl: durationOf(x.TTL), Now: x.Now, Deadline: x.Deadline, SafeFor: s.safeFor(x),
		Generation: x.Generation, EventSeq: x.EventSeq, HighestSeq: x.HighestSeq, Domain: uint32(x.Domain)}
	room := s.answerBytes() - 1024
	for i := range x.Holds {
		h := &x.Holds[i]
		if room -= escapedBytes(h.Name) + holdBytes; room < 0 {
			m.Incomplete = true
			return m
		}
		m.Holds = append(m.Holds, &coorddv1.Hold{Name: h.Name, Fence: h.Fence, Mode: coorddv1.Mode(h.Mode), Count: h.Count, Ticket: h.Ticket, Until: h.Until})
	}
	for i := range x.Waits {
		w := &x.Waits[i]
		room -= escapedBytes(w.Name) + holdBytes
		for _, name := range w.Names {
			room -= escapedBytes(name) + 3
		}
		if room < 0 {
			m.Incomplete = true
			return m
		}
		m.Waits = append(m.Waits, &coorddv1.Wait{Name: w.Name, Seq: w.Seq, State: coorddv1.Wait_State(w.State), Position: w.Position, Names: w.Names})
	}
	return m
}

// escapedBytes bounds what a string takes in JSON: a byte that is escaped takes at most six.
func escapedBytes(s string) int {
	n := len(s)
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c == 0x7f {
			n += 5
		}
	}
	return n
}

func replyClose(_ *Service, _ *call, r *machine.Reply) proto.Message {
	return &coorddv1.SessionCloseReply{Index: r.Index, Released: r.Closed}
}

func replyAcquire(s *Service, _ *call, r *machine.Reply) proto.Message {
	x := r.Lock
	m := &coorddv1.LockAcquireReply{Index: r.Index, Fence: x.Fence, Until: x.Until, Position: x.Position}
	switch x.State {
	case machine.StateGranted:
		m.State = coorddv1.LockAcquireReply_GRANTED
	case machine.StateQueued:
		m.State = coorddv1.LockAcquireReply_QUEUED
	case machine.StateCancelled:
		m.State = coorddv1.LockAcquireReply_CANCELLED
	}
	for _, f := range x.Fences {
		m.Fences = append(m.Fences, &coorddv1.NamedFence{Name: f.Name, Fence: f.Fence, Until: f.Until})
	}
	m.Holders = holders(x.Holders, s.now(0))
	return m
}

func replyHandOver(_ *Service, _ *call, r *machine.Reply) proto.Message {
	m := &coorddv1.LockHandOverReply{Index: r.Index, State: coorddv1.LockHandOverReply_HANDED_OVER, Fence: r.Lock.Fence}
	if r.Lock.State == machine.StateAsked {
		m.State = coorddv1.LockHandOverReply_ASKED
	}
	return m
}

func replyProclaim(_ *Service, _ *call, r *machine.Reply) proto.Message {
	return &coorddv1.ElectionProclaimReply{Index: r.Index}
}

func replyLatch(_ *Service, _ *call, r *machine.Reply) proto.Message {
	return &coorddv1.LatchReply{Index: r.Index, Count: r.Latch}
}

func replyCancel(_ *Service, _ *call, r *machine.Reply) proto.Message {
	m := &coorddv1.LockCancelReply{Index: r.Index, Fence: r.Lock.Fence, State: coorddv1.LockCancelReply_CANCELLED}
	if r.Lock.State == machine.StateAlreadyGranted {
		m.State = coorddv1.LockCancelReply_ALREADY_GRANTED
	}
	return m
}

func replyRelease(_ *Service, _ *call, r *machine.Reply) proto.Message {
	return &coorddv1.LockReleaseReply{Index: r.Index, State: coorddv1.LockReleaseReply_RELEASED, Remaining: r.Lock.Entries}
}

func replyForce(_ *Service, _ *call, r *machine.Reply) proto.Message {
	m := &coorddv1.LockReleaseReply{Index: r.Index, State: coorddv1.LockReleaseReply_RELEASED}
	if r.Lock.State == machine.StateDelayed {
		m.State = coorddv1.LockReleaseReply_DELAYED
	}
	return m
}

func replySequence(_ *Service, _ *call, r *machine.Reply) proto.Message {
	m := &coorddv1.SequenceReply{Index: r.Index}
	if r.Seq != nil {
		m.Sequence = sequence(r.Seq)
	}
	return m
}

func replyRange(_ *Service, _ *call, r *machine.Reply) proto.Message {
	x := r.Range
	return &coorddv1.SequenceAllocReply{Index: r.Index, Lo: x.Lo, Count: x.Count, Step: x.Step,
		SequenceId: x.SequenceID, Generation: x.Generation, Domain: uint32(x.Domain)}
}

func holder(h *machine.HolderInfo, now int64) *coorddv1.Holder {
	return &coorddv1.Holder{Session: h.Session, Owner: h.Owner, Fence: h.Fence, Mode: coorddv1.Mode(h.Mode), Count: h.Count,
		Since: h.Since, ExpiresIn: durationOf(max(0, h.Deadline-now)), Metadata: h.Metadata, Until: h.Until, Delayed: h.Delayed, Value: h.Value}
}

func sequence(x *machine.SeqInfo) *coorddv1.Sequence {
	order := coorddv1.Order_CACHED
	if x.Strict {
		order = coorddv1.Order_STRICT
	}
	return &coorddv1.Sequence{Name: x.Name, SequenceId: x.SequenceID, Generation: x.Generation, Next: x.Next, Remaining: x.Remaining,
		Min: x.Min, Max: x.Max, Step: x.Step, Start: x.Start, Cycle: x.Cycle, Order: order, MaxRange: x.MaxRange}
}

// errorOf makes the error of a command that did not go well.
func (s *Service) errorOf(v *verb, name string, r *machine.Reply) *coorddv1.Error {
	e := coorddv1.NewError(r.Code.String(), errorText(v, name, r))
	e.Leader = s.cfg.Name
	if d := r.Detail; d != nil && (d.Holder != "" || d.Fence != 0 || d.Queue != 0 || d.ExpiresIn != 0 || len(d.Cycle) > 0) {
		e.Details = &coorddv1.ErrorDetails{Holder: d.Holder, Fence: d.Fence, Queue: d.Queue, ExpiresIn: durationOf(d.ExpiresIn), Cycle: d.Cycle}
	}
	return e
}

func errorText(v *verb, name string, r *machine.Reply) string {
	d := r.Detail
	if r.Code == machine.CodeLocked && d != nil && d.Fence != 0 {
		who := quote(d.Holder)
		if d.Holder == "" {
			who = fmt.Sprintf("session %d", d.HolderID)
		}
		what, why := "lock "+quote(name), d.Text
		if which, ok := strings.CutPrefix(why, "the lock is held: "); ok { // of several that were asked for
			what, why = "lock "+which, ""
		} else if name == "" {
			what = "a lock of the request"
		}
		text := fmt.Sprintf("%s is held by %s (fence %d, %.1f s left)", what, who, d.Fence, time.Duration(d.ExpiresIn).Seconds())
		if why != "" && why != "the lock is held" {
			text += "; " + plainSpaces(why)
		}
		return text
	}
	if d != nil && d.Text != "" {
		return plainSpaces(d.Text)
	}
	if name != "" {
		return fmt.Sprintf("%s of %s: %s", v.name, quote(name), meaning(r.Code.String()))
	}
	return fmt.Sprintf("%s: %s", v.name, meaning(r.Code.String()))
}

func meaning(code string) string {
	info, _ := coorddv1.LookupCode(code)
	return info.Meaning
}
