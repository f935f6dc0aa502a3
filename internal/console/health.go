package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// checkTimeout bounds one run of all checks.
const checkTimeout = time.Second

// Check is one named condition of readiness. Run returns nil or why it is not met.
type Check struct {
	Name string
	Run  func(ctx context.Context) error
}

// outcome is what a check said.
type outcome struct {
	name     string
	err      error
	excluded bool
}

// runChecks runs all checks at once that are not excluded. A check that doesn't return in time has failed.
func runChecks(ctx context.Context, checks []Check, exclude []string) []outcome {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	out := make([]outcome, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		out[i].name = c.Name
		if slices.Contains(exclude, c.Name) {
			out[i].excluded = true
			continue
		}
		wg.Go(func() {
			out[i].err = c.Run(ctx)
		})
	}
	wg.Wait()
	return out
}

// healthHandler serves the result of named checks.
func healthHandler(name string, checks []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !onlyReads(w, r) {
			return
		}
		q := r.URL.Query()
		results := runChecks(r.Context(), checks, q["exclude"])
		var b strings.Builder
		ok := true
		for _, o := range results {
			switch {
			case o.excluded:
				fmt.Fprintf(&b, "[+]%s excluded: ok\n", o.name)
			case o.err != nil:
				ok = false
				fmt.Fprintf(&b, "[-]%s failed: %s\n", o.name, oneLine(o.err.Error()))
			default:
				fmt.Fprintf(&b, "[+]%s ok\n", o.name)
			}
		}
		for _, e := range q["exclude"] {
			if !slices.ContainsFunc(checks, func(c Check) bool { return c.Name == e }) {
				fmt.Fprintf(&b, "warn: there is no check %q to exclude\n", e)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if !ok {
			fmt.Fprintf(&b, "%s check failed\n", name)
			w.WriteHeader(http.StatusServiceUnavailable)
		} else if q.Has("verbose") {
			fmt.Fprintf(&b, "%s check passed\n", name)
		} else {
			b.Reset()
			b.WriteString("ok")
		}
		_, _ = w.Write([]byte(b.String())) // the client is gone
	}
}

// oneLine keeps a check's reason on its line.
func oneLine(s string) string {
	return strings.Join(strings.Fields(s), " ")
}

// onlyReads refuses methods other than GET and HEAD.
func onlyReads(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
	return false
}

// alive is all that liveness asks: a process that can answer lives. Whether it has a leader, a disk or NATS
// is no reason to restart it; a part of it that failed ends the process by itself.
func alive(context.Context) error { return nil }
