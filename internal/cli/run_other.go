//go:build unix && !linux

package cli

import "syscall"

// descendantsKnown: outside Linux only the process group is ended.
const descendantsKnown = false

func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
func becomeSubreaper()                      {}
func descendants(int) []int                 { return nil }
func carrying(string) []int                 { return nil }
