package daemon

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/coordd/coordd/pkg/raft/node"
)

// MaxMetadataBytes bounds a member's metadata, keys and values together.
const MaxMetadataBytes = 4 << 10

// completeCluster looks at how the node takes part in a cluster.
func (c *Config) completeCluster() error {
	orDefault(&c.WarmupRounds, 10)
	orDefault(&c.FailureDetector, "off")
	orDefault(&c.PhiThreshold, 16)
	orDefault(&c.Compaction, "background")
	orDefault(&c.JournalMemory, 10<<20)
	orDefault(&c.JournalExpiry, 10*time.Second)
	switch {
	case len(c.Join) > 0 && len(c.Peers) > 0:
		return bad("join", "excludes --peers: a node is one of a first start, or it joins a cluster that runs")
	case c.WarmupRounds < 1 || c.WarmupRounds > 1000:
		return bad("warmup-rounds", "%d is not between 1 and 1000", c.WarmupRounds)
	case c.FailureDetector != "off" && c.FailureDetector != "phi":
		return bad("failure-detector", "%q is neither off nor phi", c.FailureDetector)
	case c.JournalMemory < 64<<10 || c.JournalMemory > 1<<30:
		return bad("journal-memory", "%d bytes are not between 64KiB and 1GiB", c.JournalMemory)
	case c.JournalExpiry < 100*time.Millisecond || c.JournalExpiry > time.Hour:
		return bad("journal-expiry", "%v is not between 100ms and 1h", c.JournalExpiry)
	}
	for i, addr := range c.Join {
		if err := checkAddress(addr, false); err != nil {
			return bad("join", "%w", err)
		}
		if slices.Contains(c.Join[:i], addr) {
			return bad("join", "%s is listed twice", addr)
		}
	}
	if _, err := compactionMode(c.Compaction); err != nil {
		return err
	}
	if err := checkPhi(c.PhiThreshold); err != nil {
		return err
	}
	return checkMetadata(c.Metadata)
}

func checkPhi(threshold float64) error {
	if !(threshold >= 1 && threshold <= 300) {
		return bad("phi-threshold", "%v is not between 1 and 300", threshold)
	}
	return nil
}

func checkMetadata(md map[string]string) error {
	n := 0
	for _, k := range slices.Sorted(maps.Keys(md)) {
		if k == "" {
			return bad("metadata", "a key is empty")
		}
		n += len(k) + len(md[k])
	}
	if n > MaxMetadataBytes {
		return bad("metadata", "%d bytes of keys and values are more than %d", n, MaxMetadataBytes)
	}
	return nil
}

func compactionMode(name string) (node.CompactionMode, error) {
	for _, m := range []node.CompactionMode{node.CompactionBackground, node.CompactionForeground, node.CompactionSequential} {
		if m.String() == name {
			return m, nil
		}
	}
	return 0, bad("compaction", "%q is none of background, foreground, sequential", name)
}

// completeAlone lets the servers of members that join later find this one's, by the same convention as with --peers.
// It was not asked for, so it gives way to whatever else is at that address.
func (c *Config) completeAlone() {
	addr, err := routeAddress(c.PeerListen)
	if err != nil {
		return // it is refused later on
	}
	if _, port, _ := net.SplitHostPort(c.PeerListen); port == "0" {
		return // nobody could find it
	}
	for _, l := range c.listens() {
		if l.addr == addr {
			return
		}
	}
	c.NATSClusterListen, c.routesOptional = addr, true
}

// routesTo lists where the NATS servers of members at these peer addresses take routes, by convention.
func routesTo(addresses []string) (routes []string, err error) {
	for _, a := range addresses {
		r, err := routeAddress(a)
		if err != nil {
			return nil, fmt.Errorf("address %q of a member: %w", a, err)
		}
		routes = append(routes, r)
	}
	return routes, nil
}
