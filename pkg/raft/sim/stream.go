package sim

import (
	"math/bits"
	"time"
)

// stream is a random stream of its own (SplitMix64: Steele, Lea and Flood, OOPSLA 2014). Each part of a run has one, made
// from the seed and what it is for, so that what one part draws changes nothing for the others.
type stream struct{ state uint64 }

const golden = 0x9e3779b97f4a7c15

// newStream makes the stream of a seed for a purpose, and a number of it.
func newStream(seed uint64, purpose string, number uint64) stream {
	return stream{uint64(fnvBegin.word(seed).bytes([]byte(purpose)).word(number))}
}

func (s *stream) next() uint64 {
	s.state += golden
	z := s.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below draws a number in [0, n). That small numbers come more often by n in 2⁶⁴ does not matter here.
func (s *stream) below(n uint64) uint64 {
	hi, _ := bits.Mul64(s.next(), n)
	return hi
}

func (s *stream) intn(n int) int { return int(s.below(uint64(n))) }

// between draws a duration in [lo, hi].
func (s *stream) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(s.below(uint64(hi-lo)+1))
}

// chance is true once in n times.
func (s *stream) chance(n int) bool { return s.below(uint64(n)) == 0 }

// float draws from [0, 1).
func (s *stream) float() float64 { return float64(s.next()>>11) / (1 << 53) }
