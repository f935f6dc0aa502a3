package client

import (
	"context"
	"fmt"

	"github.com/coordd/coordd/pkg/idgen"
)

// uuidSequence is the sequence of a namespace that NewUUID draws from. It has a name of its own so that UUIDs
// make no gaps in anybody's numbers.
const uuidSequence = "uuid"

// NewUUID returns a UUID of version 8 (RFC 9562) that no other call in this cluster ever returned: it is made
// of a number of the namespace's sequence "uuid", the sequence's ID and the cluster's domain. UUIDs sort by
// the allocation of their ranges. If a number is at hand no request is made; otherwise ctx bounds the wait.
func (c *Client) NewUUID(ctx context.Context) (idgen.UUID, error) { return c.sequences.uuid(ctx) }

// NewUUID is like [Client.NewUUID], with the requests made in this session.
func (s *Session) NewUUID(ctx context.Context) (idgen.UUID, error) { return s.sequences.uuid(ctx) }

func (x *sequenceSet) uuid(ctx context.Context) (idgen.UUID, error) {
	q := x.uuids.Load()
	if q == nil {
		var err error
		if q, err = x.get(ctx, uuidSequence, nil); err != nil {
			return idgen.UUID{}, fmt.Errorf("new UUID: %w", err)
		}
		if q.cycle {
			return idgen.UUID{}, fmt.Errorf("new UUID: the sequence %q of namespace %q starts over at its end: its numbers are not unique", uuidSequence, x.cfg.namespace)
		}
		x.uuids.Store(q)
	}
	if q.ranges == nil {
		r, err := q.Reserve(ctx, 1)
		if err != nil {
			return idgen.UUID{}, fmt.Errorf("new UUID: %w", err)
		}
		return idgen.V8(uint64(r.Lo), r.Domain, uint32(r.SequenceID)), nil
	}
	n, err := q.ranges.Take(ctx)
	if err != nil {
		return idgen.UUID{}, fmt.Errorf("new UUID: %w", q.wrap(err))
	}
	return idgen.V8(uint64(n.Value), n.Domain, uint32(n.SequenceID)), nil
}
