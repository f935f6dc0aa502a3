package sim

import (
	"encoding/binary"
	"runtime/debug"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// fnv is FNV-1a of 64 bits, over words first and bytes where there are any.
type fnv uint64

const (
	fnvBegin fnv = 14695981039346656037
	fnvPrime fnv = 1099511628211
)

func (h fnv) word(n uint64) fnv {
	h = (h ^ fnv(n)) * fnvPrime
	return h ^ h>>29 // a multiplication alone carries nothing to lower bits
}

func (h fnv) bytes(b []byte) fnv {
	for ; len(b) >= 8; b = b[8:] {
		h = h.word(binary.LittleEndian.Uint64(b))
	}
	for _, c := range b {
		h = (h ^ fnv(c)) * fnvPrime
	}
	return h
}

// line puts what happened into the digest of a run.
func (h fnv) line(now time.Duration, s string) fnv { return h.word(uint64(now)).bytes([]byte(s)) }

// message puts a delivered message into the digest.
func (h fnv) message(now time.Duration, m *raft.Message) fnv {
	return h.word(uint64(now)).word(uint64(m.Type)<<32 | uint64(m.From)<<16 | uint64(m.To)).
		word(m.Term).word(m.Index).word(m.LogTerm).word(m.Commit).word(uint64(len(m.Entries)))
}

// digest is what an entry is compared by.
func digest(e *raft.Entry) uint64 {
	return uint64(fnvBegin.word(e.Index).word(e.Term).word(uint64(e.Time)).word(uint64(e.Wall)).word(uint64(e.Kind)).bytes(e.Data))
}

func stack() []byte { return debug.Stack() }
