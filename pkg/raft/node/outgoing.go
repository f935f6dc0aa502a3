package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/storage"
)

const (
	// chunkBytes is how much of a snapshot is in one message.
	chunkBytes = 256 << 10
	// outgoingAtOnce is how many snapshots leave at a time.
	outgoingAtOnce = 2
	// chunkPatience is how long one chunk may take, with all the attempts that the Messenger makes; past it the core
	// is told that the snapshot did not arrive, and begins again once the member gives a sign of life. The receiver
	// keeps what it has.
	chunkPatience = 10 * time.Second
	// damagedLimit is how often a copy that arrived damaged is begun anew.
	damagedLimit = 3
)

// outgoing brings snapshots to members that need entries which are gone: what the core asks for by a MsgSnapshot.
type outgoing struct {
	n     *Node
	slots chan struct{} // one for each transfer that runs
	pace  pace

	mu        sync.Mutex
	transfers map[raft.MemberID]*transfer
	ended     bool
	running   sync.WaitGroup
}

// transfer is one snapshot on its way to one member.
type transfer struct {
	message    raft.Message
	cancel     context.CancelFunc
	sent, size atomic.Int64
}

func newOutgoing(n *Node) *outgoing {
	return &outgoing{n: n, slots: make(chan struct{}, outgoingAtOnce), transfers: make(map[raft.MemberID]*transfer),
		pace: pace{perSecond: float64(n.cfg.Limits.SnapshotBytesPerSecond)}}
}

// start begins what a MsgSnapshot asks for. Another transfer to the same member ends: the core has forgotten it.
func (o *outgoing) start(m raft.Message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	if old := o.transfers[m.To]; old != nil {
		old.cancel()
	}
	ctx, cancel := context.WithCancel(o.n.ctx)
	t := &transfer{message: m, cancel: cancel}
	o.transfers[m.To] = t
	o.running.Go(func() {
		defer cancel()
		err := o.run(ctx, t)
		if !o.over(t) {
			return // replaced, or the leadership is over: the core waits for nothing
		}
		if err != nil {
			o.n.cfg.Logger.Warn("a snapshot did not arrive", "peer", m.To, "index", m.Snapshot.Index, "error", err)
		}
		o.n.in.call(func(now time.Duration) { o.n.loop.core.SnapshotDone(m.To, m.Snapshot.Index, err == nil, now) })
	})
}

// over takes a transfer out; false: it was out already.
func (o *outgoing) over(t *transfer) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.transfers[t.message.To] != t {
		return false
	}
	delete(o.transfers, t.message.To)
	return true
}

// cancelAll ends all transfers, because the leadership that began them is over.
func (o *outgoing) cancelAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, t := range o.transfers {
		t.cancel()
		delete(o.transfers, id)
	}
}

// end ends all transfers for good and waits for them.
func (o *outgoing) end() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	o.cancelAll()
	o.running.Wait()
}

// sent returns how much of a snapshot a member has, and of how much.
func (o *outgoing) sent(to raft.MemberID) (sent, size int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.transfers[to]; t != nil {
		return t.sent.Load(), t.size.Load()
	}
	return 0, 0
}

// run sends the newest snapshot until the member has a whole one.
func (o *outgoing) run(ctx context.Context, t *transfer) error {
	select {
	case o.slots <- struct{}{}:
		defer func() { <-o.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for damaged := 0; ; {
		r, err := o.n.openNewest()
		if err != nil {
			return fmt.Errorf("opening the newest snapshot: %w", err)
		}
		err = o.stream(ctx, t, r)
		if errors.Is(err, errDamaged) {
			// In flight, or is it ours? What is not whole here must not be sent for ever.
			if damaged++; damaged < damagedLimit {
				err = o.n.verify(r)
			}
		}
		if cerr := r.Close(); cerr != nil && err == nil {
			err = cerr
		}
		if errors.Is(err, errNewer) || errors.Is(err, errAgain) {
			continue
		}
		return err
	}
}

var (
	errDamaged = errors.New("the copy arrived damaged")
	errNotNow  = errors.New("the member does not take it now")
	errNewer   = errors.New("there is a newer one")
	errAgain   = errors.New("from the beginning")
)

// verify reads the whole of a snapshot of this member's own. A damaged one is set aside, and another one
// taken, which replaces it.
func (n *Node) verify(r storage.SnapshotReader) error {
	_, err := io.Copy(io.Discard, r)
	if err == nil {
		return errAgain
	}
	m := r.Info().Meta
	n.cfg.Logger.Error("this member's own snapshot is damaged; it is replaced", "index", m.Index, "error", err)
	defer n.snaps.disown(m.Index) // when it is off the list: the new one may be at the same index
	return errors.Join(err, n.cfg.Snapshots.SetAside(m.Index, m.Term, err))
}

// stream sends one file from where the member says on.
func (o *outgoing) stream(ctx context.Context, t *transfer, r storage.SnapshotReader) error {
	info, m := r.Info(), &t.message
	t.size.Store(info.Size)
	c := chunk{term: m.Term, session: m.Session, incarnation: o.n.found.Incarnation, meta: info.Meta, size: info.Size}
	buffer := make([]byte, chunkBytes)
	for {
		answer, err := o.ask(ctx, m.To, &c)
		if err != nil {
			return err
		}
		switch {
		case answer.state == progressDone:
			t.sent.Store(info.Size)
			return nil
		case answer.state == progressDamaged:
			return errDamaged
		case answer.state == progressNotNow:
			return errNotNow
		case answer.offset > info.Size || (answer.offset == info.Size && len(c.data) > 0):
			return fmt.Errorf("the member goes on at byte %d of %d: %w", answer.offset, info.Size, errFrame)
		}
		if taken := answer.offset - c.offset; len(c.data) > 0 && taken > 0 {
			o.n.cfg.Observer.SnapshotSent(m.To, int(taken))
		}
		t.sent.Store(answer.offset)
		if newest := o.n.snaps.newest.Load(); newest != nil && newest.Meta.Index > info.Meta.Index && o.n.base.Load() > info.Meta.Index {
			return errNewer // what follows this one is gone already
		}
		n, err := r.ReadAt(buffer[:min(chunkBytes, info.Size-answer.offset)], answer.offset)
		if err != nil && (!errors.Is(err, io.EOF) || answer.offset+int64(n) != info.Size) {
			return fmt.Errorf("reading the snapshot: %w", err)
		}
		c.offset, c.data = answer.offset, buffer[:n]
		if err := o.pace.spend(ctx, n); err != nil {
			return err
		}
	}
}

func (o *outgoing) ask(ctx context.Context, to raft.MemberID, c *chunk) (progress, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkPatience)
	defer cancel()
	b, err := o.n.cfg.Transport.Request(ctx, to, c.encode())
	if err != nil {
		return progress{}, err
	}
	return decodeProgress(b)
}

// pace spreads bytes over time.
type pace struct {
	perSecond float64
	mu        sync.Mutex
	free      time.Time // when all that was spent is paid
}

// spend waits until bytes may leave.
func (p *pace) spend(ctx context.Context, bytes int) error {
	p.mu.Lock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	wait := p.free.Sub(now)
	p.free = p.free.Add(time.Duration(float64(bytes) / p.perSecond * float64(time.Second)))
	p.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
