package quorum

import "cmp"

// Majority is the smallest number of voters of which any two sets share a voter. Of no voters it is 1, so
// that an empty configuration decides nothing.
func Majority(voters int) int { return voters/2 + 1 }

// Reached returns the largest value that a majority has reached: at least a majority of the values are not
// smaller. values holds one value a voter and is reordered. Without voters it is the zero value.
func Reached[T cmp.Ordered](values []T) T {
	if len(values) == 0 {
		var none T
		return none
	}
	// Insertion sort, descending: a handful of values, on the path of every acknowledgement, without the
	// call of a comparison function.
	for i := 1; i < len(values); i++ {
		v := values[i]
		j := i
		for ; j > 0 && values[j-1] < v; j-- {
			values[j] = values[j-1]
		}
		values[j] = v
	}
	return values[Majority(len(values))-1]
}

// Outcome is how a vote stands.
type Outcome uint8

// The outcomes.
const (
	Pending Outcome = iota
	Won
	Lost // no further answer can make it Won
)

// String returns the lower-case name of the outcome.
func (o Outcome) String() string {
	switch o {
	case Won:
		return "won"
	case Lost:
		return "lost"
	}
	return "pending"
}

// Decide tells how a vote stands after some of the voters granted it and others refused.
func Decide(voters, granted, refused int) Outcome {
	switch {
	case granted >= Majority(voters):
		return Won
	case voters-refused < Majority(voters):
		return Lost
	}
	return Pending
}
