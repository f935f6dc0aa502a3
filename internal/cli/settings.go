package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// annotationNoEnv marks flags that are about this one call: neither environment nor file sets them.
const annotationNoEnv = "coordd_no_env"

// envName returns the environment name of a flag.
func envName(flag string) string {
	return "COORDD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// showEnv adds to each flag's help the name of its environment variable, in the whole tree.
func showEnv(cmd *cobra.Command) {
	add := func(f *pflag.Flag) {
		env := envName(f.Name)
		if configurable(f) && !strings.Contains(f.Usage, env) {
			f.Usage += " [$" + env + "]"
		}
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.PersistentFlags().VisitAll(add)
	for _, c := range cmd.Commands() {
		showEnv(c)
	}
}

// forThisCall marks flags that are given on the command line or not at all. Their environment names may mean
// something else: `lock run` tells its command of its own hold in COORDD_FENCE and COORDD_SESSION.
func forThisCall(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f := flags.Lookup(name)
		if f.Annotations == nil {
			f.Annotations = make(map[string][]string)
		}
		f.Annotations[annotationNoEnv] = []string{"true"}
	}
}

func configurable(f *pflag.Flag) bool {
	return f.Name != "help" && f.Annotations[annotationNoEnv] == nil
}

// resolveSettings fills the flags that were not given from the environment and from the file that --config
// names: flag before environment before file before default. A flag that was filled counts as changed.
func resolveSettings(flags *pflag.FlagSet, getenv func(string) string) error {
	path := ""
	if f := flags.Lookup("config"); f != nil {
		if path = f.Value.String(); path == "" {
			path = getenv(envName("config"))
		}
	}
	var file map[string]setting
	if path != "" {
		var err error
		if file, err = readSettings(path); err != nil {
			return &failure{exit: exitUsage, code: "BAD_REQUEST", err: err}
		}
		inOrder := slices.SortedFunc(maps.Values(file), func(a, b setting) int { return a.line - b.line })
		for _, s := range inOrder { // the first one that is wrong is named, not any
			if f := flags.Lookup(s.key); f == nil || !configurable(f) || s.key == "config" {
				return usagef("%s:%d: unknown key %q", path, s.line, s.key)
			}
		}
	}
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || !configurable(f) || f.Name == "config" {
			return
		}
		if v := getenv(envName(f.Name)); v != "" {
			markFilled(f)
			if err := flags.Set(f.Name, v); err != nil {
				errs = append(errs, usagef("invalid value %q in %s: %w", v, envName(f.Name), cause(err)))
			}
			return
		}
		if s, ok := file[f.Name]; ok {
			markFilled(f)
			if err := setFromFile(flags, f, s); err != nil {
				errs = append(errs, usagef("%s:%d: invalid value for %s: %w", path, s.line, s.key, cause(err)))
			}
		}
	})
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// annotationFilled marks flags whose value came from the environment or the file.
const annotationFilled = "coordd_filled"

func markFilled(f *pflag.Flag) {
	if f.Annotations == nil {
		f.Annotations = make(map[string][]string)
	}
	f.Annotations[annotationFilled] = []string{"true"}
}

// onCommandLine reports whether a flag was given on the command line itself.
func onCommandLine(f *pflag.Flag) bool { return f.Changed && f.Annotations[annotationFilled] == nil }

// cause strips pflag's own wrapping, which repeats flag and value.
func cause(err error) error {
	var iv *pflag.InvalidValueError
	if errors.As(err, &iv) {
		return iv.Unwrap()
	}
	return err
}

// setting is one key of a configuration file.
type setting struct {
	key    string
	line   int
	values []string // one, or the members of a list or of a map as key=value
	list   bool
}

func setFromFile(flags *pflag.FlagSet, f *pflag.Flag, s setting) error {
	if !s.list {
		return flags.Set(f.Name, s.values[0])
	}
	if sv, ok := f.Value.(pflag.SliceValue); ok {
		if err := sv.Replace(s.values); err != nil {
			return err
		}
		f.Changed = true
		return nil
	}
	if !strings.HasPrefix(f.Value.Type(), "stringToString") {
		return errors.New("takes one value, not a list")
	}
	for _, v := range s.values {
		if err := flags.Set(f.Name, v); err != nil {
			return err
		}
	}
	return nil
}

// readSettings reads a YAML file with one mapping of flag names to values. A value is a scalar, a list of
// scalars, or a mapping of scalars (for flags that take k=v).
func readSettings(path string) (map[string]setting, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	dec := yaml.NewDecoder(f)
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil // an empty file says nothing
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document", path)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: must be a mapping of names to values", path, root.Line)
	}
	out := make(map[string]setting)
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if old, dup := out[k.Value]; dup {
			return nil, fmt.Errorf("%s:%d: key %q was given on line %d already", path, k.Line, k.Value, old.line)
		}
		s := setting{key: k.Value, line: k.Line}
		if s.values, s.list, err = scalars(v); err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", path, v.Line, k.Value, err)
		}
		out[k.Value] = s
	}
	return out, nil
}

var errShape = errors.New("must be a value, a list of values or a mapping of names to values")

// scalars returns the values of a node and whether it was a list or a mapping.
func scalars(n *yaml.Node) (values []string, list bool, err error) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	scalar := func(n *yaml.Node) (string, error) {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			return "", errShape
		}
		return n.Value, nil
	}
	switch n.Kind {
	case yaml.ScalarNode:
		v, err := scalar(n)
		return []string{v}, false, err
	case yaml.SequenceNode:
		for _, c := range n.Content {
			v, err := scalar(c)
			if err != nil {
				return nil, false, err
			}
			values = append(values, v)
		}
		return values, true, nil
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := scalar(n.Content[i+1])
			if err != nil {
				return nil, false, err
			}
			values = append(values, n.Content[i].Value+"="+v)
		}
		return values, true, nil
	}
	return nil, false, errShape
}
