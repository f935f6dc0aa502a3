package service

import (
	"strconv"

	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// readSessions lists sessions by their IDs. Nothing in it proves who owns one: secrets are not in the state at all, and
// their hashes stay there.
func readSessions(v *machine.View, q readQuery) (proto.Message, *coorddv1.Error) {
	r := q.request.(*coorddv1.SessionListRequest)
	p, bad := q.page(r.Owner, r.PageSize, r.PageToken)
	if bad != nil {
		return nil, bad
	}
	after := uint64(0)
	if p.after != "" {
		id, err := strconv.ParseUint(p.after, 10, 64)
		if err != nil {
			return nil, badRequest("page_token is not one that this listing gave")
		}
		after = id
	}
	found := v.Sessions(q.ns, p.prefix, after, p.size+1)
	m := &coorddv1.SessionListReply{Index: v.Index()}
	for i := range found {
		x := &found[i]
		info := &coorddv1.SessionInfo{Session: x.ID, Owner: x.Owner, Ttl: durationOf(x.TTL), ExpiresIn: durationOf(max(0, x.Deadline-q.now)),
			Generation: x.Generation, Holds: x.Holds, Waits: x.Waits, Metadata: x.Metadata}
		if len(m.Sessions) == p.size || !p.fits(info, len(m.Sessions) == 0) {
			m.NextPageToken = p.token(strconv.FormatUint(m.Sessions[len(m.Sessions)-1].Session, 10))
			break
		}
		m.Sessions = append(m.Sessions, info)
	}
	return m, nil
}
