package cli

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client"
)

// transitionHeader names the columns of a transition. AT is the time since the cluster's birth.
var transitionHeader = []string{"NUMBER", "AT", "KIND", "FENCE", "SESSION", "MODE", "COUNT", "OWNER", "REASON"}

func transitionRow(t *coorddv1.Transition, kind string) []string {
	number := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	mode := t.GetMode().String()
	if t.GetMode() == coorddv1.Mode_MODE_UNSPECIFIED {
		mode = ""
	}
	var why string
	switch {
	case t.GetReason() != "":
		why = columnText(t.GetReason())
	case len(t.GetValue()) > 0:
		why = columnText("value " + string(t.GetValue()))
	}
	at := ""
	if t.GetAt() != 0 {
		at = fmt.Sprintf("%.3fs", time.Duration(t.GetAt()).Seconds())
	}
	return []string{number(t.GetNumber()), at, kind, number(t.GetFence()), number(t.GetSession()), mode, number(t.GetCount()), columnText(t.GetOwner()), why}
}

func lockWatchCommand(c *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "watch NAME", Short: "Show what happens to a lock, as it happens", Args: exactly(1),
		Long: "Show each transition of a lock from now on, a line each, in order and once. What an outage hid is read from the\n" +
			"lock's history; a line MISSED says how many are not remembered any more. AT is the time since the cluster's birth.\n\n" +
			streamEnd,
		Example: "  coordd lock watch billing/42\n  coordd lock watch billing/42 -o json | jq 'select(.kind == \"EXPIRED\")'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("lock", args[0]); err != nil {
				return err
			}
			return c.stream(cmd, func(ctx context.Context, cl *client.Client, out *streamWriter) error {
				if err := out.row(transitionHeader...); err != nil {
					return err
				}
				for t, err := range cl.Watch(ctx, args[0]) {
					if err == nil {
						err = writeTransition(out, t)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// writeTransition writes a transition as the watch subject has it. MISSED is no kind of the contract: it is the client's.
func writeTransition(out *streamWriter, t client.Transition) error {
	m := &coorddv1.Transition{Number: t.Number, Kind: coorddv1.Transition_Kind(coorddv1.Transition_Kind_value[string(t.Kind)]), At: int64(t.At),
		Index: t.Index, Owner: t.Owner, Ticket: t.Ticket, Fence: t.Fence, Mode: coorddv1.Mode(coorddv1.Mode_value[string(t.Mode)]),
		Count: uint64(t.Count), Reason: t.Reason, Name: t.Lock, Value: t.Value, Until: int64(t.Until)}
	m.Session, _ = strconv.ParseUint(t.Session, 10, 64) // none of what is missed
	if out.format == outputText {
		return out.row(transitionRow(m, string(t.Kind))...)
	}
	doc, err := documentFrom(m)
	if err != nil {
		return err
	}
	if t.Kind == client.TransitionMissed {
		doc = bytes.Replace(doc, []byte(`"KIND_UNSPECIFIED"`), []byte(`"MISSED"`), 1)
	}
	return out.document(doc)
}

func lockWhyCommand(c *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "why NAME", Short: "Explain a lock: who is in the way of whom, and how that came", Args: exactly(1),
		Long: "Explain the state of a lock in sentences, and show the last of what happened to it, oldest first. AT is the time\n" +
			"since the cluster's birth. Of a lock that nobody has used for long nothing is remembered.",
		Example: "  coordd lock why billing/42\n  coordd lock why billing/42 -o json | jq -r '.timeline[] | .kind + \" \" + .reason'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("lock", args[0]); err != nil {
				return err
			}
			return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
				r := &coorddv1.LockWhyReply{}
				return r, c.request(cmd.Context(), nc, c.subject("lock.why", args[0]), &coorddv1.LockWhyRequest{}, r)
			}, func(m proto.Message) error {
				r, out := m.(*coorddv1.LockWhyReply), cmd.OutOrStdout()
				for _, s := range r.GetExplanation() {
					fmt.Fprintln(out, s)
				}
				if len(r.GetTimeline()) == 0 {
					return nil
				}
				var rows [][]string
				for _, t := range r.GetTimeline() {
					rows = append(rows, transitionRow(t, t.GetKind().String()))
				}
				fmt.Fprintln(out)
				return table(out, transitionHeader, rows)
			})
		},
	}
}
