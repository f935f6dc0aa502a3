package sim

import (
	"encoding/binary"
	"hash"
	"hash/fnv"
	"runtime/debug"
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// hash64 digests a run.
type hash64 struct{ hash.Hash64 }

func (h hash64) add(n uint64, s string) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	// A hash never returns an error.
	h.Write(b[:])
	h.Write([]byte(s))
}

// message puts a delivered message into the digest.
func (h hash64) message(now time.Duration, m *raft.Message) {
	var b [56]byte
	for i, n := range []uint64{uint64(now), uint64(m.Type)<<32 | uint64(m.From)<<16 | uint64(m.To), m.Term, m.Index, m.LogTerm, m.Commit, uint64(len(m.Entries))} {
		binary.BigEndian.PutUint64(b[8*i:], n)
	}
	h.Write(b[:])
}

// digest is what an entry is compared by.
func digest(e raft.Entry) uint64 {
	h := fnv.New64a()
	var b [40]byte
	binary.BigEndian.PutUint64(b[0:], e.Index)
	binary.BigEndian.PutUint64(b[8:], e.Term)
	binary.BigEndian.PutUint64(b[16:], uint64(e.Time))
	binary.BigEndian.PutUint64(b[24:], uint64(e.Wall))
	b[32] = byte(e.Kind)
	h.Write(b[:])
	h.Write(e.Data)
	return h.Sum64()
}

func stack() []byte { return debug.Stack() }
