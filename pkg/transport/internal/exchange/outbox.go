package exchange

import (
	"cmp"
	"container/list"
	"slices"
	"sync"

	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/wire"
)

// The bounds on notifications that wait for one peer. Requests need none: each holds its caller.
const (
	maxNotices     = 1024
	maxNoticeBytes = 4 << 20
)

// The window: how many requests, and bytes of them, may be with one peer and not answered. The others wait here rather
// than be carried there to be sent back; a request beyond the bytes goes alone.
const (
	window      = maxRunningPeer
	windowBytes = 4 << 20
)

// Parcel is a request, or a notification, which has no ID.
type Parcel struct {
	ID      transport.RequestID
	Request bool
	Body    []byte
}

// call is a request that is not answered.
type call struct {
	Parcel
	number  uint64
	place   *list.Element // among those that wait; nil: it does not
	taken   bool          // it is with the peer, or on the way
	replies chan wire.Reply
}

// Outbox is what goes to one peer: a queue of requests and notifications that wait, and the requests that were taken
// from it and are not answered yet. It is safe for concurrent use.
type Outbox struct {
	wake  chan struct{}
	ended chan struct{} // closed when the peer or the transport has gone
	cause error         // why; set before ended is closed

	mu      sync.Mutex
	waiting *list.List // of *call, and of Parcel for a notification
	calls   map[transport.RequestID]*call
	number  uint64
	notices int
	bytes   int // of the notices
	taken   int // requests
	takenB  int // bytes of them
	over    bool
}

func newOutbox() *Outbox {
	return &Outbox{wake: make(chan struct{}, 1), ended: make(chan struct{}), waiting: list.New(), calls: map[transport.RequestID]*call{}}
}

// Wake receives when something has come to wait; several may give one.
func (o *Outbox) Wake() <-chan struct{} { return o.wake }

// signal makes Wake receive.
func (o *Outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Len returns how many parcels wait.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting.Len()
}

// Busy reports whether anything waits or is not answered.
func (o *Outbox) Busy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting.Len() > 0 || len(o.calls) > 0
}

// Take moves what waits to dst, in order: as much as maxBytes and, of requests, the window allow, and at least one if any
// may go. What is left is announced on Wake when it may go.
func (o *Outbox) Take(dst []Parcel, maxBytes int) []Parcel {
	o.mu.Lock()
	defer o.mu.Unlock()
	bytes := 0
	for e := o.waiting.Front(); e != nil; {
		this := e
		e = e.Next()
		p := parcelOf(this)
		if p.Request && o.taken > 0 && (o.taken >= window || o.takenB+len(p.Body) > windowBytes) {
			continue // a notification behind it need not wait
		}
		if bytes += len(p.Body); bytes > maxBytes && len(dst) > 0 {
			o.signal()
			break
		}
		o.waiting.Remove(this)
		if k, ok := this.Value.(*call); ok {
			k.place, k.taken = nil, true
			o.taken++
			o.takenB += len(p.Body)
		} else {
			o.notices--
			o.bytes -= len(p.Body)
		}
		dst = append(dst, p)
	}
	return dst
}

// parcelOf is what an element of the queue stands for.
func parcelOf(e *list.Element) Parcel {
	if k, ok := e.Value.(*call); ok {
		return k.Parcel
	}
	return e.Value.(Parcel)
}

// release gives back the room in the window that a request has; o.mu is held.
func (o *Outbox) release(k *call) {
	if !k.taken {
		return
	}
	k.taken = false
	o.taken--
	o.takenB -= len(k.Body)
	if o.waiting.Len() > 0 {
		o.signal()
	}
}

// Broken has the requests that were taken and are not answered wait again, in the order in which they were made and
// before those that came later.
func (o *Outbox) Broken() {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lost []*call
	for _, k := range o.calls {
		if k.taken {
			o.release(k)
			lost = append(lost, k)
		}
	}
	if o.over {
		return
	}
	slices.SortFunc(lost, func(a, b *call) int { return cmp.Compare(b.number, a.number) })
	for _, k := range lost {
		k.place = o.waiting.PushFront(k)
	}
	if len(lost) > 0 {
		o.signal()
	}
}

// DropNotices drops the notifications that wait, because the peer is away, and returns how many those were.
func (o *Outbox) DropNotices() (dropped int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for e := o.waiting.Front(); e != nil; {
		next := e.Next()
		if _, notice := e.Value.(Parcel); notice {
			o.waiting.Remove(e)
			dropped++
		}
		e = next
	}
	o.notices, o.bytes = 0, 0
	return dropped
}

// Reply takes what the peer answered; what nobody waits for is dropped. The body is the outbox's.
func (o *Outbox) Reply(r wire.Reply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	k := o.calls[r.ID]
	if k == nil {
		return
	}
	o.release(k)
	select {
	case k.replies <- r:
	default: // a repeat's, beside one that was not looked at yet
	}
}

// begin enters a request.
func (o *Outbox) begin(id transport.RequestID, body []byte) *call {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.number++
	k := &call{Parcel: Parcel{ID: id, Request: true, Body: body}, number: o.number, replies: make(chan wire.Reply, 1)}
	o.calls[id] = k
	o.enqueue(k)
	return k
}

// again has a request wait once more, unless it does.
func (o *Outbox) again(k *call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.release(k)
	o.enqueue(k)
}

// enqueue has a request wait, unless it does or the outbox has ended; o.mu is held.
func (o *Outbox) enqueue(k *call) {
	if k.place == nil && !o.over {
		k.place = o.waiting.PushBack(k)
		o.signal()
	}
}

// finish forgets a request.
func (o *Outbox) finish(k *call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.calls, k.ID)
	o.release(k)
	if k.place != nil {
		o.waiting.Remove(k.place)
		k.place = nil
	}
}

// notify enters a notification, if it fits.
func (o *Outbox) notify(body []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return o.cause
	}
	if o.notices > 0 && (o.notices >= maxNotices || o.bytes+len(body) > maxNoticeBytes) {
		return transport.ErrBusy
	}
	o.waiting.PushBack(Parcel{Body: body})
	o.notices++
	o.bytes += len(body)
	o.signal()
	return nil
}

// end ends the requests with an error, now and from now on.
func (o *Outbox) end(cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	o.over, o.cause = true, cause
	close(o.ended)
	for _, k := range o.calls {
		if k.place != nil {
			o.waiting.Remove(k.place)
			k.place = nil
		}
	}
}
