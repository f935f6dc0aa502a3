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
	MaxValueBytes     = 4 << 10 // of an election
	MaxHolding        = 64      // fences that an acquire says to hold
	MaxNames          = 256     // of one acquire-all
	MaxLimit          = 1<<31 - 1
	MaxParties        = 10_000 // of a barrier
	MaxDelay          = int64(24 * time.Hour)
	MinMaxHold        = int64(time.Millisecond)

	MinTTL = int64(time.Second)
	MaxTTL = int64(24 * time.Hour)

	// Window is how many seqs, from the floor on, may be outstanding.
	Window = 1024
)

// Quotas. What exceeds one is refused with QUOTA; what exists is never evicted. A ticket counts as often as it has
// holds or places in queues: that of an acquire-all once for each of its names.
const (
	MaxSessions              = 1_000_000
	MaxSessionsPerNamespace  = 100_000
	MaxTickets               = 4_000_000 // holds and waiters, of all sessions
	MaxTicketsPerSession     = 10_000    // so that a keepalive's answer fits in a message
	MaxHoldsPerNamespace     = 2_000_000
	MaxWaitersPerNamespace   = 1_000_000
	MaxGatesPerNamespace     = 10_000 // barriers and latches
	MaxSequences             = 100_000
	MaxSequencesPerNamespace = 10_000
	MaxEndedTickets          = 1024 // ends of tickets that a session hasn't acknowledged
	maxResumes               = 16   // resume nonces that a session remembers
)

// Timelines. Transitions is how many of a lock's last transitions are kept; MaxFreeTimelines of how many free locks:
// of more, those that have been free for the longest time are forgotten.
const (
	Transitions      = 16
	MaxFreeTimelines = 16_384
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
func checkAcquire(a *Acquire) (Code, string) {
	switch {
	case a.Mode < Exclusive || a.Mode > Semaphore:
		return CodeBadRequest, fmt.Sprintf("lock mode %d is not supported by this version", a.Mode)
	case a.Mode == Semaphore && (a.Limit == 0 || a.Limit > MaxLimit):
		return CodeBadRequest, fmt.Sprintf("a semaphore's limit is 1 to %d, not %d", MaxLimit, a.Limit)
	case a.Mode == Semaphore && a.Count > a.Limit:
		return CodeBadRequest, fmt.Sprintf("%d permits are more than the limit of %d: they would never be free", a.Count, a.Limit)
	case a.Mode == Semaphore && a.Reentrant:
		return CodeBadRequest, "a semaphore is not reentrant"
	case a.Mode != Semaphore && a.Limit != 0:
		return CodeBadRequest, "only a semaphore has a limit"
	case a.Mode != Semaphore && a.Count > 1:
		return CodeBadRequest, "only a semaphore is acquired with a count"
	case len(a.Value) > MaxValueBytes:
		return CodeTooLarge, fmt.Sprintf("the value has %d bytes, at most %d are allowed", len(a.Value), MaxValueBytes)
	}
	return checkWait(a.Wait, a.Delay, a.MaxHold, a.Holding, a.Metadata)
}

// checkWait returns what is wrong with what all ways to acquire have in common, or "".
func checkWait(wait, delay, maxHold int64, holding []uint64, metadata map[string]string) (Code, string) {
	switch {
	case wait < 0 && wait != NoWaitLimit:
		return CodeBadRequest, fmt.Sprintf("a wait of %s is negative", time.Duration(wait))
	case delay < 0 || delay > MaxDelay:
		return CodeBadRequest, fmt.Sprintf("a lock-delay is 0 to 24h, not %s", time.Duration(delay))
	case maxHold != 0 && maxHold < MinMaxHold:
		return CodeBadRequest, fmt.Sprintf("a max-hold is at least 1ms, or 0 for none, not %s", time.Duration(maxHold))
	case len(holding) > MaxHolding:
		return CodeBadRequest, fmt.Sprintf("an acquire says to hold at most %d fences, not %d", MaxHolding, len(holding))
	}
	return CodeBadRequest, checkMetadata(metadata)
}

// checkNames returns what is wrong with the names of an acquire-all, or "".
func checkNames(names []string) (Code, string) {
	if len(names) == 0 || len(names) > MaxNames {
		return CodeBadRequest, fmt.Sprintf("acquire-all takes 1 to %d names, not %d", MaxNames, len(names))
	}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if bad := checkName(name); bad != "" {
			return CodeBadName, bad
		}
		if seen[name] {
			return CodeBadRequest, fmt.Sprintf("acquire-all has the name %q twice", name)
		}
		seen[name] = true
	}
	return OK, ""
}

// waitEnd returns the instant at which an acquire's wait ends.
func (m *Machine) waitEnd(wait int64) int64 {
	if wait == NoWaitLimit {
		return math.MaxInt64
	}
	return after(m.now, wait)
}
