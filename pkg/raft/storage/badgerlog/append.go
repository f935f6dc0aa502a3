package badgerlog

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/ledger"
)

// Append implements storage.Log.
func (l *Log) Append(b storage.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		return storage.ErrClosed
	}
	if err := l.err(); err != nil {
		return err
	}
	bytes, err := l.measureBatch(&b)
	if err != nil {
		return err
	}
	at, err := l.markAt(b.TruncateAfter)
	if err != nil {
		return l.fail(err)
	}
	base, write, err := l.ledger.Begin(&b, at)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return l.fail(err)
	case err != nil || !write:
		return err
	}
	if err := l.space.room(bytes); err != nil {
		return err
	}
	for {
		part := b
		part.Entries = b.Entries[:l.firstPart(b.Entries)]
		if base, err = l.write(&part, base); err != nil {
			return l.fail(fmt.Errorf("appending behind %d: %w", b.TruncateAfter, err))
		}
		b.Entries = b.Entries[len(part.Entries):]
		b.TruncateAfter, b.Base = base.Last, nil
		if len(b.Entries) == 0 {
			break
		}
	}
	l.appended.Store(int64(clock()))
	l.timer.Reset(markDelay)
	return nil
}

// markAt is the mark of the log as it would be if it ended at index. What lies outside is Begin's to refuse.
func (l *Log) markAt(index uint64) (raft.Mark, error) {
	switch r := &l.ledger.Record; {
	case index >= r.End.Last:
		return r.End, nil
	case index <= r.Base.Last:
		return r.Base, nil
	}
	var m raft.Mark
	err := l.db.View(func(txn *badger.Txn) (err error) {
		m, err = readMark(txn, index)
		return err
	})
	if err != nil {
		return m, fmt.Errorf("reading entry %d, behind which the log is cut: %w", index, err)
	}
	return m, nil
}

// measureBatch returns a batch's bytes, and refuses what does not fit.
func (l *Log) measureBatch(b *storage.Batch) (bytes int, err error) {
	for i := range b.Entries {
		e := &b.Entries[i]
		if len(e.Data) > l.limits.data {
			return 0, fmt.Errorf("%w: entry %d has %d bytes of data, at most %d fit into one transaction",
				storage.ErrTooLarge, e.Index, len(e.Data), l.limits.data)
		}
		bytes += costBytes(ledger.EntryKeyBytes, ledger.EntryValueBytes(len(e.Data)))
	}
	return bytes + ledger.RecordBytes + ledger.SlotBytes, nil
}

// firstPart is how many of the entries fit into one transaction.
func (l *Log) firstPart(es []raft.Entry) int {
	bytes := 0
	for i := range es {
		bytes += costBytes(ledger.EntryKeyBytes, ledger.EntryValueBytes(len(es[i].Data)))
		if (bytes > l.limits.bytes || i == l.limits.entries) && !canary.Broken(canary.BatchIsSplit) {
			return i
		}
	}
	return len(es)
}

// write makes one part durable: its entries behind base, with the batch's hard state, and where it has a Base,
// that and nothing before it. It returns the mark of the log after it. After an error nothing that l remembers
// counts any more.
func (l *Log) write(b *storage.Batch, base raft.Mark) (raft.Mark, error) {
	start := time.Now()
	lost, err := l.lostBytes(b)
	if err != nil {
		return base, err
	}
	next, err := l.buf.fill(base, b.Entries, l.ledger)
	if err != nil {
		return base, err
	}
	p := l.ledger.Plan(b, base, next)
	l.buf.addRecord(&p.Record)
	if err := l.both(p.SlotFirst, func() error { return l.put(p.Slot) }, l.commit); err != nil {
		return base, err
	}
	recovered := l.ledger.Wrote(&p, b.Entries)
	l.bytes.Add(entriesBytes(b.Entries) - lost)
	if b.Base != nil {
		l.sweeper.kick(b.Base.Last)
	}
	if recovered {
		l.logger.Info("the log has again what it once acknowledged", "term", next.LastTerm, "last", next.Last)
		l.observeRecovering()
	}
	if l.opt.Observer != nil {
		l.opt.Observer.LogSync(time.Since(start).Seconds(), len(l.buf.values), len(b.Entries))
	}
	return next, nil
}

// commit stores what is in the buffer in one transaction.
func (l *Log) commit() error {
	txn := l.db.NewTransaction(true)
	defer txn.Discard()
	for i := range l.buf.entries {
		if err := txn.SetEntry(&l.buf.entries[i]); err != nil {
			return fmt.Errorf("filling the transaction: %w", err)
		}
	}
	if err := txn.Commit(); err != nil {
		return fmt.Errorf("committing the transaction: %w", err)
	}
	return nil
}

// storeRecord stores the hard state and the bounds alone.
func (l *Log) storeRecord() error {
	l.buf.reset(0, 0)
	l.buf.addRecord(&l.ledger.Record)
	if err := l.commit(); err != nil {
		return fmt.Errorf("storing the hard state: %w", err)
	}
	l.ledger.WroteRecord()
	return nil
}

// batchBuffer is the memory of one transaction, used again for the next: Badger holds on to keys and values
// until the transaction is committed, and no longer.
type batchBuffer struct {
	keys, values []byte
	entries      []badger.Entry
}

func (b *batchBuffer) reset(entries, valueBytes int) {
	b.keys = slices.Grow(b.keys[:0], entries*ledger.EntryKeyBytes)
	b.values = slices.Grow(b.values[:0], valueBytes+ledger.RecordBytes)
	b.entries = slices.Grow(b.entries[:0], entries+1)
}

// fill takes the entries behind base and returns the mark of the last one. It fails where the chain reaches the
// mark that the member is recovering to with another hash: then something before it is not what it was.
func (b *batchBuffer) fill(base raft.Mark, es []raft.Entry, g *ledger.Ledger) (raft.Mark, error) {
	bytes := 0
	for i := range es {
		bytes += ledger.EntryValueBytes(len(es[i].Data))
	}
	b.reset(len(es), bytes)
	m := base
	for i := range es {
		e := &es[i]
		key, value := len(b.keys), len(b.values)
		b.keys = ledger.AppendEntryKey(b.keys, e.Index)
		b.values, m.Hash = ledger.AppendEntryValue(b.values, m.Hash, e)
		m.LastTerm, m.Last = e.Term, e.Index
		if err := g.Reaches(m); err != nil {
			return m, err
		}
		b.entries = append(b.entries, badger.Entry{Key: b.keys[key:], Value: b.values[value:]})
	}
	return m, nil
}

func (b *batchBuffer) addRecord(r *ledger.Record) {
	value := len(b.values)
	b.values = ledger.AppendRecord(b.values, r)
	b.entries = append(b.entries, badger.Entry{Key: ledger.RecordKey, Value: b.values[value:]})
}
