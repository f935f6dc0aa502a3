package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
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
	f.Add([]byte{})
	path := filepath.Join(f.TempDir(), "coordd.yaml")
	resolve := func(t *testing.T, data []byte) (*pflag.FlagSet, error) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		flags := serveCommand().Flags()
		flags.String("config", path, "") // as the root command has it
		return flags, resolveSettings(flags, func(string) string { return "" })
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		flags, err := resolve(t, data)
		if err != nil {
			if !strings.Contains(err.Error(), path) {
				t.Fatalf("an error that does not name the file: %v", err)
			}
			return
		}
		file := asFile(t, flags)
		again, err := resolve(t, file)
		if err != nil {
			t.Fatalf("%q was read, written as %q, and is refused then: %v", data, file, err)
		}
		if second := asFile(t, again); !slices.Equal(file, second) {
			t.Fatalf("%q was read as %q and then as %q", data, file, second)
		}
	})
}
