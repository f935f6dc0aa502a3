package badgerlog

import (
	"errors"

	"github.com/coordd/coordd/pkg/raft"
)

// Position implements storage.Log.
func (l *Log) Position(index uint64) (raft.Mark, error) { return raft.Mark{}, errors.ErrUnsupported }

// Compact implements storage.Log.
func (l *Log) Compact(index uint64) error { return errors.ErrUnsupported }
