package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
	"github.com/coordd/coordd/pkg/raft/storage"
	"github.com/coordd/coordd/pkg/raft/storage/badgerlog"
	"github.com/coordd/coordd/pkg/raft/storage/snapstore"
	"github.com/coordd/coordd/pkg/transport"
)

const clusterName = "replicatedmap"

// settings say which member to start.
type settings struct {
	id        raft.MemberID
	members   []raft.Member // the static list of a first start, or
	join      []string      // where to find a cluster that runs
	folder    string        // for log and snapshots; empty: in memory
	transport transport.Transport
	address   string       // where the transport listens
	web       net.Listener // for HTTP
	out       *terminal    // for what is printed
	logger    hclog.Logger // nil: none
}

// member is one that runs.
type member struct {
	node      *node.Node
	state     *Map
	snapshots storage.Snapshots
	web       *http.Server
	url       string // of web
	printer   printer
	printing  sync.WaitGroup
}

// start opens log and snapshots, starts the node on them, and serves HTTP.
func start(s settings) (*member, error) {
	log, snapshots, err := openStorage(&s)
	if err != nil {
		return nil, err
	}
	m := &member{state: NewMap(), snapshots: snapshots, url: "http://" + s.web.Addr().String(),
		printer: printer{to: s.out, name: nameOf(s.id)}}
	m.node, err = node.Start(node.Config{
		ID: s.id, Name: nameOf(s.id), Members: s.members, Join: s.join, Address: s.address, Version: 1,
		ClusterHash: hashOf(s.members), NameHash: transport.NameHash(clusterName),
		Log: log, Snapshots: snapshots, Transport: s.transport,
		StateMachine: printingMap{m.state, &m.printer},
		CheckQuorum:  true,
		// A playground shows its snapshots: they are due after 1,000 entries, and of the log at most 500 stay.
		CompactionPolicy: node.LogSize{Bytes: 1 << 20, Entries: 1000},
		Limits:           node.Limits{TrailingEntries: 100, CatchUpEntries: 500},
		OnStart: func(n *node.Node, metadata map[string]string) {
			metadata["http"] = m.url // the others learn it with the configuration
			events, _ := n.Events()  // made here it misses none
			m.printing.Go(func() { m.printer.follow(events) })
		},
		OnRequest: m.answer,
		Logger:    s.logger,
	})
	if err != nil { // then the log is still ours
		m.printing.Wait()
		return nil, errors.Join(err, log.Close(), snapshots.Close())
	}
	m.web = &http.Server{Handler: m.handler(), ReadHeaderTimeout: 5 * time.Second}
	go m.web.Serve(s.web) // ends with Shutdown
	status := m.node.Status()
	m.printer.printf("serves %s; members: %s", m.url, namesOf(inEffect(&status).Members))
	return m, nil
}

// stop ends a member in order: no new requests, then the leadership is handed over, then all is closed.
func (m *member) stop(ctx context.Context) error {
	err := errors.Join(m.web.Shutdown(ctx), m.node.Stop(ctx), m.snapshots.Close())
	m.printing.Wait() // the node closed the events
	return err
}

// openStorage opens what a member keeps: in a folder, or in memory, which ends with the process.
func openStorage(s *settings) (storage.Log, storage.Snapshots, error) {
	if s.folder == "" {
		return storage.NewMemory(), snapstore.NewMemory(), nil
	}
	log, err := badgerlog.Open(badgerlog.Options{Dir: filepath.Join(s.folder, "log"), ClusterName: clusterName,
		Member: s.id, MemberName: nameOf(s.id), Logger: s.logger})
	if err != nil {
		return nil, nil, err
	}
	snapshots, err := snapstore.Open(snapstore.Options{Dir: filepath.Join(s.folder, "snapshots"), Logger: s.logger})
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return log, snapshots, nil
}

func nameOf(id raft.MemberID) string { return fmt.Sprintf("node-%d", uint64(id)) }

func namesOf(members []raft.Member) string {
	if len(members) == 0 {
		return "none yet"
	}
	var names []string
	for _, m := range members {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

// hashOf is what two members compare before they know a cluster in common, so that two that were started with different
// lists refuse each other. A node that joins has none.
func hashOf(members []raft.Member) [16]byte {
	if len(members) == 0 {
		return [16]byte{}
	}
	list := []string{clusterName}
	for _, m := range members {
		list = append(list, fmt.Sprintf("%d=%s", uint64(m.ID), m.Address))
	}
	return transport.NameHash(strings.Join(list, "\n"))
}
