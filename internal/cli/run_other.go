//go:build unix && !linux

package cli

import "syscall"

// descendantsKnown: outside Linux only the process group is ended.
const descendantsKnown = false

func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
func becomeSubreaper()                      {}
func descendants(int) []int                 { return nil }
func carrying(string) []int                 { return nil }

// process is as far as it is known here: not at all.
type process struct{ pid, parent int }

func readProcess(int) (process, bool) { return process{}, false }
