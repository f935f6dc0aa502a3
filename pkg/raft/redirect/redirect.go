package redirect

import (
	"fmt"
	"net/http"
)

// Leader is who leads, as one member sees it.
type Leader struct {
	// Self is true on the leader itself; the URL is not looked at then.
	Self bool
	// URL is where the leader's HTTP server can be reached, as it advertises it: http or https, a host, and maybe a
	// port and the beginning of all paths.
	URL string
}

// Source knows who leads. ok is false while nobody is known to.
type Source interface {
	Leader() (l Leader, ok bool)
}

// SourceFunc is a function as a Source.
type SourceFunc func() (Leader, bool)

// Leader calls f.
func (f SourceFunc) Leader() (Leader, bool) { return f() }

// Option changes what RedirectToLeader does.
type Option func(*redirector)

// WithRedirect has redirect answer in the place of 307: leaderURL is the whole URL of this request on the leader. It
// should be quick.
func WithRedirect(redirect func(w http.ResponseWriter, r *http.Request, leaderURL string)) Option {
	return func(h *redirector) { h.redirect = redirect }
}

// WithPortHint puts a port in the place of the one in the leader's URL: the published port, where each member runs in
// a container and knows only the port inside. Without it the advertised URL has to carry the published one.
func WithPortHint(port int) Option {
	if port < 1 || port > 65535 {
		panic(fmt.Sprintf("redirect: %d is no port", port))
	}
	return func(h *redirector) { h.port = port }
}

// RedirectToLeader returns a handler that sends requests for paths to the leader and gives the others to next. The
// paths are patterns as http.ServeMux has them, so "/map/" is everything below, "PUT /map/{key}" that method alone; a
// malformed one, or two that conflict, panic as they do there.
//
// The source is an argument and no option, because nothing works without it.
func RedirectToLeader(next http.Handler, paths []string, source Source, options ...Option) http.Handler {
	h := &redirector{next: next, paths: http.NewServeMux(), source: source, redirect: temporaryRedirect}
	seen := make(map[string]bool)
	for _, p := range paths {
		if !seen[p] {
			h.paths.Handle(p, http.NotFoundHandler()) // it is asked what matches, and never served
			seen[p] = true
		}
	}
	for _, o := range options {
		o(h)
	}
	return h
}

type redirector struct {
	next     http.Handler
	paths    *http.ServeMux
	source   Source
	redirect func(w http.ResponseWriter, r *http.Request, leaderURL string)
	port     int // 0: that of the leader's URL
}

// ServeHTTP implements http.Handler.
func (h *redirector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, pattern := h.paths.Handler(r); pattern == "" {
		h.next.ServeHTTP(w, r)
		return
	}
	leader, ok := h.source.Leader()
	switch {
	case ok && leader.Self:
		h.next.ServeHTTP(w, r)
		return
	case !ok:
		unavailable(w, "no leader is known")
		return
	}
	base, err := h.baseOf(leader.URL)
	if err != nil {
		unavailable(w, err.Error())
		return
	}
	if sameServer(base, r) {
		unavailable(w, "the leader advertises the URL of this server, which does not lead")
		return
	}
	h.redirect(w, r, target(base, r))
}

func temporaryRedirect(w http.ResponseWriter, _ *http.Request, leaderURL string) {
	w.Header().Set("Location", leaderURL)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// retryAfter is in seconds, the smallest number that there is: an election takes less.
const retryAfter = "1"

func unavailable(w http.ResponseWriter, reason string) {
	w.Header().Set("Retry-After", retryAfter)
	http.Error(w, reason, http.StatusServiceUnavailable)
}
