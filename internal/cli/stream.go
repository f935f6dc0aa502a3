package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/pkg/client"
)

// streamEnd is what the help of streams says of their end.
const streamEnd = "It goes on until it is interrupted: exit code 130 by Ctrl-C, 143 by TERM, as of other tools that watch."

// stream connects and lets f write until it ends or a signal comes.
func (c *clientFlags) stream(cmd *cobra.Command, f func(context.Context, *client.Client, *streamWriter) error) error {
	if err := c.check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	err = f(ctx, cl, &streamWriter{out: cmd.OutOrStdout(), format: *c.format})
	_ = cl.Close() // no session was opened
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return c.clientFailure(ctx, err)
}

// streamWriter writes one line, or one YAML document, for each thing that comes.
type streamWriter struct {
	out    io.Writer
	format outputFormat
	any    bool
}

// columnWidth is how wide a column of a stream is at least. What will come is not known, so wider values move the rest
// of their line; the number of columns stays.
const columnWidth = 10

// row writes a line of text, nothing in another format. An empty value is -, so that the columns can be counted.
func (w *streamWriter) row(values ...string) error {
	if w.format != outputText {
		return nil
	}
	var b strings.Builder
	for i, v := range values {
		if v == "" {
			v = "-"
		}
		if i == len(values)-1 {
			b.WriteString(v)
			break
		}
		fmt.Fprintf(&b, "%-*s  ", columnWidth, v)
	}
	_, err := fmt.Fprintln(w.out, b.String())
	return err
}

// document writes one JSON object a line, or YAML documents.
func (w *streamWriter) document(doc []byte) error {
	if w.format == outputYAML && w.any {
		if _, err := fmt.Fprintln(w.out, "---"); err != nil {
			return err
		}
	}
	w.any = true
	return writeDocument(w.out, w.format, doc)
}
