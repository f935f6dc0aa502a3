package ports

import (
	"net"
	"sync"
	"testing"
)

func TestPortsDiffer(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	var lock sync.Mutex
	seen := map[int]bool{}
	for range 10 {
		group.Go(func() {
			ports, err := Free(20)
			if err != nil {
				t.Error(err)
			}
			lock.Lock()
			defer lock.Unlock()
			for _, p := range ports {
				if p < lowest || p > highest || seen[p] || seen[p+routes] {
					t.Errorf("port %d was given before, or is none of ours", p)
				}
				seen[p], seen[p+routes] = true, true
			}
		})
	}
	group.Wait()
	if len(seen) != 400 {
		t.Errorf("%d ports, want 400", len(seen))
	}
}

func TestATakenPortIsNotFree(t *testing.T) {
	t.Parallel()
	addrs, err := Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if port := l.Addr().(*net.TCPAddr).Port; isFree(port) {
		t.Errorf("port %d is said to be free", port)
	}
}
