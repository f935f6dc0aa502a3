package badgerlog

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

// found is what a walk over the whole log finds: the part from the first entry on that is sound.
type found struct {
	end     raft.Mark
	runs    []raft.TermRun
	configs []configAt
	// last two configurations, whole
	config, configPrev *raft.Entry
	bytes              int64 // of the entries, as Entry.Size counts them
	// broken says why the sound part ends before the log does; nil: it does not.
	broken error
}

// configAt is a configuration entry of the log; truncation goes back to the one before it.
type configAt struct {
	index     uint64
	clusterID raft.ClusterID
}

// walk reads the log of rec, which begins behind its base, from its first entry to its last and stops at the first one that is missing, is
// damaged, does not continue the chain, or is not what mark remembers.
func walk(db *badger.DB, rec *record, mark raft.Mark) (found, error) {
	f := found{end: rec.base}
	err := db.View(func(txn *badger.Txn) error {
		it := newEntryIterator(txn)
		defer it.Close()
		for it.Seek(appendEntryKey(nil, rec.first)); it.Valid() && f.end.Last < rec.end.Last; it.Next() {
			item := it.Item()
			want := f.end.Last + 1
			index, ok := entryKeyIndex(item.Key())
			if !ok || index != want {
				f.broken = fmt.Errorf("entry %d is missing", want)
				return nil
			}
			if err := item.Value(func(value []byte) error { return f.add(index, value, rec, mark) }); err != nil {
				return err
			}
			if f.broken != nil {
				return nil
			}
		}
		if f.end.Last < rec.end.Last {
			f.broken = fmt.Errorf("entry %d is missing", f.end.Last+1)
		}
		return nil
	})
	return f, err
}

// add takes the entry at index, or says why it ends the sound part. An error is one that no recovery mends.
func (f *found) add(index uint64, value []byte, rec *record, mark raft.Mark) error {
	e, prev, link, err := parseEntryValue(value)
	switch {
	case err != nil:
		f.broken = fmt.Errorf("entry %d: %w", index, err)
	case e.Index != index:
		f.broken = fmt.Errorf("entry %d says that it is %d", index, e.Index)
	case e.Term < f.end.LastTerm || e.Term > rec.end.LastTerm:
		f.broken = fmt.Errorf("entry %d has term %d between terms %d and %d", index, e.Term, f.end.LastTerm, rec.end.LastTerm)
	case prev != f.end.Hash:
		f.broken = fmt.Errorf("entry %d does not continue the chain", index)
	}
	if f.broken != nil {
		return nil
	}
	next := raft.Mark{LastTerm: e.Term, Last: index, Hash: storage.HashLink(link)}
	for _, m := range [...]raft.Mark{rec.end, mark} {
		// An entry of another term at the mark's position is a later truth; one of the same term can't differ.
		if index == m.Last && e.Term == m.LastTerm && next.Hash != m.Hash {
			f.broken = fmt.Errorf("entry %d has another hash than was acknowledged", index)
			return nil
		}
	}
	if index == rec.end.Last && e.Term != rec.end.LastTerm {
		f.broken = fmt.Errorf("entry %d has term %d, the bounds say %d", index, e.Term, rec.end.LastTerm)
		return nil
	}
	if e.Kind == raft.EntryConfig {
		e.Data = append([]byte(nil), e.Data...)
		c, err := raft.DecodeConfiguration(e.Data)
		if err != nil {
			return fmt.Errorf("configuration at %d: %w", index, err)
		}
		f.configs = append(f.configs, configAt{index: index, clusterID: c.ClusterID})
		f.configPrev, f.config = f.config, &e
	}
	f.bytes += int64(e.Size())
	if n := len(f.runs); n == 0 || f.runs[n-1].Term != e.Term {
		f.runs = append(f.runs, raft.TermRun{First: index, Term: e.Term})
	}
	f.end = next
	return nil
}

// newEntryIterator iterates over the entries. Every value is in the tree already, so that Badger's prefetching,
// a goroutine for each value, has nothing to fetch.
func newEntryIterator(txn *badger.Txn) *badger.Iterator {
	return txn.NewIterator(badger.IteratorOptions{Prefix: []byte{entryPrefix}})
}

// sweep deletes the entries lo ≤ index ≤ hi, most in one transaction, and returns how many there were.
func sweep(db *badger.DB, lo, hi uint64, most int) (int, error) {
	for swept := 0; ; {
		n, next, err := sweepSome(db, lo, hi, most)
		if err != nil || n == 0 {
			return swept, err
		}
		swept, lo = swept+n, next
	}
}

// sweepSome deletes the first of the entries lo ≤ index ≤ hi, at most so many, in one transaction. It returns how
// many there were, and the index below which none is left: from there on the iterator finds no tombstones.
func sweepSome(db *badger.DB, lo, hi uint64, most int) (n int, next uint64, err error) {
	next = lo
	var keys [][]byte
	err = db.View(func(txn *badger.Txn) error {
		it := newEntryIterator(txn)
		defer it.Close()
		for it.Seek(appendEntryKey(nil, lo)); it.Valid() && len(keys) < most; it.Next() {
			index, ok := entryKeyIndex(it.Item().Key())
			if ok && index > hi {
				break
			}
			keys = append(keys, it.Item().KeyCopy(nil))
			if ok {
				next = index + 1
			}
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		return 0, next, err
	}
	err = db.Update(func(txn *badger.Txn) error {
		for _, key := range keys {
			if err := txn.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	return len(keys), next, err
}
