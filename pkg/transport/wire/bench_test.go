package wire_test

import (
	"fmt"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// benchMessages are a heartbeat and appends of usual sizes.
func benchMessages() map[string]*raft.Message {
	ms := map[string]*raft.Message{"heartbeat": {Type: raft.MsgHeartbeat, From: 1 << 60, To: 1 << 61, Term: 9, Commit: 1 << 30, Round: 1 << 20}}
	for _, count := range []int{1, 64, 1024} {
		m := &raft.Message{Type: raft.MsgAppend, From: 1 << 60, To: 1 << 61, Term: 9, Index: 1 << 30, LogTerm: 9, Commit: 1 << 30}
		for i := range count {
			m.Entries = append(m.Entries, raft.Entry{Index: 1<<30 + 1 + uint64(i), Term: 9, Time: 1e15 + int64(i)*1000, Wall: 1.7e18,
				Kind: raft.EntryCommand, Data: make([]byte, 128)})
		}
		ms[fmt.Sprintf("append-%d", count)] = m
	}
	return ms
}

func BenchmarkEncode(b *testing.B) {
	for name, m := range benchMessages() {
		b.Run(name, func(b *testing.B) {
			buffer := wire.AppendMessageFrame(nil, m)
			b.SetBytes(int64(len(buffer)))
			b.ReportAllocs()
			for b.Loop() {
				buffer = wire.AppendMessageFrame(buffer[:0], m)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, m := range benchMessages() {
		b.Run(name, func(b *testing.B) {
			stream := &loop{frame: wire.AppendMessageFrame(nil, m)}
			reader := wire.NewReader(stream, 1<<20)
			b.SetBytes(int64(len(stream.frame)))
			b.ReportAllocs()
			for b.Loop() {
				frame, err := reader.Next()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := frame.Message(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
