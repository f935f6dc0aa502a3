package console

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"net/http/pprof"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// Config says what a handler serves.
type Config struct {
	// Ready are the checks of /readyz, in the order in which they are listed.
	Ready []Check
	// Metrics serves /metrics.
	Metrics http.Handler
	// Status is this node's own status, for the page.
	Status func() *coorddv1.NodeStatus
	// Pprof adds Go's profiles under /debug/pprof/.
	Pprof bool
}

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle []byte

var page = template.Must(template.New("page").Parse(pageText))

// Handler returns the handler of a node's HTTP address.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", healthHandler("livez", []Check{{Name: "process", Run: alive}}))
	mux.HandleFunc("/readyz", healthHandler("readyz", cfg.Ready))
	mux.Handle("/metrics", cfg.Metrics)
	mux.HandleFunc("/style.css", func(w http.ResponseWriter, r *http.Request) {
		if onlyReads(w, r) {
			w.Header().Set("Content-Type", "text/css; charset=utf-8")
			_, _ = w.Write(pageStyle) // the client is gone
		}
	})
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		if onlyReads(w, r) {
			servePage(w, cfg.Status())
		}
	})
	mux.HandleFunc("/", notFound)
	if cfg.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return withSafeHeaders(mux)
}

func servePage(w http.ResponseWriter, st *coorddv1.NodeStatus) {
	var b bytes.Buffer
	if err := page.Execute(&b, st); err != nil {
		http.Error(w, "the page can't be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // the client is gone
}

// notFound answers with the contract's error object, which is what callers of the API read.
func notFound(w http.ResponseWriter, r *http.Request) {
	e := coorddv1.NewError(coorddv1.CodeNotFound, "there is nothing at "+r.URL.Path+" in this version")
	body, err := json.Marshal(map[string]any{"error": map[string]any{"code": e.Code, "number": e.Number, "message": e.Message,
		"retryable": e.Retryable, "leader": "", "details": map[string]any{}}})
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write(append(body, '\n')) // the client is gone
}

// withSafeHeaders sets what keeps a browser from doing anything with a page but showing it.
func withSafeHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
