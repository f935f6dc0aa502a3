package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/coordd/coordd/pkg/raft"
)

// applied gives a map one command and returns its outcome.
func applied(t *testing.T, m *Map, index uint64, c command) outcome {
	t.Helper()
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	result, err := m.Apply(raft.Entry{Index: index, Kind: raft.EntryCommand, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	return result.(outcome)
}

func saved(t *testing.T, m *Map) []byte {
	t.Helper()
	v, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Release()
	var b bytes.Buffer
	if err := v.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestARepeatIsExecutedOnce(t *testing.T) {
	t.Parallel()
	m := NewMap()
	put := func(v, client string, sequence uint64) command {
		return command{Op: "put", Key: "k", Value: []byte(v), Client: client, Sequence: sequence}
	}
	for i, step := range []struct {
		c     command
		want  outcome
		value string
	}{
		{put("a", "x", 1), outcome{Index: 1}, "a"},
		{put("b", "y", 1), outcome{Index: 2, Existed: true}, "b"},
		{put("a", "x", 1), outcome{Index: 1}, "b"}, // the repeat: first outcome, no effect
		{put("c", "x", 5), outcome{Index: 4, Existed: true}, "c"},
		{put("a", "x", 4), outcome{Stale: true}, "c"},
		{put("c", "x", 5), outcome{Index: 4, Existed: true}, "c"},
		{command{Op: "delete", Key: "k", Client: "y", Sequence: 2}, outcome{Index: 7, Existed: true}, ""},
		{put("d", "", 0), outcome{Index: 8}, "d"}, // nobody in particular: executed each time
		{put("d", "", 0), outcome{Index: 9, Existed: true}, "d"},
		{command{Op: "delete", Key: "other"}, outcome{Index: 10}, "d"},
	} {
		if got := applied(t, m, uint64(i+1), step.c); got != step.want {
			t.Errorf("step %d: %+v, want %+v", i+1, got, step.want)
		}
		if v, ok := m.Get("k"); string(v) != step.value || ok != (step.value != "") {
			t.Errorf("step %d: the value is %q, want %q", i+1, v, step.value)
		}
	}
}

func TestWhatIsNotUnderstoodStopsTheNode(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{"op":"rename","key":"k"}`, `{"op":`, ``} {
		m := NewMap()
		if _, err := m.Apply(raft.Entry{Index: 1, Kind: raft.EntryCommand, Data: []byte(data)}); err == nil {
			t.Errorf("%q: no error", data)
		}
		if m.Len() != 0 || m.clients.Len() != 0 {
			t.Errorf("%q: changed the state", data)
		}
	}
	for _, kind := range []raft.EntryKind{raft.EntryNoOp, raft.EntryConfig} {
		if _, err := NewMap().Apply(raft.Entry{Index: 1, Kind: kind, Data: []byte("no JSON")}); err != nil {
			t.Errorf("entry of kind %d: %v", kind, err)
		}
	}
}

func TestTheClientsThatWroteLastAreRemembered(t *testing.T) {
	t.Parallel()
	m, index := NewMap(), uint64(0)
	write := func(client string, sequence uint64) outcome {
		index++
		return applied(t, m, index, command{Op: "put", Key: "k", Client: client, Sequence: sequence})
	}
	for i := range maxClients {
		write(fmt.Sprint(i), 1)
	}
	write("0", 2) // so the oldest is 1
	write("one more", 1)
	if m.clients.Len() != maxClients || m.recent.Len() != maxClients {
		t.Errorf("%d clients, %d indexes, want %d", m.clients.Len(), m.recent.Len(), maxClients)
	}
	if o := write("0", 2); o.Index != maxClients+1 {
		t.Errorf("0 was forgotten: %+v", o)
	}
	if o := write("2", 1); o.Index != 3 {
		t.Errorf("2 was forgotten: %+v", o)
	}
	if o := write("1", 1); o.Index != index {
		t.Errorf("1 was not forgotten: %+v", o)
	}
}

// random makes commands of few clients and keys, so that all cases come up.
func random(r *rand.Rand) command {
	c := command{Op: "put", Key: fmt.Sprint(r.IntN(20)), Value: []byte{byte(r.IntN(256)), 0xff}}
	if r.IntN(3) == 0 {
		c = command{Op: "delete", Key: c.Key}
	}
	if r.IntN(4) != 0 {
		c.Client, c.Sequence = fmt.Sprint(r.IntN(5)), uint64(r.IntN(30))
	}
	return c
}

// A member that was restored from a snapshot goes on as one that applied everything, to the byte.
func TestASnapshotHoldsAllThatMatters(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		all, restored := NewMap(), NewMap()
		applied(t, restored, 1, command{Op: "put", Key: "not in the snapshot", Client: "z", Sequence: 1})
		index := uint64(0)
		for range r.IntN(200) {
			index++
			applied(t, all, index, random(r))
		}
		if err := restored.Restore(bytes.NewReader(saved(t, all))); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			index++
			c := random(r)
			if a, b := applied(t, all, index, c), applied(t, restored, index, c); a != b {
				t.Fatalf("seed %d, index %d: %+v and %+v", seed, index, a, b)
			}
		}
		if a, b := saved(t, all), saved(t, restored); !bytes.Equal(a, b) {
			t.Fatalf("seed %d: the states differ:\n%s\n%s", seed, a, b)
		}
	}
}

func TestAViewDoesNotChange(t *testing.T) {
	t.Parallel()
	m := NewMap()
	for i := range uint64(1000) {
		applied(t, m, i+1, command{Op: "put", Key: fmt.Sprint(i), Value: []byte("old"), Client: "x", Sequence: i + 1})
	}
	before := saved(t, m)
	v, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	// While the view is saved, everything is changed: the race detector looks on.
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(v.Save(writer)) }()
	for i := range uint64(1000) {
		op := []string{"put", "delete"}[i%2]
		applied(t, m, 1001+i, command{Op: op, Key: fmt.Sprint(i), Value: []byte("new"), Client: "x", Sequence: 1001 + i})
	}
	after, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("the view changed")
	}
}

func TestABadSnapshotChangesNothing(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "{}", `{"format":2}`, `{"format":1}{"key":"a"`, `{"format":1}{"key":"a"} x`} {
		m := NewMap()
		applied(t, m, 1, command{Op: "put", Key: "k", Value: []byte("v")})
		if err := m.Restore(strings.NewReader(data)); err == nil {
			t.Errorf("%q: no error", data)
		}
		if v, _ := m.Get("k"); string(v) != "v" || m.Len() != 1 {
			t.Errorf("%q: the state changed", data)
		}
	}
}
