package node

import (
	"time"

	"github.com/coordd/coordd/pkg/raft"
)

// diskWatch bounds the age of the oldest unfinished append (raft.md, rule 13). A leader whose disk has stalled
// still sends heartbeats, so that nobody else would stand, while nothing that needs its disk gets done.
type diskWatch struct {
	limit      time.Duration
	unfinished []unfinished // in order of seq

	stalled  bool
	giveUpAt time.Duration // when a leader that could not hand over steps down
	gaveUp   bool
	probing  bool
	probeAt  time.Duration
}

type unfinished struct {
	seq uint64
	at  time.Duration // when it was handed to the appender
}

func (d *diskWatch) handOut(b *raft.AppendBatch, now time.Duration) {
	if b.MustWrite {
		d.unfinished = append(d.unfinished, unfinished{b.Seq, now})
	}
}

func (d *diskWatch) finished(seq uint64) {
	i := 0
	for i < len(d.unfinished) && d.unfinished[i].seq <= seq {
		i++
	}
	d.unfinished = d.unfinished[:copy(d.unfinished, d.unfinished[i:])]
}

// late reports whether the oldest append has passed the limit.
func (d *diskWatch) late(now time.Duration) bool {
	return len(d.unfinished) > 0 && now-d.unfinished[0].at >= d.limit
}

// next is when the watch has something to do that nothing else wakes the loop for.
func (d *diskWatch) next() (time.Duration, bool) {
	switch {
	case d.stalled && !d.gaveUp:
		return d.giveUpAt, true
	case !d.stalled && len(d.unfinished) > 0:
		return d.unfinished[0].at + d.limit, true
	}
	return 0, false
}

// feedWritten tells the core what is durable, and ends a stall when a probe came back in time.
func (l *loop) feedWritten(ws []written) {
	d := &l.disk
	for _, w := range ws {
		now := l.n.clock.now()
		if w.seq > 0 {
			d.finished(w.seq)
			l.core.AppendDone(w.seq, w.term, w.last, now)
		}
		if !w.probed {
			continue
		}
		d.probing = false
		if took := now - d.probeAt; took < d.limit && !d.late(now) {
			d.stalled = false
			l.core.SetStandby(l.n.cfg.Standby, now)
			l.n.cfg.Logger.Info("the disk answers again", "probe", took)
			l.n.cfg.Observer.DiskStalled(false)
			l.refreshed = -statusPeriod
		}
	}
}

// watchDisk acts on the age of the oldest append: a leader hands over, and steps down where that does not work
// within one election timeout; nobody stands until a probe write was quick.
func (l *loop) watchDisk(now time.Duration) {
	d := &l.disk
	if !d.stalled && d.late(now) {
		d.stalled, d.gaveUp, d.giveUpAt = true, false, now+l.n.cfg.ElectionTimeoutMax
		l.n.cfg.Logger.Error("the disk has stalled", "age", now-d.unfinished[0].at, "limit", d.limit)
		l.n.cfg.Observer.DiskStalled(true)
		l.core.SetStandby(true, now)
		if err := l.core.TransferLeadership(0, now); err != nil {
			l.core.StepDown(now) // nobody to hand over to; on a follower there is nothing to do
		}
		l.refreshed = -statusPeriod
	}
	if !d.stalled {
		return
	}
	if !d.gaveUp && now >= d.giveUpAt {
		d.gaveUp = true
		l.core.StepDown(now)
	}
	if !d.probing && !d.late(now) {
		d.probing, d.probeAt = true, now
		l.n.append.queue.push(toWrite{probe: true})
	}
}
