package badgerlog

import (
	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// walk reads the log of rec from its first entry to its last, as far as it is sound.
func walk(db *badger.DB, rec *ledger.Record, mark raft.Mark) (*ledger.Scan, error) {
	scan := ledger.NewScan(rec, mark)
	err := db.View(func(txn *badger.Txn) error {
		it := newEntryIterator(txn)
		defer it.Close()
		for it.Seek(ledger.AppendEntryKey(nil, rec.First)); it.Valid() && scan.More(); it.Next() {
			item := it.Item()
			if !scan.Want(item.Key()) {
				break
			}
			if err := item.Value(scan.Add); err != nil {
				return err
			}
		}
		scan.Finish()
		return nil
	})
	return scan, err
}

// newEntryIterator iterates over the entries. Every value is in the tree already, so that Badger's prefetching,
// a goroutine for each value, has nothing to fetch.
func newEntryIterator(txn *badger.Txn) *badger.Iterator {
	return txn.NewIterator(badger.IteratorOptions{Prefix: []byte{ledger.EntryPrefix}})
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
		for it.Seek(ledger.AppendEntryKey(nil, lo)); it.Valid() && len(keys) < most; it.Next() {
			index, ok := ledger.EntryKeyIndex(it.Item().Key())
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
