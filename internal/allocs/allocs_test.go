package allocs

import "testing"

var sink []byte

// recorder is a test that only remembers whether it failed.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Fatalf(string, ...any) { r.failed = true }

func TestTooMuchMemoryIsNoticed(t *testing.T) {
	for _, c := range []struct {
		input, takes int
		fails        bool
	}{
		{10, 1 << 10, false},
		{10, 4 << 20, true},
		{64 << 10, 4 << 20, false}, // 64 bytes of memory for each byte
		{32 << 10, 4 << 20, true},
	} {
		r := &recorder{TB: t}
		Within(r, c.input, 256<<10, 64, func() { sink = make([]byte, c.takes) })
		if r.failed != c.fails {
			t.Errorf("%d bytes for %d of input: failed %v", c.takes, c.input, r.failed)
		}
	}
}
