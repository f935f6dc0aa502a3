package badgerlog

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// Position implements storage.Log. Like Entries, it reads one state of Badger, with the bounds of that state.
func (l *Log) Position(index uint64) (raft.Mark, error) {
	l.inUse.RLock()
	defer l.inUse.RUnlock()
	if !l.open {
		return raft.Mark{}, storage.ErrClosed
	}
	if err := l.err(); err != nil {
		return raft.Mark{}, err
	}
	var m raft.Mark
	err := l.db.View(func(txn *badger.Txn) error {
		rec, _, err := readRecord(txn, l.opt.Member, l.state.Incarnation)
		switch {
		case err != nil:
			return err
		case index < rec.Base.Last:
			return storage.ErrCompacted
		case index > rec.End.Last:
			return storage.ErrUnavailable
		case index == rec.Base.Last:
			m = rec.Base
			return nil
		}
		m, err = readMark(txn, index)
		return err
	})
	if err != nil {
		return raft.Mark{}, fmt.Errorf("position of entry %d: %w", index, err)
	}
	return m, nil
}

// readMark reads the mark of an entry that exists.
func readMark(txn *badger.Txn, index uint64) (m raft.Mark, err error) {
	item, err := txn.Get(ledger.AppendEntryKey(nil, index))
	if err != nil {
		return m, err
	}
	err = item.Value(func(value []byte) error {
		e, _, link, err := ledger.ParseEntryValue(value)
		if err == nil && e.Index != index {
			err = fmt.Errorf("entry %d says that it is %d: %w", index, e.Index, ErrDamaged)
		}
		m = raft.Mark{LastTerm: e.Term, Last: index, Hash: storage.HashLink(link)}
		return err
	})
	return m, err
}

// Compact implements storage.Log. The new base is one small transaction, for which an Append waits; the keys in
// front of it are garbage from then on, and the sweeper takes them away.
func (l *Log) Compact(index uint64) error {
	todo, freed, err := l.prepareCompact(index)
	if !todo || err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if todo, err := l.compactable(index); !todo || err != nil {
		return err // an install came between, or Close
	}
	if err := l.space.roomToShrink(); err != nil {
		return err
	}
	base, err := l.markAt(index)
	if err == nil {
		l.ledger.Compact(base)
		err = l.storeRecord()
	}
	if err != nil {
		err = fmt.Errorf("compacting up to %d: %w", index, err)
		l.failBeside(err)
		return err
	}
	l.bytes.Add(-freed)
	l.sweeper.kick(index)
	return nil
}

// prepareCompact does what takes long and needs no lock: it counts the bytes that go. What is committed is not
// overwritten, so the count stays right.
func (l *Log) prepareCompact(index uint64) (todo bool, freed int64, err error) {
	l.mu.Lock()
	todo, err = l.compactable(index)
	first := l.ledger.Record.First
	l.mu.Unlock()
	if !todo || err != nil {
		return false, 0, err
	}
	l.inUse.RLock()
	defer l.inUse.RUnlock()
	if !l.open {
		return false, 0, storage.ErrClosed
	}
	freed, err = l.sumBytes(first, index)
	return true, freed, err
}

// compactable reports whether there is something to remove up to index.
func (l *Log) compactable(index uint64) (bool, error) {
	switch {
	case l.timer == nil:
		return false, storage.ErrClosed
	case l.err() != nil:
		return false, l.err()
	}
	return l.ledger.Compactable(index)
}

// Bytes implements storage.Sizer.
func (l *Log) Bytes() int64 { return l.bytes.Load() }

// lostBytes is what Bytes loses by a batch, before it is written.
func (l *Log) lostBytes(b *storage.Batch) (int64, error) {
	switch {
	case b.Base != nil:
		return l.bytes.Load(), nil
	case b.TruncateAfter >= l.ledger.Record.End.Last:
		return 0, nil
	}
	return l.sumBytes(b.TruncateAfter+1, l.ledger.Record.End.Last)
}

// sumBytes adds up the sizes of entries that exist. It reads keys and lengths, no values.
func (l *Log) sumBytes(lo, hi uint64) (n int64, err error) {
	err = l.db.View(func(txn *badger.Txn) error {
		it := newEntryIterator(txn)
		defer it.Close()
		for it.Seek(ledger.AppendEntryKey(nil, lo)); it.Valid(); it.Next() {
			index, ok := ledger.EntryKeyIndex(it.Item().Key())
			if !ok || index > hi {
				return nil
			}
			n += sizeOfEntry(int(it.Item().ValueSize()))
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("counting the bytes of entries %d to %d: %w", lo, hi, err)
	}
	return n, nil
}

// sizeOfEntry is Entry.Size of the entry whose value has so many bytes.
func sizeOfEntry(valueBytes int) int64 {
	var none raft.Entry
	return int64(valueBytes - ledger.EntryValueBytes(0) + none.Size())
}

func entriesBytes(es []raft.Entry) (n int64) {
	for i := range es {
		n += int64(es[i].Size())
	}
	return n
}
