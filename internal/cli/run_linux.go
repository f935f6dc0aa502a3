package cli

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// descendantsKnown is true where descendants finds every process, whatever group or session it made.
const descendantsKnown = true

// childAttributes lets a child die with this process.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// sinceBoot is the time since the machine's start, its sleep included: the same in all processes.
func sinceBoot() time.Duration { return clock(unix.CLOCK_BOOTTIME) }

// becomeSubreaper makes orphans of the command children of this process instead of init's, so that they
// are found when the command has to end.
func becomeSubreaper() {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) // Linux 3.4; without it the group alone is ended
}

// process is a line of /proc.
type process struct {
	pid, parent int
	zombie      bool
}

// descendants returns the living processes below this one, except the one given and what is below it.
func descendants(except int) []int {
	children := make(map[int][]process)
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p)
	}
	var found []int
	next := []int{os.Getpid()}
	for len(next) > 0 {
		at := next[0]
		next = next[1:]
		for _, c := range children[at] {
			if c.pid == except {
				continue
			}
			next = append(next, c.pid) // a zombie's children are init's or ours already
			if !c.zombie {
				found = append(found, c.pid)
			}
		}
	}
	return found
}

// processes lists all processes that can be seen.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var out []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			out = append(out, p)
		}
	}
	return out
}

// readProcess reads /proc/PID/stat: pid (comm) state ppid … The name may hold spaces and brackets.
func readProcess(pid int) (process, bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false // ended meanwhile
	}
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return process{}, false
	}
	f := bytes.Fields(b[end+1:])
	if len(f) < 2 {
		return process{}, false
	}
	parent, err := strconv.Atoi(string(f[1]))
	if err != nil {
		return process{}, false
	}
	state := f[0][0]
	return process{pid: pid, parent: parent, zombie: state == 'Z' || state == 'X'}, true
}

// carrying returns the processes, except this one, that were started in the run with this identifier: it is
// one of those in their variable COORDD_RUN.
func carrying(run string) []int {
	var out []int
	for _, p := range processes() {
		if p.pid == os.Getpid() || p.zombie {
			continue
		}
		env, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/environ")
		if err == nil && startedIn(env, run) {
			out = append(out, p.pid)
		}
	}
	return out
}

// startedIn looks for a run's identifier in an environment as /proc shows it.
func startedIn(env []byte, run string) bool {
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if runs, ok := bytes.CutPrefix(v, []byte(envRun+"=")); ok {
			return slices.Contains(strings.Split(string(runs), ":"), run)
		}
	}
	return false
}
