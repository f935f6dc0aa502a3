package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/coordd/coordd/pkg/raft"
	"github.com/coordd/coordd/pkg/raft/node"
)

// terminal is what the members of a process share to print on.
type terminal struct {
	mu sync.Mutex
	to io.Writer
}

// Write implements io.Writer.
func (t *terminal) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.to.Write(b)
}

// printer writes lines with a member's name in front.
type printer struct {
	to   *terminal
	name string
}

func (p *printer) printf(format string, args ...any) {
	fmt.Fprintf(p.to, "%s  %s\n", p.name, fmt.Sprintf(format, args...))
}

// follow prints events until the node ends.
func (p *printer) follow(events <-chan node.Event) {
	for e := range events {
		p.print(&e)
	}
}

func (p *printer) print(e *node.Event) {
	if e.Missed > 0 {
		p.printf("(%d events were too fast for this terminal)", e.Missed)
	}
	switch e.Kind {
	case node.EventRole:
		p.printf("%s in term %d", e.Role, e.Term)
	case node.EventLeader:
		if e.Leader == 0 {
			p.printf("no leader in term %d", e.Term)
		} else {
			p.printf("%s leads in term %d", nameOf(e.Leader), e.Term)
		}
	case node.EventReady:
		p.printf("ready")
	case node.EventStatus:
		if e.Reachable {
			p.printf("%s answers again", nameOf(e.Member.ID))
		} else {
			p.printf("%s does not answer", nameOf(e.Member.ID))
		}
	case node.EventMemberAdded:
		p.printf("%s is a member", nameOf(e.Member.ID))
	case node.EventMemberRemoved:
		p.printf("%s is no member any more", nameOf(e.Member.ID))
	}
}

// printingMap is a Map that prints what it is given. It stands around the state machine and not in it, which knows of
// nothing but entries.
type printingMap struct {
	*Map
	printer *printer
}

// Apply implements node.StateMachine.
func (p printingMap) Apply(e raft.Entry) (any, error) {
	result, err := p.Map.Apply(e)
	var c command
	if err == nil && e.Kind == raft.EntryCommand && json.Unmarshal(e.Data, &c) == nil {
		p.printer.printf("applied %d: %s %s %s", e.Index, c.Op, c.Key, c.Value)
	}
	return result, err
}
