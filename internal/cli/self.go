package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// selfCommand returns a command that runs this very program again.
func selfCommand(args ...string) (*exec.Cmd, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		path = "/proc/self/exe" // replaced or removed while we run
	}
	return &exec.Cmd{Path: path, Args: append([]string{os.Args[0]}, args...)}, nil
}

// startedByGoRun reports whether the go command built and runs this program.
func startedByGoRun() bool {
	path, err := os.Executable()
	return err == nil && (strings.Contains(path, string(filepath.Separator)+"go-build") || strings.Contains(path, "-d"+string(filepath.Separator)+"coordd"))
}

// invocation returns how the user starts this program: the words to type, quoted for a shell.
func invocation() string {
	if !startedByGoRun() {
		return shellQuote(os.Args[0])
	}
	// The go command's own arguments end with ours; what stands before them is what was typed.
	b, err := os.ReadFile("/proc/" + strconv.Itoa(os.Getppid()) + "/cmdline")
	if err == nil {
		words := strings.Split(string(bytes.TrimRight(b, "\x00")), "\x00")
		own := len(os.Args) - 1
		if len(words) > own+2 && filepath.Base(words[0]) == "go" && words[1] == "run" {
			words = words[:len(words)-own]
			words[0] = "go"
			for i := range words {
				words[i] = shellQuote(words[i])
			}
			return strings.Join(words, " ")
		}
	}
	return "go run ./cmd/coordd"
}

var shellSafe = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

// shellQuote quotes a word for a POSIX shell where it needs it.
func shellQuote(s string) string {
	if shellSafe.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
