package service

// ring remembers the last things of many. The zero value is empty; one goroutine uses it.
type ring[T any] struct {
	list []T
	next int // where the oldest is, once the list is full
}

// remembered is how many things a ring keeps.
const remembered = 1024

func (r *ring[T]) add(all []T) {
	all = all[max(0, len(all)-remembered):]
	for i := range all {
		if len(r.list) < remembered {
			r.list = append(r.list, all[i])
			continue
		}
		r.list[r.next] = all[i]
		r.next = (r.next + 1) % remembered
	}
}

// since returns what was added and passes, oldest first.
func (r *ring[T]) since(passes func(*T) bool) (found []T) {
	for i := range r.list {
		if x := &r.list[(r.next+i)%len(r.list)]; passes(x) {
			found = append(found, *x)
		}
	}
	return found
}
