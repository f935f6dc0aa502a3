package daemon

import (
	"math"

	"github.com/hashicorp/go-hclog"
)

// Tunables are the settings that can change while a node runs.
type Tunables struct {
	LogLevel     string
	PhiThreshold float64
	Metadata     map[string]string // nil: as it is
}

// Tune changes them: all, or none and an error that names the setting. New metadata is announced to the leader.
func (d *Daemon) Tune(t Tunables) error {
	l := hclog.LevelFromString(t.LogLevel)
	if l == hclog.NoLevel {
		return bad("log-level", "%q is none of trace, debug, info, warn, error, off", t.LogLevel)
	}
	if err := checkPhi(t.PhiThreshold); err != nil {
		return err
	}
	if err := checkMetadata(t.Metadata); err != nil {
		return err
	}
	if t.Metadata != nil && d.service.Load() != nil { // the node runs
		d.node.SetMetadata(t.Metadata)
	}
	d.log.SetLevel(l)
	d.phi.Store(math.Float64bits(t.PhiThreshold))
	d.log.Info("log level", "level", t.LogLevel)
	return nil
}
