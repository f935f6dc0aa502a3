package raft

import "time"

// Core is one member's consensus state.
type Core struct {
	// Stats may be read between inputs.
	Stats Stats
	cfg   Config
}

func New(cfg Config, r Restored, now time.Duration) (*Core, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Core{cfg: cfg}, nil
}
func (c *Core) Step(m Message, now time.Duration) {}
func (c *Core) Tick(now time.Duration)            {}
func (c *Core) NextTick() time.Duration           { return 0 }
func (c *Core) Propose(ps []Proposal, now time.Duration) (first, term uint64, err error) {
	return 0, 0, ErrNotLeader
}
func (c *Core) ReadIndex(id uint64, now time.Duration) {}
func (c *Core) ProposeConfChange(next Configuration, now time.Duration) (index uint64, err error) {
	return 0, ErrNotLeader
}
func (c *Core) TransferLeadership(to MemberID, now time.Duration) error       { return ErrNotLeader }
func (c *Core) StepDown(now time.Duration)                                    {}
func (c *Core) AppendDone(seq, term, last uint64, now time.Duration)          {}
func (c *Core) ApplyDone(index uint64)                                        {}
func (c *Core) Fetched(to MemberID, lo uint64, es []Entry, now time.Duration) {}
func (c *Core) Witnessed(m Mark, now time.Duration)                           {}
func (c *Core) Output() Output                                                { return Output{} }
func (c *Core) ClusterTime(now time.Duration) (int64, bool)                   { return 0, false }
func (c *Core) Lease(now time.Duration) (until time.Duration, ok bool)        { return 0, false }
func (c *Core) Status() Status                                                { return Status{} }
func (c *Core) Config() (Configuration, uint64)                               { return Configuration{}, 0 }
