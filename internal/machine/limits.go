package machine

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Bounds on what a client may send. They are checked at apply, whatever the service checked before, so
// they are part of the replicated behaviour: changing one needs a new version of the commands.
const (
	MaxNameBytes      = 512
	MaxNamespaceBytes = 64
	MaxOwnerBytes     = 256
	MaxMetadataBytes  = 4 << 10 // keys and values together
	MaxNonceBytes     = 64
	MaxReasonBytes    = 256

	MinTTL = int64(time.Second)
	MaxTTL = int64(24 * time.Hour)

	// Window is how many seqs, from the floor on, may be outstanding.
	Window = 1024
)

// Quotas. What exceeds one is refused with QUOTA; what exists is never evicted.
const (
	MaxSessions              = 1_000_000
	MaxSessionsPerNamespace  = 100_000
	MaxTickets               = 4_000_000 // holds and waiters, of all sessions
	MaxTicketsPerSession     = 10_000    // so that a keepalive's answer fits in a message
	MaxSequences             = 100_000
	MaxSequencesPerNamespace = 10_000
	MaxEndedTickets          = 1024 // ends of tickets that a session hasn't acknowledged
	maxResumes               = 16   // resume nonces that a session remembers
)

// keepalivesPerTTL is how often clients renew a session in one TTL; a grace contains one interval.
const keepalivesPerTTL = 3

// checkNamespace returns what is wrong with a namespace, or "".
func checkNamespace(ns string) string {
	if ns == "" || len(ns) > MaxNamespaceBytes {
		return fmt.Sprintf("a namespace has 1 to %d characters, not %d", MaxNamespaceBytes, len(ns))
	}
	for i := range len(ns) {
		switch c := ns[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return fmt.Sprintf("a namespace has letters, digits, - and _ only, not %q", c)
		}
	}
	return ""
}

// checkName returns what is wrong with the name of a lock or a sequence, or "".
func checkName(name string) string {
	if name == "" || len(name) > MaxNameBytes {
		return fmt.Sprintf("a name has 1 to %d bytes, not %d", MaxNameBytes, len(name))
	}
	for i := 0; i < len(name); {
		c := name[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				return fmt.Sprintf("a name has no control characters, and byte %d is %#02x", i, c)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Sprintf("a name is UTF-8, and byte %d is not", i)
		}
		if r < 0xa0 { // C1 controls
			return fmt.Sprintf("a name has no control characters, and byte %d is U+%04X", i, r)
		}
		i += size
	}
	return ""
}

// checkMetadata returns what is wrong with metadata, or "".
func checkMetadata(md map[string]string) string {
	total, utf := 0, true
	for k, v := range md { // sums and conjunctions: the order doesn't matter
		total += len(k) + len(v)
		utf = utf && utf8.ValidString(k) && utf8.ValidString(v)
	}
	if total > MaxMetadataBytes {
		return fmt.Sprintf("metadata has %d bytes, at most %d are allowed", total, MaxMetadataBytes)
	}
	if !utf {
		return "metadata is not UTF-8"
	}
	return ""
}

// checkOpen returns what is wrong with a request to open a session, or "".
func checkOpen(c *Command) string {
	o := c.Open
	switch {
	case o.TTL < MinTTL || o.TTL > MaxTTL:
		return fmt.Sprintf("a TTL is 1s to 24h, not %s", time.Duration(o.TTL))
	case c.Secret == SecretHash{}:
		return "a session needs a secret"
	case len(o.Owner) > MaxOwnerBytes:
		return fmt.Sprintf("owner has %d bytes, at most %d are allowed", len(o.Owner), MaxOwnerBytes)
	case !utf8.ValidString(o.Owner):
		return "owner is not UTF-8"
	case len(o.Nonce) > MaxNonceBytes:
		return fmt.Sprintf("a nonce has at most %d bytes, not %d", MaxNonceBytes, len(o.Nonce))
	}
	return checkMetadata(o.Metadata)
}

// checkAcquire returns what is wrong with an acquire besides its name, or "".
func checkAcquire(a *Acquire) string {
	switch {
	case a.Mode == Shared, a.Mode == Semaphore:
		return "shared locks and semaphores are not supported by this version"
	case a.Mode != Exclusive:
		return fmt.Sprintf("lock mode %d is not supported by this version", a.Mode)
	case a.Wait < 0 && a.Wait != NoWaitLimit:
		return fmt.Sprintf("a wait of %s is negative", time.Duration(a.Wait))
	}
	return checkMetadata(a.Metadata)
}

// waitEnd returns the instant at which an acquire's wait ends.
func (m *Machine) waitEnd(wait int64) int64 {
	if wait == NoWaitLimit {
		return math.MaxInt64
	}
	return after(m.now, wait)
}
