package badgerlog

import (
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
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
	base, err := l.markAt(b.TruncateAfter)
	if err != nil {
		return l.fail(err)
	}
	bytes, err := l.check(&b, base)
	if err != nil {
		return err
	}
	b.HardState.Commit = max(b.HardState.Commit, l.rec.hs.Commit)
	if b.Base != nil {
		if err := l.agrees(*b.Base, base); err != nil {
			return l.fail(err)
		}
		b.HardState.Commit = max(b.HardState.Commit, b.Base.Last)
		base = *b.Base
	}
	stored := l.rec.hs
	stored.Commit = b.HardState.Commit
	if b.Base == nil && len(b.Entries) == 0 && b.TruncateAfter == l.rec.end.Last && b.HardState == stored {
		l.lazyCommit = l.lazyCommit || l.rec.hs.Commit != stored.Commit
		l.rec.hs.Commit = stored.Commit
		return nil
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

// markAt is the mark of the log as it would be if it ended at index. What lies outside is Check's to refuse.
func (l *Log) markAt(index uint64) (raft.Mark, error) {
	switch {
	case index >= l.rec.end.Last:
		return l.rec.end, nil
	case index <= l.rec.base.Last:
		return l.rec.base, nil
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

// check refuses what breaks a rule, before anything is touched, and returns the batch's bytes.
func (l *Log) check(b *storage.Batch, base raft.Mark) (bytes int, err error) {
	if err := b.Check(l.rec.first, l.rec.end.Last, l.rec.hs.Commit, base.LastTerm); err != nil {
		return 0, err
	}
	if err := storage.CheckHardState(l.rec.hs, b.HardState); err != nil {
		return 0, err
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		if len(e.Data) > l.limits.data {
			return 0, fmt.Errorf("%w: entry %d has %d bytes of data, at most %d fit into one transaction",
				storage.ErrTooLarge, e.Index, len(e.Data), l.limits.data)
		}
		if e.Kind == raft.EntryConfig {
			if _, err := raft.DecodeConfiguration(e.Data); err != nil {
				return 0, fmt.Errorf("%w: configuration at %d: %w", storage.ErrBadBatch, e.Index, err)
			}
		}
		bytes += costBytes(entryKeyBytes, entryValueBytes(len(e.Data)))
	}
	return bytes + recordBytes + slotBytes, nil
}

// firstPart is how many of the entries fit into one transaction.
func (l *Log) firstPart(es []raft.Entry) int {
	bytes := 0
	for i := range es {
		bytes += costBytes(entryKeyBytes, entryValueBytes(len(es[i].Data)))
		if bytes > l.limits.bytes || i == l.limits.entries {
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
	before, cut := l.rec.end, b.Base != nil || base.Last < l.rec.end.Last
	lost, err := l.lostBytes(b)
	if err != nil {
		return base, err
	}
	next, err := l.buf.fill(base, b.Entries, l.recovering)
	if err != nil {
		return base, refuse(l.opt.Dir, ErrDiverged, adviceReplace, "%v", err)
	}
	if b.Base != nil {
		l.rec.base, l.rec.first, l.rec.cluster = *b.Base, b.Base.Last+1, b.ClusterID
		l.configs = nil
	}
	l.rec.hs, l.rec.end = b.HardState, next
	l.buf.addRecord(&l.rec)

	mark := slotMark(before, next, cut, l.recovering)
	// A mark that goes back has to be durable before the log does.
	slotFirst := mark.Before(l.sidecar.slot.mark)
	if err := l.both(slotFirst, func() error { return l.put(mark) }, l.commit); err != nil {
		return base, err
	}
	l.lazyCommit = false
	l.follow(base, b.Entries)
	l.bytes.Add(entriesBytes(b.Entries) - lost)
	if b.Base != nil {
		l.sweeper.kick(l.rec.base.Last)
	}
	if l.recovering != nil && !next.Before(*l.recovering) {
		l.recovering = nil
		l.logger.Info("the log has again what it once acknowledged", "term", next.LastTerm, "last", next.Last)
		l.observeRecovering()
	}
	if l.opt.Observer != nil {
		l.opt.Observer.LogSync(time.Since(start).Seconds(), len(l.buf.values), len(b.Entries))
	}
	return next, nil
}

// follow keeps the list of configurations in step with the log.
func (l *Log) follow(base raft.Mark, es []raft.Entry) {
	for n := len(l.configs); n > 0 && l.configs[n-1].index > base.Last; n-- {
		l.configs = l.configs[:n-1]
	}
	for i := range es {
		if e := &es[i]; e.Kind == raft.EntryConfig {
			c, _ := raft.DecodeConfiguration(e.Data) // check has read it
			l.configs = append(l.configs, configAt{index: e.Index, clusterID: c.ClusterID})
		}
	}
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
	l.buf.addRecord(&l.rec)
	if err := l.commit(); err != nil {
		return fmt.Errorf("storing the hard state: %w", err)
	}
	l.lazyCommit = false
	return nil
}

// batchBuffer is the memory of one transaction, used again for the next: Badger holds on to keys and values
// until the transaction is committed, and no longer.
type batchBuffer struct {
	keys, values []byte
	entries      []badger.Entry
}

func (b *batchBuffer) reset(entries, valueBytes int) {
	b.keys = slices.Grow(b.keys[:0], entries*entryKeyBytes)
	b.values = slices.Grow(b.values[:0], valueBytes+recordBytes)
	b.entries = slices.Grow(b.entries[:0], entries+1)
}

// fill takes the entries behind base and returns the mark of the last one. It fails where the chain reaches the
// mark that the member is recovering to with another hash: then something before it is not what it was.
func (b *batchBuffer) fill(base raft.Mark, es []raft.Entry, recovering *raft.Mark) (raft.Mark, error) {
	bytes := 0
	for i := range es {
		bytes += entryValueBytes(len(es[i].Data))
	}
	b.reset(len(es), bytes)
	m := base
	for i := range es {
		e := &es[i]
		key, value := len(b.keys), len(b.values)
		b.keys = appendEntryKey(b.keys, e.Index)
		b.values, m.Hash = appendEntryValue(b.values, m.Hash, e)
		m.LastTerm, m.Last = e.Term, e.Index
		if r := recovering; r != nil && m.Last == r.Last && m.LastTerm == r.LastTerm && m.Hash != r.Hash {
			return m, fmt.Errorf("entry %d of term %d", m.Last, m.LastTerm)
		}
		b.entries = append(b.entries, badger.Entry{Key: b.keys[key:], Value: b.values[value:]})
	}
	return m, nil
}

func (b *batchBuffer) addRecord(r *record) {
	value := len(b.values)
	b.values = appendRecord(b.values, r)
	b.entries = append(b.entries, badger.Entry{Key: recordKey, Value: b.values[value:]})
}
