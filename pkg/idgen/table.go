package idgen

import (
	"errors"
	"fmt"

	"github.com/tidwall/btree"
)

// Table is a set of sequences by key. The zero value is not usable; call NewTable.
type Table struct {
	sequences *btree.Map[string, *Sequence]
	lastID    uint32
}

// NewTable returns an empty table whose first sequence gets ID 1.
func NewTable() *Table { return &Table{sequences: btree.NewMap[string, *Sequence](0)} }

// Copy returns an immutable picture of the table in O(1).
func (t *Table) Copy() *Table { return &Table{sequences: t.sequences.Copy(), lastID: t.lastID} }

// Len returns the number of sequences.
func (t *Table) Len() int { return t.sequences.Len() }

// LastID returns the last sequence ID that was given.
func (t *Table) LastID() uint32 { return t.lastID }

// Get returns the sequence of this key.
func (t *Table) Get(key string) (Sequence, bool) {
	if s, ok := t.sequences.Get(key); ok {
		return *s, true
	}
	return Sequence{}, false
}

// Ascend calls f for each sequence with key ≥ from, in the order of keys, until f returns false.
func (t *Table) Ascend(from string, f func(key string, s Sequence) bool) {
	t.sequences.Ascend(from, func(key string, s *Sequence) bool { return f(key, *s) })
}

// Create makes a sequence. Made again with the same values it is returned as it stands; with others that
// is ErrConflict.
func (t *Table) Create(key string, p Params) (Sequence, error) {
	if err := p.Validate(); err != nil {
		return Sequence{}, err
	}
	if s, ok := t.sequences.Get(key); ok {
		if s.Params != p {
			return *s, fmt.Errorf("%w: min %d, max %d, step %d, start %d, cycle %t, strict %t, max_range %d", ErrConflict,
				s.Min, s.Max, s.Step, s.Start, s.Cycle, s.Strict, s.MaxRange)
		}
		return *s, nil
	}
	if t.lastID >= MaxSequenceID {
		return Sequence{}, ErrNoSequenceIDs
	}
	s, err := NewSequence(p, t.lastID+1)
	if err != nil {
		return Sequence{}, err
	}
	t.lastID++
	t.sequences.Set(key, &s)
	return s, nil
}

// Alloc takes a range of a sequence; see Sequence.Alloc.
func (t *Table) Alloc(key string, want, atLeast int64) (Range, error) {
	s, ok := t.sequences.Get(key)
	if !ok {
		return Range{}, ErrNotFound
	}
	r, next, err := s.Alloc(want, atLeast)
	if err != nil {
		return Range{}, err
	}
	t.sequences.Set(key, &next)
	return r, nil
}

// Advance moves a sequence forward; see Sequence.Advance.
func (t *Table) Advance(key string, to int64) (Sequence, error) {
	s, ok := t.sequences.Get(key)
	if !ok {
		return Sequence{}, ErrNotFound
	}
	next, err := s.Advance(to)
	if err != nil {
		return *s, err
	}
	t.sequences.Set(key, &next)
	return next, nil
}

// Delete removes a sequence. Its ID is never used again.
func (t *Table) Delete(key string) (Sequence, error) {
	s, ok := t.sequences.Delete(key)
	if !ok {
		return Sequence{}, ErrNotFound
	}
	return *s, nil
}

// Put adds a sequence of a snapshot; they come in the order of their keys.
func (t *Table) Put(key string, s Sequence) error {
	if last, _, ok := t.sequences.Max(); ok && last >= key {
		return fmt.Errorf("%w: %q is out of order", ErrCorrupt, key)
	}
	t.sequences.Set(key, &s)
	return nil
}

// SetLastID restores the ID counter of a snapshot.
func (t *Table) SetLastID(id uint32) { t.lastID = id }

// Check verifies each sequence, and that no ID is used twice or was never given.
func (t *Table) Check() error {
	var err error
	ids := make(map[uint32]string, t.sequences.Len())
	t.sequences.Scan(func(key string, s *Sequence) bool {
		if bad := s.valid(); bad != nil {
			err = errors.Join(fmt.Errorf("%w: %q", ErrCorrupt, key), bad)
		} else if other, dup := ids[s.ID]; dup {
			err = fmt.Errorf("%w: %q and %q share sequence ID %d", ErrCorrupt, key, other, s.ID)
		} else if s.ID > t.lastID {
			err = fmt.Errorf("%w: sequence ID %d of %q was never given (last %d)", ErrCorrupt, s.ID, key, t.lastID)
		}
		ids[s.ID] = key
		return err == nil
	})
	if err == nil && t.lastID > MaxSequenceID {
		err = fmt.Errorf("%w: sequence ID counter %d", ErrCorrupt, t.lastID)
	}
	return err
}
