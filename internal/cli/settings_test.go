package cli

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/coordd/coordd/internal/daemon"
)

// asFile writes the flags that were filled as a configuration file.
func asFile(t *testing.T, flags *pflag.FlagSet) []byte {
	t.Helper()
	doc := map[string]any{}
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Changed || f.Name == "config" {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			doc[f.Name] = list.GetSlice()
			return
		}
		if f.Value.Type() == "stringToString" {
			m, err := flags.GetStringToString(f.Name)
			if err != nil {
				t.Fatal(err)
			}
			doc[f.Name] = m
			return
		}
		doc[f.Name] = f.Value.String()
	})
	b, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzConfigFile reads bytes as the file of coordd serve --config: an error that names the file, or settings which, written
// to a file and read again, are the same.
func FuzzConfigFile(f *testing.F) {
	f.Add([]byte("name: n1\ndata-dir: /var/lib/coordd\nelection-timeout-min: 150ms\n"))
	f.Add([]byte("peers:\n  - n1=10.0.0.1:8410\n  - n2=10.0.0.2:8410\nmetadata: {zone: a, rack: \"7\"}\nlog-level: debug\n"))
	f.Add([]byte("metadata: {a: \"x,y=z\", b: 'quo\"te'}\ncheck-quorum: false\n"))
	f.Add([]byte("x: &a [1]\nname: *a\n"))
	f.Add([]byte("name: n1\nname: n2\n"))
	f.Add([]byte("--- \n...\n---\n"))
	f.Add([]byte("null\n"))
	for _, s := range []string{
		"name: n1\npeers: [n1=127.0.0.1:8410, n2=127.0.0.1:8420, n3=127.0.0.1:8430]\n", "name: n4\npeers: [n1=127.0.0.1:8410]\n", "peers: [n1]\n",
		"peers: [n1=127.0.0.1:1, n1=127.0.0.1:2]\n", "join: [127.0.0.1:8410]\npeer-listen: 127.0.0.1:8440\n", "join: [\":\"]\n",
		"peer-listen: 10.0.0.1:8410\n", "peer-listen: 10.0.0.1:8410\ninsecure: true\n", "http-listen: 127.0.0.1:4222\nnats-listen: 127.0.0.1:4222\n",
		"nats-external: [nats://127.0.0.1:4222]\n", "nats-external: [nats://127.0.0.1:4222]\nnats-routes: [127.0.0.1:6222]\n", "peer-listen: 127.0.0.1:65535\n",
		"election-timeout-min: 0s\n", "election-timeout-min: 1ns\n", "election-timeout-max: 1ms\n", "election-timeout-min: 2540400h\n",
		"heartbeat-threshold: NaN\n", "clock-drift-bound: 1\n", "clock-drift-bound: +Inf\n", "phi-threshold: -1\nfailure-detector: phi\n",
		"warmup-rounds: -1\n", "journal-memory: 1GiB\n", "journal-memory: -1\n", "tcp-linger: off\ntcp-block-size: 0\npeer-ip-ttl: 256\n",
		"compaction: never\n", "log-level: loud\n", "log-format: xml\n", "metadata: {\"\": \"\"}\n", "name: \"a b\"\n", "standby: true\njoin: [127.0.0.1:1]\n",
	} {
		f.Add([]byte(s))
	}
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "coordd.yaml")
	resolve := func(t *testing.T, data []byte) (r served) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd, cfg, complete := newServe()
		r = served{cfg: cfg, complete: complete, flags: cmd.Flags()}
		r.flags.String("config", path, "") // as the root command has it
		r.err = resolveSettings(r.flags, func(string) string { return "" })
		return r
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first := resolve(t, data)
		if err := first.err; err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Fatalf("an error that does not name the file: %v", err)
			}
			return
		}
		file := asFile(t, first.flags)
		second := resolve(t, file)
		if second.err != nil {
			t.Fatalf("%q was read, written as %q, and is refused then: %v", data, file, second.err)
		}
		if again := asFile(t, second.flags); !slices.Equal(file, again) {
			t.Fatalf("%q was read as %q and then as %q", data, file, again)
		}
		if ok := first.check(t, data); ok != second.check(t, file) || ok && !reflect.DeepEqual(first.cfg, second.cfg) {
			t.Fatalf("%q is %+v, and %q is %+v", data, first.cfg, file, second.cfg)
		}
	})
}

// served is what coordd serve makes of a file.
type served struct {
	flags    *pflag.FlagSet
	cfg      *daemon.Config
	complete func() error
	err      error
}

// check completes the settings, which starts nothing: an error that names a setting and is one of usage, or a
// configuration that has a name, a directory, and times and ratios that a node can run with.
func (r *served) check(t *testing.T, data []byte) (ok bool) {
	t.Helper()
	if err := r.complete(); err != nil {
		var f *failure
		if !errors.As(err, &f) || f.exit != exitUsage {
			t.Fatalf("%q is refused as if it were no error of usage: %v", data, err)
		}
		named := false
		r.flags.VisitAll(func(f *pflag.Flag) { named = named || strings.Contains(err.Error(), f.Name) })
		if !named {
			t.Fatalf("%q is refused with an error that names no setting: %v", data, err)
		}
		return false
	}
	if c := r.cfg; c.Name == "" || c.DataDir == "" || c.ElectionTimeoutMin <= 0 || c.ElectionTimeoutMax < c.ElectionTimeoutMin ||
		!(c.HeartbeatThreshold > 0 && c.HeartbeatThreshold < 1) || !(c.ClockDriftBound >= 1) || c.ConnectTimeout <= 0 || c.RequestTimeout <= 0 {
		t.Fatalf("%q is taken as %+v", data, c)
	}
	return true
}
