//go:build canary

package canary

import (
	"fmt"
	"os"
)

// chosen is the guard that is taken out in this process, "" for none.
var chosen = choose(os.Getenv(Variable))

// Broken reports whether a guard is taken out.
func Broken(g Guard) bool { return g == chosen }

// choose ends the process where the name is not that of a guard: a run that is to show what goes wrong without one
// must not show a whole program by mistake.
func choose(name string) Guard {
	if _, ok := Find(Guard(name)); name != "" && !ok {
		fmt.Fprintf(os.Stderr, "%s=%s names no guard; internal/canary lists them\n", Variable, name)
		os.Exit(ExitUnknown)
	}
	return Guard(name)
}
