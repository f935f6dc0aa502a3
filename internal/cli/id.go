package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/idgen"
)

// defaultSequence is what `id next` draws from unless told otherwise; it is made on first use.
const defaultSequence = "default"

func idCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "id", Short: "Draw unique IDs, or say what one is made of"}
	parentCommand(cmd)
	cmd.AddCommand(idNextCommand(), idInspectCommand())
	return cmd
}

// idFormats write the n-th number of a range; the formats that need more than a sequence come later.
var idFormats = map[string]func(n int64, r *coorddv1.SequenceAllocReply) string{
	"uuid": func(n int64, r *coorddv1.SequenceAllocReply) string {
		return idgen.V8(uint64(n), uint16(r.GetDomain()), uint32(r.GetSequenceId())).String()
	},
	"int":    func(n int64, _ *coorddv1.SequenceAllocReply) string { return idgen.EncodeInt(n) },
	"base32": func(n int64, _ *coorddv1.SequenceAllocReply) string { return idgen.EncodeBase32(uint64(n)) },
	"base62": func(n int64, _ *coorddv1.SequenceAllocReply) string { return idgen.EncodeBase62(uint64(n)) },
}

func idNextCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "next",
		Short: "Draw IDs that are drawn nowhere else",
		Long: "Draw IDs from a sequence. No number of a sequence is given twice; one that was drawn and not used is a gap.\n\n" +
			"Formats: uuid (RFC 9562, version 8, proven unique), int, base32 (Crockford), base62.",
		Args: exactly(0),
	}
	c := addClientFlags(cmd)
	var seq, format string
	var count int64
	cmd.Flags().StringVar(&seq, "seq", "", "sequence to draw from (default the sequence \"default\", made on first use)")
	cmd.Flags().Int64Var(&count, "count", 1, "how many, 1 to 10,000,000")
	cmd.Flags().StringVar(&format, "format", "uuid", "uuid, int, base32 or base62 (uuid7 and snowflake are not in this version)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		write, ok := idFormats[format]
		switch {
		case format == "uuid7" || format == "snowflake":
			return usagef("--format %s comes with a later version of coordd; uuid is as unique and sorts by allocation", format)
		case !ok:
			return usagef("--format: %q is none of uuid, int, base32, base62", format)
		case count < 1 || count > 10_000_000:
			return usagef("--count: %d is not between 1 and 10000000", count)
		}
		make := seq == ""
		if make {
			seq = defaultSequence
		} else if err := checkName("sequence", seq); err != nil {
			return err
		}
		if err := c.check(); err != nil {
			return err
		}
		nc, err := c.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer nc.Close()
		var ids []string
		for int64(len(ids)) < count {
			r, err := c.draw(cmd.Context(), nc, seq, count-int64(len(ids)), make)
			if err != nil {
				return err
			}
			if r.GetCount() <= 0 {
				return fmt.Errorf("sequence %q answered an empty range", seq)
			}
			for i := range r.GetCount() {
				ids = append(ids, write(r.GetLo()+i*r.GetStep(), r))
			}
		}
		if *c.format == outputText {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(ids, "\n"))
			return err
		}
		b, err := json.Marshal(map[string][]string{"ids": ids})
		if err != nil {
			return err
		}
		return writeDocument(cmd.OutOrStdout(), *c.format, b)
	}
	return cmd
}

// draw takes up to count numbers. The request has no session: a repeat after a lost answer draws another
// range, which is a gap and never a number twice.
func (c *clientFlags) draw(ctx context.Context, nc *nats.Conn, seq string, count int64, makeIt bool) (*coorddv1.SequenceAllocReply, error) {
	r := &coorddv1.SequenceAllocReply{}
	req := &coorddv1.SequenceAllocRequest{Count: min(count, idgen.DefaultMaxRange)}
	err := c.request(ctx, nc, c.subject("id.alloc", seq), req, r)
	for codeOf(err) == coorddv1.CodeCountTooLarge && req.Count > 1 {
		// A sequence may give less at once than the default; it says what it gives.
		var s coorddv1.SequenceReply
		if gErr := c.request(ctx, nc, c.subject("id.get", seq), &coorddv1.SequenceRequest{}, &s); gErr != nil {
			return nil, gErr
		}
		if req.Count = min(req.Count/2, s.GetSequence().GetMaxRange()); req.Count < 1 {
			return nil, err
		}
		err = c.request(ctx, nc, c.subject("id.alloc", seq), req, r)
	}
	if codeOf(err) != coorddv1.CodeSeqNotFound {
		return r, err
	}
	if !makeIt {
		var f *failure
		if errors.As(err, &f) {
			f.message = fmt.Sprintf("there is no sequence %q in namespace %q; make it with `coordd seq create %s`", seq, c.namespace, shellQuote(seq))
		}
		return nil, err
	}
	if err := c.createSequence(ctx, nc, seq, &coorddv1.SequenceCreateRequest{}, &coorddv1.SequenceReply{}); err != nil {
		return nil, err
	}
	return r, c.request(ctx, nc, c.subject("id.alloc", seq), req, r)
}

func idInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect ID",
		Short: "Say what an ID is made of",
		Long:  "Say what an ID is made of: a UUID of version 8, a decimal number, base 32 (13 characters) or base 62 (11 characters).",
		Args:  exactly(1),
	}
	format := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		doc, err := inspectID(args[0])
		if err != nil {
			return &failure{exit: exitError, code: coorddv1.CodeBadRequest, err: err}
		}
		if *format != outputText {
			b, err := encodeFields(doc)
			if err != nil {
				return err
			}
			return writeDocument(cmd.OutOrStdout(), *format, b)
		}
		var rows [][]string
		for _, f := range doc[1:] {
			v := string(f.value)
			if s, err := strconv.Unquote(v); err == nil {
				v = s
			}
			rows = append(rows, []string{f.key, v})
		}
		return table(cmd.OutOrStdout(), []string{"ID", args[0]}, rows)
	}
	return cmd
}

// inspectID returns the parts of an ID as the fields of a document, the ID itself first. 64-bit numbers are
// strings, as everywhere in JSON.
func inspectID(id string) ([]field, error) {
	text := func(s string) json.RawMessage { return json.RawMessage(strconv.Quote(s)) }
	number := func(n uint64) json.RawMessage { return json.RawMessage(strconv.FormatUint(n, 10)) }
	doc := []field{{"id", json.RawMessage(strconv.QuoteToASCII(id))}}
	if u, err := idgen.Parse(id); err == nil {
		info, err := idgen.Inspect(u)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", id, err)
		}
		return append(doc, field{"format", text("uuid")}, field{"version", number(uint64(info.Version))}, field{"layout", number(uint64(info.Layout))},
			field{"number", text(strconv.FormatUint(info.Seq, 10))}, field{"domain", number(uint64(info.Domain))},
			field{"sequence_id", text(strconv.FormatUint(uint64(info.SequenceID), 10))}), nil
	}
	if n, err := idgen.DecodeInt(id); err == nil {
		return append(doc, field{"format", text("int")}, field{"number", text(strconv.FormatInt(n, 10))}), nil
	}
	if plain := strings.ReplaceAll(id, "-", ""); len(plain) == idgen.Base32Len {
		if n, err := idgen.DecodeBase32(id); err == nil {
			return append(doc, field{"format", text("base32")}, field{"number", text(strconv.FormatInt(int64(n), 10))}), nil
		}
	}
	if n, err := idgen.DecodeBase62(id); err == nil {
		return append(doc, field{"format", text("base62")}, field{"number", text(strconv.FormatInt(int64(n), 10))}), nil
	}
	return nil, fmt.Errorf("%q is neither a UUID nor a number in decimal, base 32 or base 62", id)
}
