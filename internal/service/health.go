package service

import (
	"context"
	"time"
)

const (
	// healthLook is how often a leader looks at what its probes say.
	healthLook = 100 * time.Millisecond
	// transferTimeout bounds a hand-over.
	transferTimeout = 5 * time.Second
	// handoverPause is between two tries to find a member that can serve.
	handoverPause = time.Second
)

// watchNATS runs for the rest of a reign. Without NATS clients can't renew their sessions, so time must not
// end them; and if another member can be reached, it should lead.
func (r *reign) watchNATS() {
	s := r.s
	look := time.NewTicker(healthLook)
	defer look.Stop()
	var triedHandover time.Time
	lost := false
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-s.ctx.Done():
			return
		case <-look.C:
		}
		healthy := s.prober.healthy()
		switch {
		case healthy && r.serving.Load():
		case healthy:
			if s.prober.reachable(r.ctx) && r.setServing(true) == nil {
				if lost {
					s.cfg.Logger.Info("nats is back, serving again")
				}
				lost = false
			}
		case r.serving.Load():
			s.cfg.Logger.Warn("nats does not carry messages to the other members, nothing expires until it does",
				"for", s.cfg.Timing.NATSLost)
			lost = true
			// If this can't be committed, no later entry of this term is either, and nothing ends.
			_ = r.setServing(false)
		case time.Since(triedHandover) > handoverPause:
			triedHandover = time.Now()
			r.handOver()
		}
	}
}

// handOver gives the leadership to a member that says of itself that it can serve; without one this node stays,
// since a change would help nobody.
func (r *reign) handOver() {
	s := r.s
	ctx, cancel := context.WithTimeout(r.ctx, transferTimeout)
	defer cancel()
	to := s.prober.healthyMember(ctx)
	if to == 0 {
		return
	}
	s.cfg.Logger.Warn("handing leadership to a member that nats reaches", "to", to.String())
	if err := r.transfer(ctx, to); err != nil {
		s.cfg.Logger.Warn("leadership stays here", "error", err)
	}
}
