package natsserver

import (
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
)

// routeUser is the name beside which a server says the ID of its cluster.
const routeUser = "coordd"

// routeGate lets in the servers of one cluster alone.
type routeGate struct {
	id      atomic.Pointer[string]
	founder bool
}

func (g *routeGate) cluster() string {
	if id := g.id.Load(); id != nil {
		return *id
	}
	return ""
}

// Check implements server.Authentication. A server that does not know its cluster yet is called by members that list it,
// and is to be reached through them; but one that may found another cluster lets nobody in before it knows: who was turned
// away tries again within a second.
func (g *routeGate) Check(c server.ClientAuthentication) bool {
	ours, theirs := g.cluster(), c.GetOpts()
	if ours == "" {
		return !g.founder
	}
	return theirs.Username == routeUser && theirs.Password == ours
}

// SetCluster tells an identified server the ID of its cluster: from then on it makes and takes routes. Routes to servers
// of another cluster than before end.
func (s *Server) SetCluster(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate.cluster() == id {
		return nil
	}
	s.gate.id.Store(&id)
	return s.setRoutesLocked(s.cfg.Routes)
}
