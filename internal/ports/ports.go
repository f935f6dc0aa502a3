// Package ports finds free ports of the loopback for nodes that are started in a moment, and perhaps again later.
//
// A port that the kernel chooses (port 0) lies in the range from which it also takes the ports of outgoing connections:
// once it is let go, any program's next connection may have it, and a node that was given it does not start. These ports
// lie below that range (32768 on Linux, 49152 elsewhere).
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

const (
	lowest  = 10_000
	highest = 29_999
	// routes is what a node adds to its peer port for NATS routes.
	routes = 2_000
)

// given are those that this process was given, with the ones for routes.
var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Free returns n ports that nobody listens on, each with the port + 2000 free too. No port is given twice in a process.
func Free(n int) (ports []int, err error) {
	mu.Lock()
	defer mu.Unlock()
	for tries := 0; len(ports) < n; tries++ {
		if tries == 1_000+100*n {
			return nil, errors.New("no free ports on the loopback from 10000 to 29999")
		}
		p := lowest + rand.IntN(highest-lowest+1)
		if given[p] || given[p+routes] || !isFree(p) || !isFree(p+routes) {
			continue
		}
		given[p], given[p+routes] = true, true
		ports = append(ports, p)
	}
	return ports, nil
}

// Addresses returns n free addresses, as Free does.
func Addresses(n int) (addrs []string, err error) {
	ports, err := Free(n)
	if err != nil {
		return nil, fmt.Errorf("find free ports: %w", err)
	}
	for _, p := range ports {
		addrs = append(addrs, address(p))
	}
	return addrs, nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func isFree(port int) bool {
	l, err := net.Listen("tcp", address(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
