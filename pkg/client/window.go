package client

// windowSize is how many seqs may lie between the lowest outstanding one and the next: the service keeps
// that many answers for a session.
const windowSize = 1024

// window numbers the commands of a session and knows the lowest one that is not over.
type window struct {
	next  uint64 // seq of the next command
	floor uint64 // lowest outstanding seq; next if there is none
	over  [windowSize]bool
}

// newWindow returns a window whose first seq is first.
func newWindow(first uint64) window { return window{next: first, floor: first} }

// open says whether another command may begin.
func (w *window) open() bool { return w.next < w.floor+windowSize }

// begin returns the seq of a new command; the window must be open.
func (w *window) begin() uint64 {
	seq := w.next
	w.next++
	w.over[seq%windowSize] = false
	return seq
}

// end says that seq was answered, or will never be asked about again. It may be said more than once.
func (w *window) end(seq uint64) {
	if seq < w.floor || seq >= w.next {
		return
	}
	w.over[seq%windowSize] = true
	for w.floor < w.next && w.over[w.floor%windowSize] {
		w.floor++
	}
}
