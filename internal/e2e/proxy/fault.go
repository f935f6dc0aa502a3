package proxy

import "time"

// Fault is what is done to connections. The zero value passes everything on.
type Fault struct {
	// Refuse resets the connections that there are, and closes new ones at once.
	Refuse bool
	// Hold lets nothing pass, in either direction, and loses nothing: what waits goes on when the fault ends. New
	// connections are taken and held as well. It is what an address that swallows everything looks like to a caller whose
	// connections stand.
	Hold bool
	// HalfOpen ends the leg to the target of each connection, and leaves the caller's open and mute, also after the
	// fault's end: the caller has to find out by itself.
	HalfOpen bool

	Up, Down Stream // from the caller to the target, and back
}

// Stream is what is done to one direction. Odds are by chunk, from 0 to 1.
type Stream struct {
	Delay          time.Duration // of each chunk
	Jitter         time.Duration // up to this much on top; the order is kept
	BytesPerSecond int           // 0: no limit
	Drop           bool          // every byte is lost; the connection is reset when the fault ends

	Reset    float64 // the connection is reset instead of carrying the chunk
	Cut      float64 // a part of the chunk is carried, then the connection is reset
	Stall    float64 // a part of the chunk is carried, then nothing for StallFor, then the rest
	StallFor time.Duration

	// Damage: bytes that TCP would never deliver so.
	Repeat   float64 // the chunk is carried twice
	Swap     float64 // the chunk is carried after the next one
	Corrupt  float64 // a bit of the chunk is changed
	Truncate float64 // the end of the chunk is lost, and the stream goes on
	Insert   float64 // random bytes are carried before the chunk
}

// Both makes a fault that does the same in both directions.
func Both(s Stream) Fault { return Fault{Up: s, Down: s} }
