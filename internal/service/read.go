package service

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

const (
	defaultPage = 100
	maxPage     = 1000
	// maxShown bounds the holders, and the waiters, that an answer shows of one lock; Lock.holds and Lock.waiting have
	// the true numbers. A shared lock may have as many holders as there are sessions.
	maxShown = 100
	// maxShownBytes bounds each of the two in protobuf: in JSON both together are up to seven times as much, and still
	// fit into a message.
	maxShownBytes = 32 << 10
	// maxShownNames is how many names are shown of a waiter that wants several locks.
	maxShownNames = 16
)

func lockMessage(x *machine.LockInfo, now int64) *coorddv1.Lock {
	m := &coorddv1.Lock{Name: x.Name, State: coorddv1.Lock_HELD, Waiting: x.Waiting, Limit: x.Limit, InUse: x.InUse,
		Holds: x.Holds, Holders: holders(x.Holders, now)}
	switch {
	case len(x.Holders) == 0:
		m.State = coorddv1.Lock_FREE
	case x.Delayed:
		m.State = coorddv1.Lock_DELAYED
		m.DelayedFor = durationOf(max(0, x.Until-now))
	}
	room := maxShownBytes
	for i := range x.Queue[:min(len(x.Queue), maxShown)] {
		w := &x.Queue[i]
		shown := &coorddv1.Waiter{Session: w.Session, Owner: w.Owner, Ticket: w.Ticket, Mode: coorddv1.Mode(w.Mode), Since: w.Since,
			Count: w.Count, Names: w.Names[:min(len(w.Names), maxShownNames)]}
		if room -= proto.Size(shown); room < 0 {
			break
		}
		m.Queue = append(m.Queue, shown)
	}
	return m
}

// holders shows the first holders of a lock.
func holders(all []machine.HolderInfo, now int64) (shown []*coorddv1.Holder) {
	room := maxShownBytes
	for i := range all[:min(len(all), maxShown)] {
		h := holder(&all[i], now)
		if room -= proto.Size(h); room < 0 {
			break
		}
		shown = append(shown, h)
	}
	return shown
}

func readLock(v *machine.View, q readQuery) (proto.Message, *coorddv1.Error) {
	x, ok := v.Lock(q.ns, q.name)
	if !ok {
		x = machine.LockInfo{Namespace: q.ns, Name: q.name}
	}
	if fence := q.request.(*coorddv1.LockGetRequest).Fence; fence != 0 {
		if h, ok := v.Holder(q.ns, q.name, fence); ok {
			rest := slices.DeleteFunc(x.Holders, func(o machine.HolderInfo) bool { return o.Fence == fence })
			x.Holders = slices.Insert(rest, 0, h)
		}
	}
	return &coorddv1.LockGetReply{Index: v.Index(), Lock: lockMessage(&x, q.now)}, nil
}

// readLeader shows who leads an election. A leadership that was taken away, and whose lock is only kept from others for
// a while, is none.
func readLeader(v *machine.View, q readQuery) (proto.Message, *coorddv1.Error) {
	x, _ := v.Lock(q.ns, q.name)
	m := &coorddv1.ElectionObserveReply{Index: v.Index(), Campaigning: x.Waiting}
	for i := range x.Holders {
		if h := &x.Holders[i]; !h.Delayed {
			m.Leader = &coorddv1.ElectionLeader{Session: h.Session, Owner: h.Owner, Value: h.Value, Fence: h.Fence, Since: h.Since, Metadata: h.Metadata}
			break
		}
	}
	return m, nil
}

// page is a checked part of a listing.
type page struct {
	prefix, after string
	listing       string // see readQuery.listing
	size          int
	room          int // bytes that the answer may still grow
}

// page checks what a request asks of a listing. What is listed has the prefix; a token is good for the listing that
// gave it alone.
func (q *readQuery) page(prefix string, size uint32, token string) (p page, bad *coorddv1.Error) {
	p = page{prefix: prefix, listing: q.listing(prefix), size: int(min(size, maxPage)), room: q.maxBytes - 1024}
	if p.size == 0 {
		p.size = defaultPage
	}
	if token != "" {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
		after, ours := strings.CutPrefix(string(raw), p.listing)
		if err != nil || !ours || after == "" {
			return p, badRequest("page_token is not one that this listing gave: it goes with the same verb, namespace and prefix only")
		}
		p.after = after
	}
	return p, nil
}

// listing stands for one verb, namespace and prefix at the beginning of a page token. It tells listings apart and keeps
// nobody from making a token up: whoever may list may begin anywhere.
func (q *readQuery) listing(prefix string) string {
	sum := sha256.Sum256([]byte(q.verb + "\x00" + q.ns + "\x00" + prefix))
	return string(sum[:6])
}

// token continues a listing behind the last one that is shown.
func (p *page) token(last string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(p.listing + last))
}

// fits says whether a message still goes into the answer; the first one always does.
func (p *page) fits(m proto.Message, first bool) bool {
	// Written out with their field names in JSON these messages take up to seven times the bytes of protobuf.
	p.room -= 7*proto.Size(m) + 256
	return first || p.room >= 0
}

func readLocks(v *machine.View, q readQuery) (proto.Message, *coorddv1.Error) {
	r := q.request.(*coorddv1.LockListRequest)
	p, bad := q.page(r.Prefix, r.PageSize, r.PageToken)
	if bad != nil {
		return nil, bad
	}
	found := v.Locks(q.ns, p.prefix, p.after, p.size+1)
	m := &coorddv1.LockListReply{Index: v.Index()}
	for i := range found {
		lock := lockMessage(&found[i], q.now)
		if len(m.Locks) == p.size || !p.fits(lock, len(m.Locks) == 0) {
			m.NextPageToken = p.token(m.Locks[len(m.Locks)-1].Name)
			break
		}
		m.Locks = append(m.Locks, lock)
	}
	return m, nil
}

func readSequence(v *machine.View, q readQuery) (proto.Message, *coorddv1.Error) {
	x, ok := v.Sequence(q.ns, q.name)
	if !ok {
		return nil, refuse(coorddv1.CodeSeqNotFound, "there is no sequence %s in namespace %s", quote(q.name), q.ns)
	}
	return &coorddv1.SequenceReply{Index: v.Index(), Sequence: sequence(&x)}, nil
}

func readSequences(v *machine.View, q readQuery) (proto.Message, *coorddv1.Error) {
	r := q.request.(*coorddv1.SequenceListRequest)
	p, bad := q.page(r.Prefix, r.PageSize, r.PageToken)
	if bad != nil {
		return nil, bad
	}
	found := v.Sequences(q.ns, p.prefix, p.after, p.size+1)
	m := &coorddv1.SequenceListReply{Index: v.Index()}
	for i := range found {
		seq := sequence(&found[i])
		if len(m.Sequences) == p.size || !p.fits(seq, len(m.Sequences) == 0) {
			m.NextPageToken = p.token(m.Sequences[len(m.Sequences)-1].Name)
			break
		}
		m.Sequences = append(m.Sequences, seq)
	}
	return m, nil
}
