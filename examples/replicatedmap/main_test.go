package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCommandLines(t *testing.T) {
	t.Parallel()
	std := []int{3262, 3263, 3264}
	for args, want := range map[string]*line{
		"tcp 3262":                     {port: 3262, members: std},
		"tcp 3264 folder":              {port: 3264, folder: "folder", members: std},
		"tcp 3265 folder --join 3262":  {port: 3265, folder: "folder", members: std, join: []int{3262}},
		"tcp 3265 --join 3262,3263":    {port: 3265, members: std, join: []int{3262, 3263}},
		"tcp 1 --members 1,2 --http 9": {port: 1, members: []int{1, 2}, http: 9},
		"mem":                          {inMemory: true, members: std},
		"inmem folder -v":              {inMemory: true, folder: "folder", members: std, verbose: true},
		"":                             nil,
		"tcp":                          nil,
		"tcp x":                        nil,
		"tcp 0":                        nil,
		"tcp 65536":                    nil,
		"tcp 3265":                     nil, // of no list
		"tcp 3262 a b":                 nil,
		"mem a b":                      nil,
		"mem --join 3262":              nil,
		"udp 3262":                     nil,
		"tcp 3262 --unknown":           nil,
		"tcp 3262 --http x":            nil,
	} {
		got, err := parse(strings.Fields(args))
		switch {
		case want == nil && (err == nil || !strings.Contains(err.Error(), "usage:")):
			t.Errorf("%q: no refusal with the usage: %v", args, err)
		case want != nil && (err != nil || !reflect.DeepEqual(got, *want)):
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
}

// documented returns the lines of the package's comment and of the guide that begin a command.
func documented(t *testing.T, command string) (lines []string) {
	t.Helper()
	find := regexp.MustCompile(`(?m)^(?://\t| *)` + regexp.QuoteMeta(command) + ` (.*)$`)
	for _, file := range []string{"doc.go", "../../docs/raft.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := find.FindAllStringSubmatch(string(text), -1)
		if len(found) < 3 {
			t.Errorf("%s has %d lines of %q", file, len(found), command)
		}
		for _, f := range found {
			lines = append(lines, f[1])
		}
	}
	return lines
}

func TestDocumentedCommandLinesAreUnderstood(t *testing.T) {
	t.Parallel()
	for _, args := range documented(t, "go run ./examples/replicatedmap") {
		if _, err := parse(strings.Fields(args)); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestDocumentedRequestsAreServed(t *testing.T) {
	t.Parallel()
	m := &member{}
	mux := m.routes()
	for _, args := range documented(t, "curl") {
		words := strings.Fields(args)
		method := "GET"
		if i := slices.Index(words, "-X"); i >= 0 {
			method = words[i+1]
		}
		at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "http://127.0.0.1:426") })
		if at < 0 {
			t.Errorf("curl %s: no URL", args)
			continue
		}
		u, err := url.Parse(words[at])
		if err != nil {
			t.Errorf("curl %s: %v", args, err)
			continue
		}
		if _, pattern := mux.Handler(&http.Request{Method: method, URL: u, Host: u.Host}); pattern == "" {
			t.Errorf("curl %s: no such request is served", args)
		}
	}
}

// All members in one process, as `mem` runs them, over a restart, until they are told to end.
func TestRunInOneProcess(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 3)
	for _, p := range ports {
		if p+httpOffset > 65535 {
			ports = []int{21262, 21263, 21264}
		}
	}
	folder := t.TempDir()
	args := []string{"mem", folder, "--members", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(ports)), ","), "[]")}
	way := http.DefaultTransport.(*http.Transport).Clone()
	p := &processes{t: t, http: map[int]int{}, client: &http.Client{Transport: way, Timeout: limit}}
	defer way.CloseIdleConnections()
	for _, port := range ports {
		p.http[port] = port + httpOffset
	}
	for life := range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		var out bytes.Buffer
		go func() { ended <- run(ctx, args, &out) }()
		for _, port := range ports {
			p.want(port, "PUT", "/map/a", "v")
			if got, _ := p.want(port, "GET", "/map/a", ""); got != "v" {
				t.Errorf("life %d, node %d: %q", life, port, got)
			}
		}
		way.CloseIdleConnections()
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("life %d: %v\n%s", life, err, out.String())
			}
		case <-time.After(limit):
			t.Fatalf("life %d did not end", life)
		}
	}
}

func TestRunRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	taken := listen(t, "127.0.0.1:0")
	defer taken.Close()
	port := strings.TrimPrefix(taken.Addr().String(), "127.0.0.1:")
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	free := fmt.Sprint(freePorts(t, 1)[0])
	for name, args := range map[string][]string{
		"the HTTP port is taken": {"tcp", free, "--members", free, "--http", port},
		"the port is taken":      {"tcp", port, "--members", port, "--http", free},
		"the folder is a file":   {"tcp", free, file, "--members", free, "--http", fmt.Sprint(freePorts(t, 1)[0])},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		if err := run(ctx, args, &bytes.Buffer{}); err == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}
