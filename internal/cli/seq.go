package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func seqCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "seq", Short: "Make, look at, advance and delete sequences"}
	parentCommand(cmd)
	c := addClientFlags(cmd)
	cmd.AddCommand(seqCreateCommand(c), seqGetCommand(c), seqListCommand(c), seqAdvanceCommand(c), seqDeleteCommand(c))
	return cmd
}

// change opens a session for one request that changes a sequence.
func (c *clientFlags) change(ctx context.Context, nc *nats.Conn, do func(*session) error) error {
	s, err := c.openSession(ctx, nc)
	if err != nil {
		return err
	}
	defer s.close(context.WithoutCancel(ctx))
	return do(s)
}

func (c *clientFlags) createSequence(ctx context.Context, nc *nats.Conn, name string, req *coorddv1.SequenceCreateRequest, r *coorddv1.SequenceReply) error {
	return c.change(ctx, nc, func(s *session) error {
		req.Session, req.Secret, req.Seq = s.id, s.secret, 1
		return c.request(ctx, nc, c.subject("id.create", name), req, r)
	})
}

func seqCreateCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a sequence; again with the same values is fine", Args: exactly(1),
		Long: "Make a sequence. Made again with the same values it is left as it is; with others that is an error.",
	}
	var (
		minimum, maximum, step, start, maxRange int64
		cycle                                   bool
		order                                   string
	)
	f := cmd.Flags()
	f.Int64Var(&minimum, "min", 1, "smallest number")
	f.Int64Var(&maximum, "max", 1<<63-1, "largest number")
	f.Int64Var(&step, "step", 1, "from one number to the next; positive")
	f.Int64Var(&start, "start", 0, "first number (default --min)")
	f.BoolVar(&cycle, "cycle", false, "begin again at the end; such a sequence gives no UUIDs")
	f.StringVar(&order, "order", "cached", "cached: clients draw ranges ahead; strict: every number is asked for")
	f.Int64Var(&maxRange, "max-range", 1_000_000, "most numbers given at once")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkName("sequence", args[0]); err != nil {
			return err
		}
		req := &coorddv1.SequenceCreateRequest{Cycle: cycle}
		for flag, field := range map[string]struct {
			to   **int64
			from *int64
		}{"min": {&req.Min, &minimum}, "max": {&req.Max, &maximum}, "step": {&req.Step, &step}, "start": {&req.Start, &start}, "max-range": {&req.MaxRange, &maxRange}} {
			if f.Changed(flag) {
				*field.to = field.from
			}
		}
		switch strings.ToLower(order) {
		case "cached":
			req.Order = coorddv1.Order_CACHED
		case "strict":
			req.Order = coorddv1.Order_STRICT
		default:
			return usagef("--order: %q is neither cached nor strict", order)
		}
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			r := &coorddv1.SequenceReply{}
			return r, c.createSequence(cmd.Context(), nc, args[0], req, r)
		}, printSequence(cmd))
	}
	return cmd
}

func printSequence(cmd *cobra.Command) func(proto.Message) error {
	return func(m proto.Message) error {
		return sequenceTable(cmd, []*coorddv1.Sequence{m.(*coorddv1.SequenceReply).GetSequence()})
	}
}

func sequenceTable(cmd *cobra.Command, seqs []*coorddv1.Sequence) error {
	var rows [][]string
	for _, s := range seqs {
		rows = append(rows, []string{columnText(s.GetName()), fmt.Sprint(s.GetNext()), fmt.Sprint(s.GetRemaining()), fmt.Sprint(s.GetMin()), fmt.Sprint(s.GetMax()),
			fmt.Sprint(s.GetStep()), strconv.FormatBool(s.GetCycle()), s.GetOrder().String(), fmt.Sprint(s.GetMaxRange()), fmt.Sprint(s.GetSequenceId())})
	}
	return table(cmd.OutOrStdout(), []string{"NAME", "NEXT", "REMAINING", "MIN", "MAX", "STEP", "CYCLE", "ORDER", "MAXRANGE", "ID"}, rows)
}

func seqGetCommand(c *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show a sequence", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("sequence", args[0]); err != nil {
				return err
			}
			return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
				r := &coorddv1.SequenceReply{}
				return r, c.request(cmd.Context(), nc, c.subject("id.get", args[0]), &coorddv1.SequenceRequest{}, r)
			}, printSequence(cmd))
		},
	}
}

func seqListCommand(c *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "ls [PREFIX]", Aliases: []string{"list"}, Short: "List the sequences", Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
				all := &coorddv1.SequenceListReply{}
				req := &coorddv1.SequenceListRequest{Prefix: strings.Join(args, ""), PageSize: 1000}
				for {
					var page coorddv1.SequenceListReply
					if err := c.request(cmd.Context(), nc, c.subject("id.list"), req, &page); err != nil {
						return nil, err
					}
					all.Index = page.GetIndex()
					all.Sequences = append(all.Sequences, page.GetSequences()...)
					if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
						return all, nil
					}
				}
			}, func(m proto.Message) error { return sequenceTable(cmd, m.(*coorddv1.SequenceListReply).GetSequences()) })
		},
	}
}

func seqAdvanceCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "advance NAME", Short: "Move a sequence forward", Args: exactly(1),
		Long: "Move a sequence forward, never back: --to is the next number that it gives."}
	var to int64
	cmd.Flags().Int64Var(&to, "to", 0, "the next number that the sequence gives")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkName("sequence", args[0]); err != nil {
			return err
		}
		if !cmd.Flags().Changed("to") {
			return usagef("advance needs --to, the next number that the sequence gives")
		}
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			r := &coorddv1.SequenceReply{}
			return r, c.change(cmd.Context(), nc, func(s *session) error {
				req := &coorddv1.SequenceAdvanceRequest{Session: s.id, Secret: s.secret, Seq: 1, To: to}
				return c.request(cmd.Context(), nc, c.subject("id.advance", args[0]), req, r)
			})
		}, printSequence(cmd))
	}
	return cmd
}

func seqDeleteCommand(c *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a sequence; a new one of that name gives other IDs", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("sequence", args[0]); err != nil {
				return err
			}
			return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
				r := &coorddv1.SequenceReply{}
				return r, c.change(cmd.Context(), nc, func(s *session) error {
					req := &coorddv1.SequenceRequest{Session: s.id, Secret: s.secret, Seq: 1}
					return c.request(cmd.Context(), nc, c.subject("id.delete", args[0]), req, r)
				})
			}, func(proto.Message) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "sequence %q is deleted\n", args[0])
				return err
			})
		},
	}
}
