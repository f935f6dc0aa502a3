package redirect_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coordd/coordd/pkg/raft/redirect"
)

// next answers what reaches it with 200 and its own words.
var next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s here", r.Method, r.URL.Path) })

func at(url string) redirect.Source {
	return redirect.SourceFunc(func() (redirect.Leader, bool) { return redirect.Leader{URL: url}, true })
}

func serve(h http.Handler, method, target string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader("body")))
	return w.Result()
}

func TestWhereRequestsGo(t *testing.T) {
	t.Parallel()
	const here = "http://follower:8080"
	paths := []string{"PUT /map/", "DELETE /map/{key}", "/admin", "/admin/{$}", "/admin"}
	for name, test := range map[string]struct {
		leader, method, path string
		options              []redirect.Option
		want                 string // Location; empty: passed on
	}{
		"below a path":           {"http://leader:1", "PUT", "/map/a/b", nil, "http://leader:1/map/a/b"},
		"one segment":            {"http://leader:1", "DELETE", "/map/a", nil, "http://leader:1/map/a"},
		"two where one is meant": {"http://leader:1", "DELETE", "/map/a/b", nil, ""},
		"other method":           {"http://leader:1", "GET", "/map/a", nil, ""},
		"any method":             {"http://leader:1", "POST", "/admin", nil, "http://leader:1/admin"},
		"exact path":             {"http://leader:1", "POST", "/admin/", nil, "http://leader:1/admin/"},
		"not below exact":        {"http://leader:1", "POST", "/admin/x", nil, ""},
		"path that begins alike": {"http://leader:1", "POST", "/administration", nil, ""},
		"other path":             {"http://leader:1", "POST", "/", nil, ""},
		"query":                  {"http://leader:1", "PUT", "/map/a?x=1&y=%2F&x=2", nil, "http://leader:1/map/a?x=1&y=%2F&x=2"},
		"empty query":            {"http://leader:1", "PUT", "/map/a?", nil, "http://leader:1/map/a?"},
		"escaped path":           {"http://leader:1", "PUT", "/map/a%2Fb%20c%C3%A9", nil, "http://leader:1/map/a%2Fb%20c%C3%A9"},
		"path like a host":       {"http://leader:1", "PUT", "/map//evil.example/", nil, "http://leader:1/map//evil.example/"},
		"uncleaned path":         {"http://leader:1", "PUT", "/x/../map/a", nil, "http://leader:1/x/../map/a"},
		"slash after the URL":    {"http://leader:1/", "PUT", "/map/a", nil, "http://leader:1/map/a"},
		"beginning of all paths": {"https://leader/base/", "PUT", "/map/a", nil, "https://leader/base/map/a"},
		"user and fragment go":   {"http://u:p@leader:1#f", "PUT", "/map/a", nil, "http://leader:1/map/a"},
		"query of the URL goes":  {"http://leader:1?q=1", "PUT", "/map/a?z", nil, "http://leader:1/map/a?z"},
		"https":                  {"https://leader", "PUT", "/map/a", nil, "https://leader/map/a"},
		"IPv6":                   {"http://[::1]:4262", "PUT", "/map/a", nil, "http://[::1]:4262/map/a"},
		"IPv6 without a port":    {"http://[2001:db8::1]", "PUT", "/map/a", nil, "http://[2001:db8::1]/map/a"},
		"port hint":              {"http://leader:1", "PUT", "/map/a", []redirect.Option{redirect.WithPortHint(3265)}, "http://leader:3265/map/a"},
		"port hint for no port":  {"http://leader/b", "PUT", "/map/a", []redirect.Option{redirect.WithPortHint(3265)}, "http://leader:3265/b/map/a"},
		"port hint and IPv6":     {"http://[::1]:1", "PUT", "/map/a", []redirect.Option{redirect.WithPortHint(3265)}, "http://[::1]:3265/map/a"},
		"port hint and zone":     {"http://[fe80::1%25eth0]:1", "PUT", "/map/a", []redirect.Option{redirect.WithPortHint(3265)}, "http://[fe80::1%25eth0]:3265/map/a"},
		"same host, other port":  {"http://follower:8081", "PUT", "/map/a", nil, "http://follower:8081/map/a"},
	} {
		res := serve(redirect.RedirectToLeader(next, paths, at(test.leader), test.options...), test.method, here+test.path)
		got := res.Header.Get("Location")
		if code := res.StatusCode; got != test.want || (test.want == "") != (code == http.StatusOK) || (test.want != "") != (code == http.StatusTemporaryRedirect) {
			t.Errorf("%s: %d to %q, want %q", name, code, got, test.want)
		}
	}
}

func TestTheLeaderItselfAnswers(t *testing.T) {
	t.Parallel()
	self := redirect.SourceFunc(func() (redirect.Leader, bool) { return redirect.Leader{Self: true, URL: "http://leader:1"}, true })
	res := serve(redirect.RedirectToLeader(next, []string{"/"}, self), "PUT", "http://leader:1/a")
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || string(body) != "PUT /a here" {
		t.Errorf("%d %q", res.StatusCode, body)
	}
}

func TestUnavailableWithoutALeaderOrItsURL(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		source redirect.Source
		here   string
		option redirect.Option
	}{
		"no leader":              {redirect.SourceFunc(func() (redirect.Leader, bool) { return redirect.Leader{}, false }), "", nil},
		"no leader, but a URL":   {redirect.SourceFunc(func() (redirect.Leader, bool) { return redirect.Leader{URL: "http://l", Self: true}, false }), "", nil},
		"no URL":                 {at(""), "", nil},
		"not a URL":              {at("http://[::1"), "", nil},
		"no host":                {at("http:///x"), "", nil},
		"no host but a port":     {at("http://:80"), "", nil},
		"no scheme":              {at("leader:8080"), "", nil},
		"relative to the scheme": {at("//leader:8080"), "", nil},
		"another scheme":         {at("javascript:alert(1)"), "", nil},
		"here":                   {at("http://follower:8080"), "http://follower:8080", nil},
		"here in capitals":       {at("http://FOLLOWER:8080/"), "http://follower:8080", nil},
		"here by the usual port": {at("http://follower"), "http://follower:80", nil},
		"here with TLS":          {at("https://follower:443"), "https://follower", nil},
		"here in IPv6":           {at("http://[::1]:8080"), "http://[::1]:8080", nil},
		"here by the hint":       {at("http://follower:1"), "http://follower:8080", redirect.WithPortHint(8080)},
	} {
		if test.here == "" {
			test.here = "http://elsewhere"
		}
		var options []redirect.Option
		if test.option != nil {
			options = append(options, test.option)
		}
		res := serve(redirect.RedirectToLeader(next, []string{"/"}, test.source, options...), "PUT", test.here+"/map/a")
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") != "1" || res.Header.Get("Location") != "" {
			t.Errorf("%s: %d, Retry-After %q, Location %q", name, res.StatusCode, res.Header.Get("Retry-After"), res.Header.Get("Location"))
		}
	}
}

func TestACustomRedirectGetsTheWholeURL(t *testing.T) {
	t.Parallel()
	custom := redirect.WithRedirect(func(w http.ResponseWriter, r *http.Request, leaderURL string) {
		w.Header().Set("X-Leader", leaderURL)
		w.WriteHeader(http.StatusMisdirectedRequest)
	})
	h := redirect.RedirectToLeader(next, []string{"/a"}, at("http://leader:1"), custom, redirect.WithPortHint(2))
	res := serve(h, "PUT", "http://follower/a?q=1")
	if res.StatusCode != http.StatusMisdirectedRequest || res.Header.Get("X-Leader") != "http://leader:2/a?q=1" || res.Header.Get("Location") != "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if res := serve(h, "PUT", "http://follower/b"); res.StatusCode != http.StatusOK {
		t.Errorf("another path: %d", res.StatusCode)
	}
}

func TestTheSourceIsNotAskedForOtherPaths(t *testing.T) {
	t.Parallel()
	asked := 0
	source := redirect.SourceFunc(func() (redirect.Leader, bool) { asked++; return redirect.Leader{}, false })
	h := redirect.RedirectToLeader(next, []string{"/a"}, source)
	for _, p := range []string{"/b", "/a", "/"} {
		serve(h, "GET", "http://follower"+p)
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
}

func TestWhatNoProgramMeansPanics(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"port 0":          func() { redirect.WithPortHint(0) },
		"port 65536":      func() { redirect.WithPortHint(65536) },
		"malformed path":  func() { redirect.RedirectToLeader(next, []string{"/{"}, at("")) },
		"path of nothing": func() { redirect.RedirectToLeader(next, []string{""}, at("")) },
		"conflict":        func() { redirect.RedirectToLeader(next, []string{"/a/{x}", "/{x}/b"}, at("")) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// A client's request with a body arrives on the leader as it was sent, over however many changes of the leader; members
// whose URLs are mixed up send nobody in a circle.
func TestAClientFollowsToTheLeader(t *testing.T) {
	t.Parallel()
	var leader atomic.Int64
	servers := make([]*httptest.Server, 3)
	urls := make([]string, 3)
	arrived := make(chan string, 1)
	for i := range servers {
		source := redirect.SourceFunc(func() (redirect.Leader, bool) {
			l := int(leader.Load())
			return redirect.Leader{Self: l == i, URL: urls[l]}, true
		})
		servers[i] = httptest.NewServer(redirect.RedirectToLeader(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			arrived <- fmt.Sprintf("%d %s %s %s", i, r.Method, r.URL, b)
		}), []string{"/"}, source))
		defer servers[i].Close()
		urls[i] = servers[i].URL
	}
	put := func(to int) *http.Response {
		req, err := http.NewRequest("PUT", servers[to].URL+"/map/a%2Fb?x=1", strings.NewReader("value"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := servers[to].Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	for l := range servers {
		leader.Store(int64(l))
		for to := range servers {
			if res := put(to); res.StatusCode != http.StatusOK {
				t.Fatalf("to %d while %d leads: %s", to, l, res.Status)
			}
			if got, want := <-arrived, fmt.Sprintf("%d PUT /map/a%%2Fb?x=1 value", l); got != want {
				t.Errorf("arrived %q, want %q", got, want)
			}
		}
	}
	// 0 leads and advertises the URL of 1, and 1's own is that of 0.
	leader.Store(0)
	urls[0], urls[1] = servers[1].URL, servers[0].URL
	for _, to := range []int{1, 2} {
		if res := put(to); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("to %d with mixed up URLs: %s", to, res.Status)
		}
	}
}
