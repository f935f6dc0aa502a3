package proxy

import (
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

const (
	// chunkBytes is the most that one read takes.
	chunkBytes = 16 << 10
	// queued is how many chunks may wait for their time.
	queued = 64
)

// chunk is a piece of a stream that is to be carried at a time.
type chunk struct {
	data  []byte
	due   time.Time
	pace  time.Duration // after it, for a limited rate
	reset bool          // after it the connection ends
}

// carry takes one direction from one leg to the other.
func (c *conn) carry(from, to net.Conn, up bool) {
	out := make(chan chunk, queued)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.write(to, out)
	}()
	c.read(from, out, up)
	close(out)
	<-done
	if c.half.Load() {
		return // the leg to the target was cut on purpose; the caller's stays until the caller ends it
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // the other direction may go on
	}
}

// read takes chunks and does to them what is in effect.
func (c *conn) read(from net.Conn, out chan<- chunk, up bool) {
	buf := make([]byte, chunkBytes)
	var last time.Time // when the latest chunk is due
	var swapped []byte
	for {
		n, err := from.Read(buf)
		if n > 0 {
			f, ok := c.p.held(c)
			if !ok {
				return
			}
			s := f.Down
			if up {
				s = f.Up
			}
			data := slices.Clone(buf[:n])
			if c.half.Load() {
				continue
			}
			if s.Drop {
				c.lossy.Store(true)
				c.p.happened("dropped")
				continue
			}
			if last, ok = c.pass(out, c.damage(data, &s, &swapped), &s, last); !ok {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !c.half.Load() {
				c.reset()
			}
			return
		}
	}
}

// damage changes what TCP never would.
func (c *conn) damage(data []byte, s *Stream, swapped *[]byte) []byte {
	p := c.p
	if i, yes := p.roll("corrupted", s.Corrupt, len(data)*8); yes {
		data[i/8] ^= 1 << (i % 8)
	}
	if keep, yes := p.roll("truncated", s.Truncate, len(data)); yes {
		data = data[:keep]
	}
	if _, yes := p.roll("repeated", s.Repeat, 1); yes {
		data = append(data, data...)
	}
	if n, yes := p.roll("inserted", s.Insert, 256); yes {
		p.mu.Lock()
		for range n + 1 {
			data = slices.Insert(data, 0, byte(p.rnd.Uint32()))
		}
		p.mu.Unlock()
	}
	if *swapped != nil {
		data = append(data, *swapped...)
		*swapped = nil
		return data
	}
	if _, yes := p.roll("swapped", s.Swap, 1); yes {
		*swapped = data
		return nil
	}
	return data
}

// pass gives a chunk to the writer, late or in pieces as the stream's faults say. It returns when the chunk is due.
func (c *conn) pass(out chan<- chunk, data []byte, s *Stream, last time.Time) (time.Time, bool) {
	p := c.p
	if len(data) == 0 {
		return last, true
	}
	due := time.Now()
	if s.Delay > 0 || s.Jitter > 0 {
		p.mu.Lock()
		due = due.Add(s.Delay + time.Duration(p.rnd.Int64N(int64(s.Jitter)+1)))
		p.fired["delayed"]++
		p.mu.Unlock()
	}
	if due.Before(last) {
		due = last
	}
	first := chunk{data: data, due: due}
	if s.BytesPerSecond > 0 {
		p.happened("throttled")
		first.pace = time.Duration(len(data)) * time.Second / time.Duration(s.BytesPerSecond)
	}
	var then []chunk
	if _, yes := p.roll("reset", s.Reset, 1); yes {
		first = chunk{reset: true, due: due}
	} else if keep, yes := p.roll("cut", s.Cut, len(data)); yes {
		first.data, first.reset = data[:keep], true
	} else if keep, yes := p.roll("stalled", s.Stall, len(data)); yes {
		first.data = data[:keep]
		due = due.Add(s.StallFor)
		then = append(then, chunk{data: data[keep:], due: due})
	}
	for _, ch := range append([]chunk{first}, then...) {
		select {
		case out <- ch:
		case <-c.over:
			return due, false
		}
	}
	return due, true
}

// write carries the chunks, each in its time. When it can't, it takes the rest off the queue.
func (c *conn) write(to net.Conn, in <-chan chunk) {
	broken := false
	for ch := range in {
		if broken {
			continue
		}
		if !c.sleep(time.Until(ch.due)) {
			broken = true
			continue
		}
		if _, err := to.Write(ch.data); err != nil || ch.reset {
			if !c.half.Load() {
				c.reset()
			}
			broken = true
			continue
		}
		broken = !c.sleep(ch.pace)
	}
}

// sleep waits; false: the connection has ended meanwhile.
func (c *conn) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.over:
		return false
	}
}
