package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client"
)

func electionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "election", Short: "Lead, see who leads, tell others a value, give the leadership up",
		Long: "An election is a lock with a value: whoever holds it leads, and the value is what others should know of the\n" +
			"leader, an address for one. `coordd lock ls|get|why|watch` show it like any other lock."}
	parentCommand(cmd)
	c := addClientFlags(cmd)
	cmd.AddCommand(electionCampaignCommand(c), electionObserveCommand(c), electionProclaimCommand(c), electionResignCommand(c), electionHandOverCommand(c))
	return cmd
}

func electionCampaignCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "campaign NAME [flags] [-- COMMAND [ARGUMENT...]]",
		Short: "Lead until a signal comes or the leadership ends, alone or for as long as a command runs",
		Long: "Queue for the leadership, and hold it.\n\n" +
			"Without a command it writes the fence of the leadership to stdout, and leads until INT, TERM or HUP comes:\n" +
			"then it resigns and ends with code 0. It ends with code 4 if the leadership is lost, and, as one that was\n" +
			"not obtained, with code 3 if --wait runs out. A signal while it queues ends it with 128 + n.\n\n" +
			"With a command it runs that as `coordd lock run` does: with its environment, signals and exit codes, and in\n" +
			"time before somebody else can lead.\n\n" +
			"--secret-file writes the session's secret into a file for its owner's eyes, for as long as it leads: with it\n" +
			"others may proclaim, resign and hand over in this leader's name.",
		Example: "  coordd election campaign reports --value 10.0.0.7:80 -- ./reporter\n" +
			"  coordd election campaign reports --value blue --secret-file s -o json",
		Annotations: map[string]string{annotationInterrupt: "own"},
		Args: func(cmd *cobra.Command, args []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case dash < 0 && len(args) == 1:
				return nil
			case dash < 0 && len(args) > 1:
				return usagef("put -- before the command: coordd election campaign NAME -- COMMAND [ARGUMENT...]")
			case dash > 1 || len(args) == 0 || dash == 0:
				return usagef("election campaign takes one name")
			case len(args) < 2:
				return usagef("there is no command after --")
			}
			return nil
		},
	}
	o := lockRunFlags{election: true, count: 1, wait: "forever"}
	f := cmd.Flags()
	o.add(cmd)
	f.StringVar(&o.value, "value", "", "what others see of the leader")
	f.StringVar(&o.secretFile, "secret-file", "", "file that gets the session's secret while it leads")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.graceGiven = f.Changed("grace")
		if err := o.check(); err != nil {
			return err
		}
		if err := c.check(); err != nil {
			return err
		}
		if err := checkName("election", args[0]); err != nil {
			return err
		}
		if len(args) == 1 {
			return c.campaign(args[0], &o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}
		path, err := exec.LookPath(args[1])
		if err != nil {
			return notStarted(args[1], err)
		}
		return c.lockRun(args[0], path, args[1:], &o, cmd.ErrOrStderr())
	}
	return cmd
}

// campaign leads until a signal comes or the leadership ends.
func (c *clientFlags) campaign(name string, o *lockRunFlags, out, errOut io.Writer) error {
	sigs := make(chan os.Signal, 8)
	ends := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	signal.Notify(sigs, ends...)
	defer signal.Stop(sigs)
	wait := newInterruptible(sigs)
	defer wait.stop()
	h, err := c.obtain(wait.ctx, name, o)
	if err != nil {
		return wait.explain(err)
	}
	stopped := wait.stop()
	if err := o.keepSecret(h.session); err != nil {
		return errors.Join(err, h.client.Close())
	}
	defer o.dropSecret()
	if err := c.printLeadership(out, name, h); err != nil {
		return errors.Join(err, h.client.Close())
	}
	if stopped == nil {
		select {
		case <-sigs:
		case <-h.lock.Context().Done():
		}
	}
	lost := h.lock.Context().Err() != nil
	if lost {
		yield(h, c.timeout)
	}
	err = h.client.Close()
	switch {
	case lost:
		return &failure{exit: o.lostCode, code: coorddv1.CodeNotHeld, err: fmt.Errorf("the leadership of %q is lost: %s", name, reason(h.lock.Context(), h.told()))}
	case err != nil:
		fmt.Fprintf(errOut, "coordd: that election %q is resigned is not confirmed (%v); it frees itself within %v\n", name, err, o.ttl)
	}
	return nil
}

func (c *clientFlags) printLeadership(out io.Writer, name string, h *holding) error {
	if *c.format == outputText {
		_, err := fmt.Fprintln(out, h.lock.Fence())
		return err
	}
	doc, err := json.Marshal(struct {
		Name    string `json:"name"`
		Session string `json:"session"`
		Fence   string `json:"fence"`
	}{name, strconv.FormatUint(h.session.ID(), 10), strconv.FormatUint(h.lock.Fence(), 10)})
	if err != nil {
		return err
	}
	return writeDocument(out, *c.format, doc)
}

func electionObserveCommand(c *clientFlags) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use: "observe NAME", Short: "Show who leads, and each change of that", Args: exactly(1),
		Long: "Show who leads now and then, a line each, every change of the leader or its value. A line of dashes says that\n" +
			"nobody leads. Leaders that came and went quickly may be left out; none is shown after a newer one.\n\n" +
			streamEnd,
		Example: "  coordd election observe reports\n  coordd election observe reports --once -o json | jq -r .leader.value | base64 -d",
	}
	cmd.Flags().BoolVar(&once, "once", false, "show who leads now, and end")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkName("election", args[0]); err != nil {
			return err
		}
		return c.stream(cmd, func(ctx context.Context, cl *client.Client, out *streamWriter) error {
			if err := out.row("LEADER", "SESSION", "FENCE", "VALUE"); err != nil {
				return err
			}
			for l, err := range cl.Election(args[0]).Observe(ctx) {
				if err != nil {
					return err
				}
				if err := writeLeader(out, l); err != nil || once {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

// leaderDocument is who leads as JSON, with the names of the contract's ElectionLeader.
type leaderDocument struct {
	Session string `json:"session"`
	Owner   string `json:"owner"`
	Value   []byte `json:"value"`
	Fence   string `json:"fence"`
}

func writeLeader(out *streamWriter, l client.Leader) error {
	if out.format == outputText {
		if l.Fence == 0 {
			return out.row("", "", "", "")
		}
		return out.row(columnText(l.Owner), l.Session, strconv.FormatUint(l.Fence, 10), valueText(l.Value))
	}
	var leader *leaderDocument // null: nobody
	if l.Fence != 0 {
		leader = &leaderDocument{l.Session, l.Owner, append([]byte{}, l.Value...), strconv.FormatUint(l.Fence, 10)}
	}
	doc, err := json.Marshal(map[string]*leaderDocument{"leader": leader})
	if err != nil {
		return err
	}
	return out.document(doc)
}

// valueText shows an election's value in a column.
func valueText(v []byte) string {
	if len(v) == 0 {
		return ""
	}
	return columnText(string(v))
}

func electionProclaimCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "proclaim NAME --value V --session ID --secret-file F --fence N", Short: "Change the value that others see of a leader", Args: exactly(1),
		Example: "  coordd election proclaim reports --value green --session 7 --secret-file s --fence 12",
	}
	var h holdFlags
	h.add(cmd)
	var value string
	cmd.Flags().StringVar(&value, "value", "", "the new value")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkName("election", args[0]); err != nil {
			return err
		}
		if !cmd.Flags().Changed("value") {
			return usagef("proclaim needs --value")
		}
		secret, err := h.check("proclaim", "")
		if err != nil {
			return err
		}
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			r := &coorddv1.ElectionProclaimReply{}
			return r, c.inForeignSession(cmd.Context(), nc, "election.proclaim", args[0], r, func(seq uint64) proto.Message {
				return &coorddv1.ElectionProclaimRequest{Session: h.session, Secret: secret, Generation: h.generation, Seq: seq, Ack: 1, Fence: h.fence, Value: []byte(value)}
			})
		}, func(proto.Message) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "election %q: the value is %s\n", args[0], strconv.Quote(value))
			return err
		})
	}
	return cmd
}

func electionResignCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "resign NAME --session ID --secret-file F --fence N", Short: "Give the leadership of a session up; the next candidate leads", Args: exactly(1),
		Example: "  coordd election resign reports --session 7 --secret-file s --fence 12",
	}
	var h holdFlags
	h.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkName("election", args[0]); err != nil {
			return err
		}
		secret, err := h.check("resign", "")
		if err != nil {
			return err
		}
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			return c.releaseHold(cmd.Context(), nc, "election.resign", args[0], &h, secret)
		}, func(proto.Message) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "election %q is resigned\n", args[0])
			return err
		})
	}
	return cmd
}

func electionHandOverCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "hand-over NAME --to SESSION --session ID --secret-file F --fence N", Aliases: []string{"handover"}, Args: exactly(1),
		Short: "Give the leadership to a candidate, out of turn",
		Long: "Give the leadership to a session that campaigns for it, out of turn. `coordd lock get NAME` shows who waits.\n" +
			"With the session of a candidate that asks, and the leader's fence, it asks the leader to hand over.",
		Example: "  coordd election hand-over reports --to 9 --session 7 --secret-file s --fence 12",
	}
	var h holdFlags
	h.add(cmd)
	var to uint64
	cmd.Flags().Uint64Var(&to, "to", 0, "session of the candidate that shall lead")
	forThisCall(cmd.Flags(), "to")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkName("election", args[0]); err != nil {
			return err
		}
		if to == 0 {
			return usagef("hand-over needs --to, the session of a candidate (`coordd lock get %s` shows them)", shellQuote(args[0]))
		}
		secret, err := h.check("hand-over", "")
		if err != nil {
			return err
		}
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			r := &coorddv1.LockHandOverReply{}
			return r, c.inForeignSession(cmd.Context(), nc, "election.hand-over", args[0], r, func(seq uint64) proto.Message {
				return &coorddv1.LockHandOverRequest{Session: h.session, Secret: secret, Generation: h.generation, Seq: seq, Ack: 1, Fence: h.fence, To: to}
			})
		}, func(m proto.Message) error {
			r := m.(*coorddv1.LockHandOverReply)
			text := fmt.Sprintf("session %d leads with fence %d", to, r.GetFence())
			if r.GetState() == coorddv1.LockHandOverReply_ASKED {
				text = "the leader is asked to hand over"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "election %q: %s\n", args[0], text)
			return err
		})
	}
	return cmd
}

// holdFlags name a hold of a session that somebody else opened.
type holdFlags struct {
	session, generation, fence uint64
	secretFile                 string
}

func (h *holdFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Uint64Var(&h.session, "session", 0, "session that holds it")
	f.Uint64Var(&h.generation, "generation", 0, "the session's generation, if it was resumed")
	f.StringVar(&h.secretFile, "secret-file", "", "file with the session's secret, as the answer to session.open has it")
	f.Uint64Var(&h.fence, "fence", 0, "fence of the hold")
	forThisCall(f, "session", "generation", "fence")
}

// check demands what names a hold, and returns the session's secret. or names what else a verb could be given.
func (h *holdFlags) check(verb, or string) ([]byte, error) {
	var missing []string
	for _, f := range []struct {
		flag string
		not  bool
	}{{"--session", h.session == 0}, {"--secret-file", h.secretFile == ""}, {"--fence", h.fence == 0}} {
		if f.not {
			missing = append(missing, f.flag)
		}
	}
	if len(missing) > 0 {
		return nil, usagef("%s needs --session, --secret-file and --fence of the hold%s (missing: %s)", verb, or, strings.Join(missing, ", "))
	}
	return readSecret(h.secretFile)
}
