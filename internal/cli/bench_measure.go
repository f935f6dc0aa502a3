package cli

import (
	"bytes"
	"math"
	"math/bits"
	"net"
	"os"
	"strconv"
	"time"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// latencies is a histogram of durations whose buckets are at most 1/64 of their value wide.
type latencies struct {
	buckets [64 * 58]int64
	n       int64
}

const subBuckets = 64

// bucketOf returns the bucket of a number of nanoseconds: below 64 its own, above by the highest seven bits.
func bucketOf(ns uint64) int {
	if ns < subBuckets {
		return int(ns)
	}
	shift := bits.Len64(ns) - 7
	return (shift+1)*subBuckets + int(ns>>shift) - subBuckets
}

// valueOf returns the middle of a bucket in nanoseconds.
func valueOf(bucket int) float64 {
	if bucket < subBuckets {
		return float64(bucket)
	}
	shift := bucket/subBuckets - 1
	low := float64(bucket%subBuckets+subBuckets) * math.Exp2(float64(shift))
	return low + math.Exp2(float64(shift))/2
}

func (l *latencies) add(d time.Duration) {
	l.buckets[min(bucketOf(uint64(max(d, 0))), len(l.buckets)-1)]++
	l.n++
}

func (l *latencies) merge(o *latencies) {
	for i, n := range o.buckets {
		l.buckets[i] += n
	}
	l.n += o.n
}

func (l *latencies) count() int64 { return l.n }

// quantile returns the q-quantile in microseconds, 0 without any value.
func (l *latencies) quantile(q float64) float64 {
	if l.n == 0 {
		return 0
	}
	rank := int64(math.Ceil(q * float64(l.n)))
	var seen int64
	for i, n := range l.buckets {
		if seen += n; seen >= rank && n > 0 {
			return math.Round(valueOf(i)/10) / 100
		}
	}
	return 0
}

// clockTick is the unit of processor times in /proc: USER_HZ, 100 on every Linux platform of Go.
const clockTick = 10 * time.Millisecond

// processorTimes returns the processor time that each node on this machine has used so far.
func processorTimes(nodes []*coorddv1.NodeStatus) map[string]time.Duration {
	times := make(map[string]time.Duration)
	for _, n := range nodes {
		if runsHere(n) {
			times[n.GetName()] = processorTime(n.GetPid())
		}
	}
	return times
}

// endedBetween reports whether a node's process of this machine ended between two looks at the processor times: what
// it used is lost with it.
func endedBetween(n *coorddv1.NodeStatus, before, after map[string]time.Duration) bool {
	return runsHere(n) && after[n.GetName()] < before[n.GetName()]
}

// runsHere reports whether a node's process is one of this machine, so that its process ID means something.
func runsHere(n *coorddv1.NodeStatus) bool {
	host, _, err := net.SplitHostPort(n.GetPeer())
	if err != nil || n.GetPid() == 0 || !n.GetReachable() {
		return false
	}
	ip := net.ParseIP(host)
	if host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil || ip == nil {
		return false
	}
	for _, a := range addrs {
		if own, ok := a.(*net.IPNet); ok && own.IP.Equal(ip) {
			return true
		}
	}
	return false
}

// processorTime reads user and system time of a process, 0 where there is none.
func processorTime(pid int64) time.Duration {
	b, err := os.ReadFile("/proc/" + strconv.FormatInt(pid, 10) + "/stat")
	if err != nil {
		return 0
	}
	// Behind the name, which may hold anything: state is field 3, utime 14, stime 15.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(string(f[11]), 10, 64)
	system, _ := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(user+system) * clockTick
}

// memoryOf returns the resident memory of a node on this machine, 0 elsewhere.
func memoryOf(n *coorddv1.NodeStatus) int64 {
	if !runsHere(n) {
		return 0
	}
	b, err := os.ReadFile("/proc/" + strconv.FormatInt(n.GetPid(), 10) + "/statm")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(f[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}
