package node

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node/failure"
)

// FailureDetectorFactory makes the detector of one member; heartbeat is the interval at which the leader expects its
// answers.
type FailureDetectorFactory func(member raft.MemberID, heartbeat time.Duration) failure.Detector

// PhiDetector makes φ accrual failure detectors with a threshold, 0 for that of package failure.
func PhiDetector(threshold float64) FailureDetectorFactory {
	return func(_ raft.MemberID, heartbeat time.Duration) failure.Detector {
		return failure.NewPhi(failure.PhiConfig{Threshold: threshold, Expected: heartbeat})
	}
}
