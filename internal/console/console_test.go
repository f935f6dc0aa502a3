package console

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func get(t *testing.T, h http.Handler, method, target string) (int, string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(b), w.Result().Header
}

func testHandler(checks ...Check) http.Handler {
	return Handler(Config{Ready: checks, Metrics: http.NotFoundHandler(), Status: func() *coorddv1.NodeStatus {
		return &coorddv1.NodeStatus{Name: "n1", Role: "follower", Cluster: &coorddv1.ClusterInfo{Name: "<script>x</script>", Fence: 41}}
	}})
}

func TestLivenessDoesNotDependOnReadiness(t *testing.T) {
	t.Parallel()
	h := testHandler(Check{"read", func(context.Context) error { return errors.New("no leader\nis known") }})
	if code, body, _ := get(t, h, "GET", "/livez"); code != 200 || body != "ok" {
		t.Errorf("/livez: %d %q", code, body)
	}
	if code, body, _ := get(t, h, "GET", "/readyz"); code != 503 || !strings.Contains(body, "[-]read failed: no leader is known\n") {
		t.Errorf("/readyz: %d %q", code, body)
	}
}

func TestReadinessNamesItsChecks(t *testing.T) {
	t.Parallel()
	bad := errors.New("lost")
	h := testHandler(Check{"member", func(context.Context) error { return nil }}, Check{"nats", func(context.Context) error { return bad }})
	for _, tc := range []struct {
		target string
		code   int
		want   string
	}{
		{"/readyz", 503, "[+]member ok\n[-]nats failed: lost\nreadyz check failed\n"},
		{"/readyz?exclude=nats", 200, "ok"},
		{"/readyz?verbose&exclude=nats", 200, "[+]member ok\n[+]nats excluded: ok\nreadyz check passed\n"},
		{"/readyz?exclude=nats&exclude=member", 200, "ok"},
		{"/readyz?verbose&exclude=nats&exclude=none", 200, "[+]member ok\n[+]nats excluded: ok\nwarn: there is no check \"none\" to exclude\nreadyz check passed\n"},
	} {
		if code, body, _ := get(t, h, "GET", tc.target); code != tc.code || body != tc.want {
			t.Errorf("%s: %d %q, want %d %q", tc.target, code, body, tc.code, tc.want)
		}
	}
	if code, _, head := get(t, h, "POST", "/readyz"); code != 405 || head.Get("Allow") == "" {
		t.Errorf("POST: %d", code)
	}
}

func TestACheckThatHangsFails(t *testing.T) {
	t.Parallel()
	h := testHandler(Check{"read", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
	if code, body, _ := get(t, h, "GET", "/readyz"); code != 503 || !strings.Contains(body, "[-]read failed: context deadline exceeded") {
		t.Errorf("%d %q", code, body)
	}
}

func TestThePageIsInertAndEscaped(t *testing.T) {
	t.Parallel()
	code, body, head := get(t, testHandler(), "GET", "/")
	if code != 200 || strings.Contains(body, "<script>") || !strings.Contains(body, "&lt;script&gt;") || !strings.Contains(body, ">41<") {
		t.Errorf("%d %s", code, body)
	}
	if csp := head.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("content security policy %q", csp)
	}
	for _, far := range []string{"http://", "https://", "//"} {
		if strings.Contains(strings.ReplaceAll(body, "<!doctype html>", ""), `href="`+far) {
			t.Errorf("the page links to another host: %s", far)
		}
	}
	if code, body, _ := get(t, testHandler(), "GET", "/api/v1/locks"); code != 404 || !strings.Contains(body, `"code":"NOT_FOUND"`) {
		t.Errorf("%d %s", code, body)
	}
}

func TestProfilesAreOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	if code, _, _ := get(t, testHandler(), "GET", "/debug/pprof/"); code != 404 {
		t.Errorf("pprof without being asked: %d", code)
	}
	h := Handler(Config{Metrics: http.NotFoundHandler(), Status: func() *coorddv1.NodeStatus { return nil }, Pprof: true})
	if code, _, _ := get(t, h, "GET", "/debug/pprof/"); code != 200 {
		t.Errorf("pprof: %d", code)
	}
}
