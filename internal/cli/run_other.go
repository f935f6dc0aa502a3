//go:build unix && !linux

package cli

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// descendantsKnown: outside Linux only the process group is ended.
const descendantsKnown = false

// sinceBoot is the time since some moment, the same in all processes.
func sinceBoot() time.Duration { return clock(unix.CLOCK_MONOTONIC) }

func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
func becomeSubreaper()                      {}
func descendants(int) []int                 { return nil }
func carrying(string) []int                 { return nil }

// process is as far as it is known here: not at all.
type process struct{ pid, parent int }

func readProcess(int) (process, bool) { return process{}, false }
