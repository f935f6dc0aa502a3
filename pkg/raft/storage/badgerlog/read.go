package badgerlog

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// slabBytes is how much data of entries that are read together shares one allocation.
const slabBytes = 64 << 10

// Entries implements storage.Log. It reads from one Badger snapshot, with the bounds of that snapshot, so that a
// truncation beside it is seen whole or not at all. Badger waits for a batch that is being synced.
func (l *Log) Entries(lo, hi uint64, maxBytes int) ([]raft.Entry, error) {
	l.inUse.RLock()
	defer l.inUse.RUnlock()
	if !l.open {
		return nil, storage.ErrClosed
	}
	if err := l.err(); err != nil {
		return nil, err // what a failed batch left is visible, but not durable
	}
	var out []raft.Entry
	err := l.db.View(func(txn *badger.Txn) error {
		rec, _, err := readRecord(txn, l.opt.Member, l.state.Incarnation)
		if err != nil {
			return err
		}
		switch {
		case lo < rec.First:
			return storage.ErrCompacted
		case lo > rec.End.Last || lo >= hi:
			return storage.ErrUnavailable
		}
		out, err = readRange(txn, lo, min(hi, rec.End.Last+1), maxBytes)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading entries %d to %d: %w", lo, hi, err)
	}
	return out, nil
}

// readRange reads lo ≤ index < hi, all of which exist, until maxBytes are passed, and checks what it reads as
// far as it can without the rest of the log.
func readRange(txn *badger.Txn, lo, hi uint64, maxBytes int) ([]raft.Entry, error) {
	it := newEntryIterator(txn)
	defer it.Close()
	out := make([]raft.Entry, 0, min(hi-lo, uint64(max(maxBytes, 0))/64+1))
	var slab []byte
	var size int
	var hash storage.Hash
	it.Seek(ledger.AppendEntryKey(nil, lo))
	for want := lo; want < hi; want++ {
		if !it.Valid() {
			return nil, fmt.Errorf("entry %d is missing: %w", want, ErrDamaged)
		}
		full := false
		err := it.Item().Value(func(value []byte) error {
			e, prev, link, err := ledger.ParseEntryValue(value)
			if err != nil {
				return fmt.Errorf("entry %d: %w: %w", want, err, ErrDamaged)
			}
			if e.Index != want || (want > lo && prev != hash) {
				return fmt.Errorf("entry %d does not continue the chain: %w", want, ErrDamaged)
			}
			if size += e.Size(); size > maxBytes && want > lo {
				full = true
				return nil
			}
			hash = storage.HashLink(link)
			if n := len(e.Data); n > 0 {
				if cap(slab)-len(slab) < n {
					slab = make([]byte, 0, max(n, min(slabBytes, maxBytes)))
				}
				at := len(slab)
				slab = append(slab, e.Data...)
				e.Data = slab[at : at+n : at+n]
			}
			out = append(out, e)
			return nil
		})
		if err != nil {
			return nil, err
		}
		if full {
			break
		}
		it.Next()
	}
	return out, nil
}
