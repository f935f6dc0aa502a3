package machine

import (
	"errors"
	"math"

	"github.com/coordd/coordd/pkg/idgen"
)

// sequenceVerb carries out a command about a named sequence.
func (m *Machine) sequenceVerb(c *Command) Reply {
	if r, bad := m.badName(c); bad {
		return r
	}
	key := keyOf(c.Namespace, c.Name)
	switch c.Kind {
	case KindSeqAlloc:
		return m.alloc(key, c.Alloc)
	case KindSeqCreate:
		return m.createSequence(c.Namespace, key, c.Create)
	case KindSeqAdvance:
		s, err := m.seqs.Advance(key, c.Advance.To)
		return m.sequenceReply(key, s, err)
	case KindSeqDelete:
		s, err := m.seqs.Delete(key)
		if err == nil {
			sp := m.space(c.Namespace)
			sp.seqs--
			m.tidy(sp)
		}
		return m.sequenceReply(key, s, err)
	}
	return m.fail(CodeInternal, "command kind %d is no verb of sequences", c.Kind)
}

// allocWithoutSession gives a range to a sender that can't ask for it again.
func (m *Machine) allocWithoutSession(c *Command) Reply {
	if m.tooLate(c) {
		return m.deadlineExceeded()
	}
	return m.sequenceVerb(c)
}

func (m *Machine) createSequence(ns, key string, in *SeqCreate) Reply {
	if _, there := m.seqs.Get(key); !there {
		if sp, ok := m.spaces[ns]; ok && sp.seqs >= MaxSequencesPerNamespace {
			return m.fail(CodeQuota, "namespace %s has %d sequences", ns, MaxSequencesPerNamespace)
		}
		if m.seqs.Len() >= MaxSequences {
			return m.fail(CodeQuota, "the cluster has %d sequences", MaxSequences)
		}
	}
	before := m.seqs.Len()
	s, err := m.seqs.Create(key, in.params())
	if m.seqs.Len() > before {
		m.space(ns).seqs++
	}
	return m.sequenceReply(key, s, err)
}

// params fills in what was left out.
func (in *SeqCreate) params() idgen.Params {
	p := idgen.Params{Min: in.Min, Max: in.Max, Step: in.Step, Start: in.Start, Cycle: in.Cycle, Strict: in.Strict,
		MaxRange: in.MaxRange}
	if !in.HasMin && p.Min == 0 {
		p.Min = 1
	}
	if !in.HasMax && p.Max == 0 {
		p.Max = math.MaxInt64
	}
	if p.Step == 0 {
		p.Step = 1
	}
	if !in.HasStart && p.Start == 0 {
		p.Start = p.Min
		if p.Step < 0 {
			p.Start = p.Max
		}
	}
	if p.MaxRange == 0 {
		p.MaxRange = idgen.DefaultMaxRange
	}
	return p
}

func (m *Machine) alloc(key string, in *SeqAlloc) Reply {
	if m.domain == 0 {
		// Without a domain the range would be good for UUIDs that another cluster makes too.
		return m.fail(CodeInternal, "the cluster has no ID domain yet")
	}
	r, err := m.seqs.Alloc(key, in.Count, in.MinCount)
	if err != nil {
		return m.sequenceError(err)
	}
	m.totals.idRanges++
	m.totals.idsAllocated += uint64(r.Count)
	return Reply{Index: m.index, Range: &RangeReply{Lo: r.Lo, Count: r.Count, Step: r.Step, SequenceID: uint64(r.SequenceID),
		Generation: r.Generation, Domain: m.domain}}
}

func (m *Machine) sequenceReply(key string, s idgen.Sequence, err error) Reply {
	if err != nil {
		return m.sequenceError(err)
	}
	info := sequenceInfo(key, s)
	return Reply{Index: m.index, Seq: &info}
}

func (m *Machine) sequenceError(err error) Reply {
	code := CodeInternal
	switch {
	case errors.Is(err, idgen.ErrNotFound):
		code = CodeSeqNotFound
	case errors.Is(err, idgen.ErrConflict):
		code = CodeSeqConflict
	case errors.Is(err, idgen.ErrBackward):
		code = CodeSeqBackward
	case errors.Is(err, idgen.ErrExhausted):
		code = CodeSeqExhausted
	case errors.Is(err, idgen.ErrCountTooLarge):
		code = CodeCountTooLarge
	case errors.Is(err, idgen.ErrNoSequenceIDs):
		code = CodeQuota
	case errors.Is(err, idgen.ErrBadParams), errors.Is(err, idgen.ErrBadCount), errors.Is(err, idgen.ErrOutOfRange):
		code = CodeBadRequest
	}
	return m.fail(code, "%s", err.Error())
}

func sequenceInfo(key string, s idgen.Sequence) SeqInfo {
	return SeqInfo{Name: keyName(key), SequenceID: uint64(s.ID), Generation: s.Generation, Next: s.Next, Remaining: s.Remaining(),
		Min: s.Min, Max: s.Max, Step: s.Step, Start: s.Start, Cycle: s.Cycle, Strict: s.Strict, IsExhausted: s.Exhausted,
		MaxRange: s.MaxRange}
}
