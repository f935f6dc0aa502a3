package proxy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// dialTimeout bounds the dial to the target.
const dialTimeout = 2 * time.Second

// Config says where a proxy stands.
type Config struct {
	Listen string // host:port
	Target string // host:port
	Source string // the local IP address of connections to the target; "": any
	Seed   uint64 // of what happens to the chunks
}

// Proxy carries connections to one target.
type Proxy struct {
	cfg Config
	ln  net.Listener
	wg  sync.WaitGroup

	mu     sync.Mutex
	rnd    *rand.Rand
	rules  []rule
	conns  map[*conn]struct{}
	fired  map[string]uint64
	closed bool
	gone   chan struct{} // closed with the proxy
	change chan struct{} // closed and replaced at each Set
}

// rule is a fault for some callers.
type rule struct {
	fault Fault
	from  []string // IP addresses; none: everybody
}

// Start starts a proxy.
func Start(cfg Config) (*Proxy, error) {
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", cfg.Target, err)
	}
	p := &Proxy{cfg: cfg, ln: ln, rnd: rand.New(rand.NewPCG(cfg.Seed, 7)), conns: map[*conn]struct{}{}, fired: map[string]uint64{},
		gone: make(chan struct{}), change: make(chan struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Set puts a fault in effect for the callers with the given IP addresses, for all if there are none, and ends every other fault.
func (p *Proxy) Set(f Fault, from ...string) {
	p.mu.Lock()
	p.rules = []rule{{f, from}}
	close(p.change)
	p.change = make(chan struct{})
	var end []*conn
	for c := range p.conns {
		f := p.faultLocked(c.caller)
		if c.lossy.Load() && !f.Up.Drop && !f.Down.Drop {
			end = append(end, c)
		}
		if f.Refuse {
			p.fired["refused"]++
			end = append(end, c)
		}
		if f.HalfOpen && c.target != nil && !c.half.Swap(true) {
			p.fired["half open"]++
			reset(c.target)
		}
	}
	p.mu.Unlock()
	for _, c := range end {
		c.reset()
	}
}

// Clear ends all faults.
func (p *Proxy) Clear() { p.Set(Fault{}) }

// Fired returns how often each kind of fault happened to a connection or a chunk.
func (p *Proxy) Fired() map[string]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.fired)
}

// Open returns the number of connections.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.gone)
	conns := maps.Clone(p.conns)
	p.mu.Unlock()
	err := p.ln.Close()
	for c := range conns {
		c.reset()
	}
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(in) })
	}
}

// faultLocked is what is in effect for a caller.
func (p *Proxy) faultLocked(caller string) Fault {
	for _, r := range p.rules {
		if len(r.from) == 0 {
			return r.fault
		}
		for _, ip := range r.from {
			if ip == caller {
				return r.fault
			}
		}
	}
	return Fault{}
}

// fault returns what is in effect for a caller, and a channel that is closed when that may have changed.
func (p *Proxy) fault(caller string) (Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faultLocked(caller), p.change
}

// held waits while the caller's fault is Hold; false: the connection has ended meanwhile.
func (p *Proxy) held(c *conn) (Fault, bool) {
	noted := false
	for {
		f, change := p.fault(c.caller)
		if !f.Hold {
			return f, true
		}
		if !noted {
			p.happened("held")
			noted = true
		}
		select {
		case <-change:
		case <-c.over:
			return f, false
		}
	}
}

func (p *Proxy) happened(kind string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fired[kind]++
}

// roll draws whether something with these odds happens now, and a number from 0 to n − 1 for where.
func (p *Proxy) roll(kind string, odds float64, n int) (where int, yes bool) {
	if odds <= 0 || n <= 0 {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rnd.Float64() >= odds {
		return 0, false
	}
	p.fired[kind]++
	return p.rnd.IntN(n), true
}

// serve carries one connection until it ends.
func (p *Proxy) serve(in net.Conn) {
	c := &conn{p: p, in: in, caller: hostOf(in), over: make(chan struct{})}
	p.mu.Lock()
	f := p.faultLocked(c.caller)
	if p.closed || f.Refuse {
		if f.Refuse {
			p.fired["refused"]++
		}
		p.mu.Unlock()
		reset(in)
		return
	}
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	defer func() {
		c.reset()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
	}()
	if _, ok := p.held(c); !ok {
		return
	}
	d := net.Dialer{Timeout: dialTimeout}
	if p.cfg.Source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(p.cfg.Source)}
	}
	out, err := d.Dial("tcp", p.cfg.Target)
	if err != nil {
		return
	}
	p.mu.Lock()
	c.target = out
	p.mu.Unlock()
	select {
	case <-c.over:
		reset(out)
		return
	default:
	}
	var legs sync.WaitGroup
	legs.Go(func() { c.carry(in, out, true) })
	legs.Go(func() { c.carry(out, in, false) })
	legs.Wait()
}

// conn is one caller's connection.
type conn struct {
	p      *Proxy
	in     net.Conn
	target net.Conn // guarded by the proxy's mutex until it is set
	caller string   // IP address

	lossy atomic.Bool // it dropped bytes
	half  atomic.Bool // only the caller's leg is left
	once  sync.Once
	over  chan struct{}
}

// reset ends both legs without ceremony.
func (c *conn) reset() {
	c.once.Do(func() {
		close(c.over)
		reset(c.in)
		c.p.mu.Lock()
		target := c.target
		c.p.mu.Unlock()
		if target != nil {
			reset(target)
		}
	})
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // of a closed connection: nothing to reset
	}
	_ = c.Close()
}

func hostOf(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}
