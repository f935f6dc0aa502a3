package machine

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// testdata holds what the last program wrote that knew commands and snapshots of version 1 alone: 400 entries, the sum over
// the answers and events that it gave to them, and a snapshot on the way.

// entriesOfVersion1 gives the entries to f.
func entriesOfVersion1(t *testing.T, f func(Entry)) {
	t.Helper()
	file, err := os.Open("testdata/entries-v1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		f(e)
	}
}

// A member that was updated and one that is still to be updated apply the same log: they must give the same answers.
func TestEntriesOfVersion1DoWhatTheyAlwaysDid(t *testing.T) {
	t.Parallel()
	m, sum := New(), sha256.New()
	enc := json.NewEncoder(sum)
	entriesOfVersion1(t, func(e Entry) {
		r := m.Apply(e)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if err := m.check(); err != nil {
			t.Fatal(err)
		}
		_, _ = enc.Encode(r.Replies), enc.Encode(r.Events)
	})
	want, err := os.ReadFile("testdata/replies-v1.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != strings.TrimSpace(string(want)) {
		t.Errorf("the answers have the sum %s, want %s", got, want)
	}
	if n := m.timelines.all.Len(); n != 0 {
		t.Errorf("%d timelines, which members that were not updated do not have", n)
	}
}

// A snapshot of version 1 is the state that its entries made, and goes on as that does.
func TestSnapshotOfVersion1IsRestored(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/snapshot-v1")
	if err != nil {
		t.Fatal(err)
	}
	if data[len(snapshotMagic)+1] != 1 {
		t.Fatal("not of version 1")
	}
	old := restore(t, data)
	if c := old.Live().Counts(); c.LocksHeld != 4 || c.LockWaiters != 4 || c.Sessions != 8 {
		t.Fatalf("%+v", c)
	}
	m := New()
	entriesOfVersion1(t, func(e Entry) {
		a := m.Apply(e)
		if e.Index < old.index {
			return
		}
		if e.Index > old.index {
			b := old.Apply(e)
			x, _ := json.Marshal(a)
			y, _ := json.Marshal(b)
			if !bytes.Equal(x, y) {
				t.Fatalf("entry %d: %s, restored %s", e.Index, x, y)
			}
		}
		if m.Live().Hash() != old.Live().Hash() {
			t.Fatalf("entry %d: the states differ", e.Index)
		}
	})
	again := restore(t, save(t, old.Live()))
	if again.Live().Hash() != m.Live().Hash() {
		t.Error("it is another one after it was saved")
	}
}
