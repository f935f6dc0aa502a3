package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	outputText outputFormat = "text"
	outputJSON outputFormat = "json"
	outputYAML outputFormat = "yaml"
)

func (f *outputFormat) String() string { return string(*f) }
func (f *outputFormat) Type() string   { return "text|json|yaml" }

func (f *outputFormat) Set(s string) error {
	switch v := outputFormat(s); v {
	case outputText, outputJSON, outputYAML:
		*f = v
		return nil
	}
	return fmt.Errorf("must be text, json or yaml")
}

// writeDocument writes one JSON document as JSON or as YAML.
func writeDocument(w io.Writer, format outputFormat, doc []byte) error {
	var buf bytes.Buffer
	if format == outputYAML {
		// JSON is YAML; a node keeps the order of the keys, and without its style it prints as blocks.
		var n yaml.Node
		if err := yaml.Unmarshal(doc, &n); err != nil {
			return fmt.Errorf("convert answer to yaml: %w", err)
		}
		blockStyle(&n)
		enc := yaml.NewEncoder(&buf)
		enc.SetIndent(2)
		if err := enc.Encode(&n); err != nil {
			return fmt.Errorf("convert answer to yaml: %w", err)
		}
	} else {
		// Compact, because protojson varies its spaces on purpose.
		if err := json.Compact(&buf, doc); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
		buf.WriteByte('\n')
	}
	_, err := w.Write(buf.Bytes())
	return err
}

// blockStyle drops the style of the JSON source; a string that looks like a number is quoted all the same.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// table writes aligned columns with a header; an empty cell is "-" so that the columns can be counted
// (awk's $3 stays the third column).
func table(w io.Writer, header []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(header, "\t"))
	for _, r := range rows {
		for i := range r {
			if r[i] == "" {
				r[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	return tw.Flush()
}
