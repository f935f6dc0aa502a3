package badgerlog

import (
	"flag"
	"os"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/storagetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	// Each run of a property opens some ten databases; more of them: go test -rapid.checks=1000.
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
	// What badger.Open leaves behind when it fails; the goroutines of a database that was opened and not closed
	// are others.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).updateSize"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4/y.(*WaterMark).process"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2.(*defaultPolicy[...]).processItems"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2.(*Cache[...]).processItems"),
	)
}

// testOptions are those of most tests: small files, so that copies are quick and memtables rotate.
func testOptions(t testing.TB, dir string) Options {
	return Options{
		Dir: dir, ClusterName: "test", Member: 1, MemberName: "a", MemTableBytes: 1 << 20,
		ReserveBytes: 1 << 20, BallastBytes: -1,
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: testWriter{t}}),
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Logf("%s", p)
	return len(p), nil
}

// mustOpen opens a directory and closes it at the end of the test.
func mustOpen(t testing.TB, opt Options) *Log {
	t.Helper()
	l, err := Open(opt)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		l.Close()
		if l.err() != nil {
			_ = l.db.Close() // before its directory is gone
		}
	})
	return l
}

func TestContract(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t testing.TB) storagetest.Opener {
		opt := testOptions(t, t.TempDir())
		return func(t testing.TB) storage.Log {
			o := opt
			o.Logger = nil // the test that opens it may be an inner one that ended
			return mustOpen(t, o)
		}
	})
}
