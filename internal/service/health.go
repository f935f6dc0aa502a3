package service

import (
	"context"
	"time"

	"github.com/coordd/coordd/internal/service/decide"
)

const (
	// healthLook is how often a leader looks at what its probes say.
	healthLook = 100 * time.Millisecond
	// transferTimeout bounds a hand-over.
	transferTimeout = 5 * time.Second
)

// watchNATS runs for the rest of a reign. Without NATS clients can't renew their sessions, so time must not
// end them; and if another member can be reached, it should lead.
func (r *reign) watchNATS() {
	s := r.s
	look := time.NewTicker(healthLook)
	defer look.Stop()
	var w decide.Watch
	lost := false
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-s.ctx.Done():
			return
		case <-look.C:
		}
		switch w.Look(time.Since(s.started), s.prober.healthy(), r.serving.Load()) {
		case decide.Serve:
			if s.prober.reachable(r.ctx) && r.setServing(true) == nil {
				if lost {
					s.cfg.Logger.Info("nats is back, serving again")
				}
				lost = false
			}
		case decide.Stop:
			s.cfg.Logger.Warn("nats does not carry messages to the other members, nothing expires until it does",
				"for", s.cfg.Timing.NATSLost)
			lost = true
			// If this can't be committed, no later entry of this term is either, and nothing ends.
			_ = r.setServing(false)
		case decide.HandOver:
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
