package tracker

// flight is one append message on its way.
type flight struct {
	last  uint64 // index of its last entry
	bytes int
}

// Inflight is a queue of the append messages that are on their way to a peer, oldest first. The zero value
// is ready to use.
type Inflight struct {
	ring  []flight
	head  int
	count int
	bytes int
}

// Bytes is the sum of what is on its way.
func (f *Inflight) Bytes() int { return f.bytes }

// Len is the number of messages on their way.
func (f *Inflight) Len() int { return f.count }

// Add puts a message at the end. Its last index must be above those before it.
func (f *Inflight) Add(last uint64, bytes int) {
	if f.count == len(f.ring) {
		grown := make([]flight, max(8, 2*len(f.ring)))
		for i := range f.count {
			grown[i] = f.ring[(f.head+i)%len(f.ring)]
		}
		f.ring, f.head = grown, 0
	}
	f.ring[(f.head+f.count)%len(f.ring)] = flight{last, bytes}
	f.count++
	f.bytes += bytes
}

// FreeTo removes the messages whose entries are all at or below an index.
func (f *Inflight) FreeTo(index uint64) {
	for f.count > 0 && f.ring[f.head].last <= index {
		f.bytes -= f.ring[f.head].bytes
		f.head = (f.head + 1) % len(f.ring)
		f.count--
	}
}

// Reset forgets everything and keeps the memory.
func (f *Inflight) Reset() { f.head, f.count, f.bytes = 0, 0, 0 }
