package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/coordd/coordd/pkg/raft/node"
)

// Snapshot implements node.Snapshotter. It takes the same short time however large the map is, because nothing is
// applied meanwhile: the view shares its memory with the map, and what the map changes later it copies first.
func (m *Map) Snapshot() (node.SnapshotView, error) {
	m.mu.Lock() // a copy marks the original as shared
	defer m.mu.Unlock()
	return view{contents{pairs: m.pairs.Copy(), clients: m.clients.Copy()}}, nil
}

// view is the map as it was.
type view struct{ contents }

// record is one line of a snapshot: the format, then each client, then each pair, in order of their names.
type record struct {
	Format int        `json:"format,omitempty"`
	Client string     `json:"client,omitempty"`
	Last   *lastWrite `json:"last,omitempty"`
	Key    string     `json:"key,omitempty"`
	Value  []byte     `json:"value,omitempty"`
}

const snapshotFormat = 1

// Save implements node.SnapshotView, beside whatever is applied.
func (v view) Save(w io.Writer) error {
	b := bufio.NewWriter(w)
	lines := json.NewEncoder(b)
	err := lines.Encode(record{Format: snapshotFormat})
	v.clients.Scan(func(client string, last lastWrite) bool {
		if err == nil {
			err = lines.Encode(record{Client: client, Last: &last})
		}
		return err == nil
	})
	v.pairs.Scan(func(key string, value []byte) bool {
		if err == nil {
			err = lines.Encode(record{Key: key, Value: value})
		}
		return err == nil
	})
	return errors.Join(err, b.Flush())
}

// Release implements node.SnapshotView: the garbage collector has the rest.
func (view) Release() {}

// Restore implements node.Snapshotter. It replaces the whole state, and only once all of the snapshot was read.
func (m *Map) Restore(r io.Reader) error {
	lines, c := json.NewDecoder(r), newContents()
	var first record
	if err := lines.Decode(&first); err != nil {
		return fmt.Errorf("reading a snapshot: %w", err)
	}
	if first.Format != snapshotFormat {
		return fmt.Errorf("a snapshot of format %d, this version knows %d", first.Format, snapshotFormat)
	}
	for {
		var line record
		err := lines.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			m.mu.Lock()
			defer m.mu.Unlock()
			m.contents = c
			return nil
		case err != nil:
			return fmt.Errorf("reading a snapshot: %w", err)
		case line.Last != nil:
			c.remember(line.Client, *line.Last)
		default:
			c.pairs.Set(line.Key, line.Value)
		}
	}
}
