package canary

import "slices"

// Variable is the environment variable that names the guard which a build with the tag `canary` takes out.
const Variable = "COORDD_CANARY"

// ExitUnknown is the exit code of a program whose Variable names no guard.
const ExitUnknown = 120

// Guard is the name of a guard in the code.
type Guard string

// Info is what there is to know about a guard.
type Info struct {
	Guard   Guard
	Rule    string // where the design demands it: the document, and the rule's number or its first words
	Without string // what the code does when it is taken out
}

// Guards returns all guards, in the order of the design's documents.
func Guards() []Info { return slices.Concat(raftGuards, storageGuards, coordinationGuards) }

// Find returns what there is to know about a guard; false for a name that is none.
func Find(g Guard) (Info, bool) {
	all := Guards()
	if i := slices.IndexFunc(all, func(in Info) bool { return in.Guard == g }); i >= 0 {
		return all[i], true
	}
	return Info{}, false
}
