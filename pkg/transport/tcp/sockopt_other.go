//go:build !unix

package tcp

// setTTL does nothing where the option has another name: packets have the system's default.
func setTTL(uintptr, int) {}
