package idgen

import (
	"errors"
	"fmt"
	"math"
)

// DefaultMaxRange is the largest range of a sequence that names none.
const DefaultMaxRange int64 = 1_000_000

// MaxSequenceID is the largest sequence ID: 24 bits.
const MaxSequenceID uint32 = 1<<24 - 1

// The errors of sequences. They are wrapped with what was asked for.
var (
	ErrBadParams      = errors.New("impossible sequence")
	ErrBadCount       = errors.New("impossible count")
	ErrCountTooLarge  = errors.New("count is larger than the sequence gives at once")
	ErrExhausted      = errors.New("sequence is exhausted")
	ErrBackward       = errors.New("sequences only move forward")
	ErrOutOfRange     = errors.New("number is outside of the sequence")
	ErrNotFound       = errors.New("no such sequence")
	ErrConflict       = errors.New("sequence exists with other values")
	ErrNoSequenceIDs  = errors.New("all sequence IDs of this cluster are used up")
	ErrCorrupt        = errors.New("inconsistent sequences")
	errStepZero       = fmt.Errorf("%w: step is 0", ErrBadParams)
	errMaxRangeTooLow = fmt.Errorf("%w: max_range is below 1", ErrBadParams)
)

// Params say what numbers a sequence has.
type Params struct {
	Min, Max int64 // inclusive
	Step     int64 // not 0; negative ones go from Max down
	Start    int64 // first number of the first generation; a later one begins at Min (or Max, downward)
	Cycle    bool
	Strict   bool // clients must not cache ranges
	MaxRange int64
}

// Validate reports what is impossible about the parameters.
func (p Params) Validate() error {
	switch {
	case p.Step == 0:
		return errStepZero
	case p.MaxRange < 1:
		return errMaxRangeTooLow
	case p.Min > p.Max:
		return fmt.Errorf("%w: min %d is above max %d", ErrBadParams, p.Min, p.Max)
	case p.Start < p.Min || p.Start > p.Max:
		return fmt.Errorf("%w: start %d is outside of %d to %d", ErrBadParams, p.Start, p.Min, p.Max)
	}
	return nil
}

// Sequence is one sequence. It is a value: Alloc and Advance return the changed one.
type Sequence struct {
	Params
	ID         uint32 // 24 bits, never used again in this cluster
	Generation uint64 // 1, and one more at each wrap
	// Next is the next number; once Exhausted, the last one that could be given.
	Next      int64
	Exhausted bool
}

// Range are the numbers Lo, Lo + Step, …, Count of them.
type Range struct {
	Lo, Count, Step int64
	SequenceID      uint32
	Generation      uint64
}

// NewSequence returns a sequence that has given nothing yet.
func NewSequence(p Params, id uint32) (Sequence, error) {
	if err := p.Validate(); err != nil {
		return Sequence{}, err
	}
	return Sequence{Params: p, ID: id, Generation: 1, Next: p.Start}, nil
}

// stride is |Step|, which int64 can't hold for its smallest value.
func (s *Sequence) stride() uint64 {
	if s.Step < 0 {
		return -uint64(s.Step)
	}
	return uint64(s.Step)
}

// beyond returns how many numbers there are behind Next. A sequence that isn't exhausted has one more
// than that, which may be 2^64; therefore the count itself is never computed.
func (s *Sequence) beyond() uint64 {
	if s.Step < 0 {
		return (uint64(s.Next) - uint64(s.Min)) / s.stride()
	}
	return (uint64(s.Max) - uint64(s.Next)) / s.stride()
}

// Remaining returns how many numbers are left in this generation, at most 2^64 − 1.
func (s *Sequence) Remaining() uint64 {
	if s.Exhausted {
		return 0
	}
	if n := s.beyond(); n < math.MaxUint64 {
		return n + 1
	}
	return math.MaxUint64
}

// Alloc takes a range of want numbers, or of at least atLeast (0: exactly want). Where fewer than 8 × want
// are left, a request that is content with less gets an eighth of them, so that one client doesn't drain
// what others still need. Numbers at the end of a generation that are too few for a request are left out
// if the sequence cycles, and refused with ErrExhausted if not.
func (s Sequence) Alloc(want, atLeast int64) (Range, Sequence, error) {
	if atLeast == 0 {
		atLeast = want
	}
	if want < 1 || atLeast < 1 || atLeast > want {
		return Range{}, s, fmt.Errorf("%w: %d, at least %d", ErrBadCount, want, atLeast)
	}
	if want > s.MaxRange {
		return Range{}, s, fmt.Errorf("%w: %d, at most %d", ErrCountTooLarge, want, s.MaxRange)
	}
	if s.Remaining() < uint64(atLeast) {
		if !s.Cycle {
			return Range{}, s, fmt.Errorf("%w: %d left, at least %d wanted", ErrExhausted, s.Remaining(), atLeast)
		}
		next := s.wrapped()
		if next.Remaining() < uint64(atLeast) {
			return Range{}, s, fmt.Errorf("%w: %d in a whole cycle, at least %d wanted", ErrExhausted, next.Remaining(), atLeast)
		}
		s = next
	}
	n := uint64(want)
	if share := s.Remaining() / 8; n > share {
		n = max(share, uint64(atLeast))
	}
	r := Range{Lo: s.Next, Count: int64(n), Step: s.Step, SequenceID: s.ID, Generation: s.Generation}
	// In two's complement the product and the sum may wrap on the way and are right at the end, because
	// the number they stand for is within Min and Max.
	if n > s.beyond() {
		s.Next += int64((n - 1) * uint64(s.Step))
		s.Exhausted = true
	} else {
		s.Next += int64(n * uint64(s.Step))
	}
	return r, s, nil
}

// wrapped returns the sequence at the beginning of its next generation.
func (s Sequence) wrapped() Sequence {
	s.Next, s.Exhausted = s.Min, false
	if s.Step < 0 {
		s.Next = s.Max
	}
	s.Generation++
	return s
}

// Advance makes to the next number. Going where it already stands is fine.
func (s Sequence) Advance(to int64) (Sequence, error) {
	if to < s.Min || to > s.Max {
		return s, fmt.Errorf("%w: %d is not in %d to %d", ErrOutOfRange, to, s.Min, s.Max)
	}
	if s.Exhausted || (s.Step > 0 && to < s.Next) || (s.Step < 0 && to > s.Next) {
		return s, fmt.Errorf("%w: it stands at %d, asked for %d", ErrBackward, s.Next, to)
	}
	s.Next = to
	return s, nil
}

// valid reports whether the sequence can have come from NewSequence, Alloc and Advance.
func (s *Sequence) valid() error {
	if err := s.Validate(); err != nil {
		return err
	}
	if s.Next < s.Min || s.Next > s.Max || s.Generation == 0 || s.ID == 0 || s.ID > MaxSequenceID {
		return fmt.Errorf("%w: sequence %d at %d, generation %d", ErrCorrupt, s.ID, s.Next, s.Generation)
	}
	return nil
}
