package snapstore

import (
	"io"
	"testing"

	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

// The figures are those of the disk at TMPDIR and of SHA-256; each operation is a snapshot of 64 MiB.
const benchBytes = 64 << 20

func BenchmarkSave(b *testing.B) {
	s := mustOpen(b, Options{Dir: b.TempDir()})
	defer s.Close()
	state := storagetest.State(benchBytes)
	b.SetBytes(benchBytes)
	for b.Loop() {
		storagetest.Save(b, s, storagetest.Meta(5, 2), state)
	}
}

func BenchmarkReceive(b *testing.B) {
	s := mustOpen(b, Options{Dir: b.TempDir()})
	defer s.Close()
	info := storagetest.Save(b, s, storagetest.Meta(5, 2), storagetest.State(benchBytes))
	raw := make([]byte, info.Size)
	r, err := s.Open(5, 2)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := r.ReadAt(raw, 0); err != nil {
		b.Fatal(err)
	}
	r.Close()
	b.SetBytes(benchBytes)
	for b.Loop() {
		r, err := s.Receive(info.Meta, info.Size)
		if err != nil {
			b.Fatal(err)
		}
		for rest := raw; len(rest) > 0; {
			n, err := r.Write(rest[:min(len(rest), 256<<10)])
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
		if _, err := r.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	s := mustOpen(b, Options{Dir: b.TempDir()})
	defer s.Close()
	storagetest.Save(b, s, storagetest.Meta(5, 2), storagetest.State(benchBytes))
	b.SetBytes(benchBytes)
	for b.Loop() {
		r, err := s.Open(5, 2)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != benchBytes {
			b.Fatal(n, err)
		}
		r.Close()
	}
}
