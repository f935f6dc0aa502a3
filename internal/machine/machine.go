package machine

import (
	"errors"
	"io"
)

// Entry is one committed entry of the log.
type Entry struct {
	Index, Term uint64
	Time, Wall  int64
	Command     bool // false: no-op or configuration
	Data        []byte
}

// Machine is the replicated state machine.
type Machine struct{ v View }

var errSkeleton = errors.New("machine: API only")

// New returns an empty machine.
func New() *Machine { return &Machine{} }

// Apply executes one entry.
func (m *Machine) Apply(Entry) Result { return Result{Err: errSkeleton} }

// NextDue returns the earliest instant at which something ends.
func (m *Machine) NextDue() (int64, bool) { return 0, false }

// Live returns a window on the live tables.
func (m *Machine) Live() *View { return &m.v }

// View returns an immutable copy.
func (m *Machine) View() *View { return &m.v }

// EncodeCommands encodes one entry's data.
func EncodeCommands([]Command) ([]byte, error) { return nil, errSkeleton }

// DecodeCommands is the reverse of EncodeCommands.
func DecodeCommands([]byte) ([]Command, error) { return nil, errSkeleton }

// View is a read-only picture of a machine.
type View struct{}

// Counts are the machine's figures.
type Counts struct {
	LocksHeld, LockWaiters, Sessions, Sequences uint64
	Grants, Expirations, Timeouts, Forced       uint64
	IDsAllocated, IDRanges, Duplicates          uint64
	SessionsOpened, QuotaRefusals               uint64
}

// Lock returns a lock that isn't free.
func (v *View) Lock(ns, name string) (LockInfo, bool) { return LockInfo{}, false }

// Locks lists.
func (v *View) Locks(ns, prefix, after string, limit int) []LockInfo { return nil }

// Sequence returns one sequence.
func (v *View) Sequence(ns, name string) (SeqInfo, bool) { return SeqInfo{}, false }

// Sequences lists.
func (v *View) Sequences(ns, prefix, after string, limit int) []SeqInfo { return nil }

// Now is cluster time.
func (v *View) Now() int64 { return 0 }

// Index is the last applied index.
func (v *View) Index() uint64 { return 0 }

// Serving tells whether expiry goes on.
func (v *View) Serving() bool { return false }

// Fence is the fence counter.
func (v *View) Fence() uint64 { return 0 }

// Domain is the cluster's ID domain.
func (v *View) Domain() uint16 { return 0 }

// Counts returns the figures.
func (v *View) Counts() Counts { return Counts{} }

// Save writes a snapshot.
func (v *View) Save(io.Writer) error { return errSkeleton }

// Hash is equal on equal states.
func (v *View) Hash() [32]byte { return [32]byte{} }

// Restore reads a snapshot.
func Restore(io.Reader) (*Machine, error) { return nil, errSkeleton }
