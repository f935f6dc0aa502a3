package node

import (
	"time"

	"github.com/coordd/coordd/internal/canary"
	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/pipeline"
)

// diskWatch bounds the age of the oldest unfinished append (raft.md, rule 13). A leader whose disk has stalled
// still sends heartbeats, so that nobody else would stand, while nothing that needs its disk gets done. The same
// holds for a full disk, whose append stays unfinished until there is room.
type diskWatch struct {
	limit      time.Duration
	unfinished []unfinished // in order of seq

	looked  time.Duration // when watchDisk last ran
	judgeAt time.Duration // no verdict before: the process itself stood still
	full    bool          // the appender waits for room

	stalled  bool
	forRoom  bool          // the stall is for want of room
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
	return len(d.unfinished) > 0 && now-d.unfinished[0].at >= d.limit && !canary.Broken(canary.StalledDiskHandsOver)
}

// next is when the watch has something to do that nothing else wakes the loop for.
func (d *diskWatch) next() (time.Duration, bool) {
	switch {
	case d.stalled && !d.gaveUp:
		return d.giveUpAt, true
	case !d.stalled && len(d.unfinished) > 0:
		// Half the limit: so that a whole one between two looks means that the process stood still.
		return min(max(d.unfinished[0].at+d.limit, d.judgeAt), d.looked+d.limit/2), true
	}
	return 0, false
}

// look notes that the watch is awake. If it has missed a whole limit, the process was stopped or starved, and the
// appender with it: the age of an append then says nothing of the disk until the appender had a moment to finish.
func (d *diskWatch) look(now time.Duration) {
	if now-d.looked >= d.limit {
		d.judgeAt = now + d.limit/8
	}
	d.looked = now
}

// feedWritten tells the core what is durable, and ends a stall when a probe came back in time.
func (l *loop) feedWritten(ws []written) {
	d := &l.disk
	for _, w := range ws {
		now := l.n.clock.now()
		if w.full != nil {
			d.full = true
			l.n.cfg.Logger.Error("the disk is full: nothing is written or acknowledged here until there is room", "error", w.full)
			continue
		}
		if d.full { // reports come in the order of the writes
			d.full = false
			l.n.cfg.Logger.Info("the disk has room again")
		}
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
			l.core.SetStandby(l.standby, now)
			if !d.forRoom {
				l.n.cfg.Logger.Info("the disk answers again", "probe", took)
			}
			l.n.cfg.Observer.DiskStalled(false)
			l.refreshed = -statusPeriod
		}
	}
}

// setStandby changes what this member was started with.
func (l *loop) setStandby(on bool, now time.Duration) {
	l.standby = on
	if !l.disk.stalled {
		l.core.SetStandby(on, now)
	}
}

// giveWay hands leadership over where the configuration says that this member is to stand in no election: the committed
// one, and the newest in the log as well, since a new leader has what its predecessor committed before it knows so. Where
// nobody can take over, it leads on and tries again.
func (l *loop) giveWay(now time.Duration) {
	if l.soft.Role != raft.Leader || now < l.handover {
		return
	}
	committed, _ := memberOf(l.active.Members, l.n.cfg.ID)
	newest, _ := memberOf(l.config.Members, l.n.cfg.ID)
	if !committed.Standby || !newest.Standby {
		return
	}
	l.handover = now + 2*l.n.cfg.ElectionTimeoutMax
	if err := l.core.TransferLeadership(0, now); err != nil {
		l.n.cfg.Logger.Warn("a standby leads on: nobody can take over", "error", err)
	}
	wake(l.n.in.ready)
}

// watchDisk acts on the age of the oldest append: a leader hands over, and steps down where that does not work
// within one election timeout; nobody stands until a probe write was quick.
func (l *loop) watchDisk(now time.Duration) {
	d := &l.disk
	d.look(now)
	if !d.stalled && d.late(now) && now >= d.judgeAt {
		d.stalled, d.gaveUp, d.giveUpAt = true, false, now+l.n.cfg.ElectionTimeoutMax
		if d.forRoom = d.full; !d.full {
			l.n.cfg.Logger.Error("the disk has stalled", "age", now-d.unfinished[0].at, "limit", d.limit)
		}
		l.n.cfg.Observer.DiskStalled(true)
		if !canary.Broken(canary.ProbeBeforeStanding) {
			l.core.SetStandby(true, now)
		}
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
		l.n.append.queue.push(pipeline.Item{Probe: true})
	}
}
