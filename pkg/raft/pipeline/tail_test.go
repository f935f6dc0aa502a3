package pipeline

import "testing"

func TestHowMuchOfALogMayGo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		tail Tail
		want uint64
	}{
		{"the tail stays", Tail{Snapshot: 100, Commit: 200, Trailing: 60}, 60},
		{"more for a follower on its way", Tail{Snapshot: 100, Commit: 200, Trailing: 60, Reach: 10, Needed: 30, Waited: true}, 30},
		{"but within the reach", Tail{Snapshot: 100, Commit: 200, Trailing: 60, Reach: 40, Needed: 30, Waited: true}, 40},
		{"one that is ahead changes nothing", Tail{Snapshot: 100, Commit: 200, Trailing: 60, Reach: 10, Needed: 150, Waited: true}, 60},
		{"nothing above the snapshot", Tail{Snapshot: 100, Commit: 200, Trailing: 150}, 100},
		{"the last committed entry stays", Tail{Snapshot: 100, Commit: 100, Trailing: 100}, 99},
		{"nothing is committed", Tail{Snapshot: 0, Commit: 0, Trailing: 0}, 0},
	} {
		if got := c.tail.CutAt(); got != c.want {
			t.Errorf("%s: cut at %d, want %d", c.name, got, c.want)
		}
	}
	if a, b, c := Behind(10, 3), Behind(10, 30), Behind(10, -1); a != 7 || b != 0 || c != 10 {
		t.Errorf("behind: %d %d %d", a, b, c)
	}
}
