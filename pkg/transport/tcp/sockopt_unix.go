//go:build unix

package tcp

import "syscall"

// setTTL sets both options, because a socket of IPv6 may speak IPv4 too; the one that does not fit fails.
func setTTL(fd uintptr, ttl int) {
	syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TTL, ttl)
	syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS, ttl)
}
