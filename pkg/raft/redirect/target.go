package redirect

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// baseOf reads a leader's URL, with the port that was hinted.
func (h *redirector) baseOf(leader string) (*url.URL, error) {
	u, err := url.Parse(leader)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, fmt.Errorf("the leader advertises no usable URL: %q", leader)
	}
	if h.port != 0 {
		u.Host = net.JoinHostPort(u.Hostname(), strconv.Itoa(h.port)) // gives an IPv6 address its brackets back
	}
	return u, nil
}

// target is the URL of a request on another server. Of the request it takes path and query and nothing else, so that
// no request says where it is sent.
func target(base *url.URL, r *http.Request) string {
	server := url.URL{Scheme: base.Scheme, Host: base.Host}
	t := server.String() + strings.TrimSuffix(base.EscapedPath(), "/") + r.URL.EscapedPath()
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		t += "?" + r.URL.RawQuery
	}
	return t
}

// sameServer reports whether a URL is of the server that a request was sent to.
func sameServer(base *url.URL, r *http.Request) bool {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	asked := &url.URL{Scheme: scheme, Host: r.Host}
	return strings.EqualFold(base.Hostname(), asked.Hostname()) && portOf(base) == portOf(asked)
}

func portOf(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
