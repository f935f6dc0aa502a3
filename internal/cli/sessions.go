package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func sessionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "session", Short: "See the sessions, close one"}
	parentCommand(cmd)
	c := addClientFlags(cmd)
	cmd.AddCommand(sessionListCommand(c), sessionCloseCommand(c))
	return cmd
}

func sessionListCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the sessions of the namespace", Args: exactly(0),
		Example: "  coordd session ls --owner worker-"}
	var owner string
	var p pageFlags
	cmd.Flags().StringVar(&owner, "owner", "", "only those whose owner begins with this")
	forThisCall(cmd.Flags(), "owner")
	p.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			all := &coorddv1.SessionListReply{}
			err := p.each(func(size uint32, token string) (next string, err error) {
				var page coorddv1.SessionListReply
				err = c.request(cmd.Context(), nc, c.subject("session.list"), &coorddv1.SessionListRequest{Owner: owner, PageSize: size, PageToken: token}, &page)
				all.Index, all.NextPageToken = page.GetIndex(), page.GetNextPageToken()
				all.Sessions = append(all.Sessions, page.GetSessions()...)
				return all.NextPageToken, err
			})
			return all, err
		}, func(m proto.Message) error {
			r := m.(*coorddv1.SessionListReply)
			var rows [][]string
			for _, s := range r.GetSessions() {
				rows = append(rows, []string{strconv.FormatUint(s.GetSession(), 10), columnText(s.GetOwner()), seconds(s.GetTtl().AsDuration()),
					seconds(s.GetExpiresIn().AsDuration()), strconv.FormatUint(s.GetGeneration(), 10), strconv.FormatUint(s.GetHolds(), 10),
					strconv.FormatUint(s.GetWaits(), 10), metadataText(s.GetMetadata())})
			}
			p.tell(cmd, r.GetNextPageToken())
			return table(cmd.OutOrStdout(), []string{"SESSION", "OWNER", "TTL", "EXPIRES", "GENERATION", "HOLDS", "WAITS", "METADATA"}, rows)
		})
	}
	return cmd
}

// metadataText shows metadata in one column, in the order of its keys.
func metadataText(md map[string]string) string {
	var pairs []string
	for k, v := range md {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	if len(pairs) == 0 {
		return ""
	}
	return columnText(strings.Join(pairs, ","))
}

func sessionCloseCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "close ID --secret-file F", Short: "End a session, and release all that it holds", Args: exactly(1),
		Long: "End a session, and release all that it holds and waits for, in one step. Its owner, if it lives, is told at\n" +
			"once, and should that message be lost, at its next renewal (a third of the TTL); others may have the locks already:\n" +
			"until then only fences protect what they guard. Of a session that has ended already it is no error: nothing of it is held.",
		Example: "  coordd session close 7 --secret-file s"}
	var secretFile string
	var generation uint64
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "file with the session's secret, as the answer to session.open has it")
	cmd.Flags().Uint64Var(&generation, "generation", 0, "the session's generation, if it was resumed")
	forThisCall(cmd.Flags(), "generation")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil || id == 0 {
			return usagef("%q is not the number of a session", args[0])
		}
		if secretFile == "" {
			return usagef("close needs --secret-file, the session's secret; what an operator may do without it is `coordd lock release NAME --force --reason TEXT`")
		}
		secret, err := readSecret(secretFile)
		if err != nil {
			return err
		}
		ended := false
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			r := &coorddv1.SessionCloseReply{}
			err := c.closeSession(cmd.Context(), nc, id, secret, generation, r)
			if ended = codeOf(err) == coorddv1.CodeSessionExpired; ended {
				err = nil // its answer may have been lost, or its time was over: the same for whoever wants it closed
			}
			return r, err
		}, func(m proto.Message) error {
			text := fmt.Sprintf("session %d is closed, %d holds are released", id, m.(*coorddv1.SessionCloseReply).GetReleased())
			if ended {
				text = fmt.Sprintf("session %d had ended already", id)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		})
	}
	return cmd
}

// closeSession closes a session. Without a seq no request of its owner is in the way.
func (c *clientFlags) closeSession(ctx context.Context, nc *nats.Conn, id uint64, secret []byte, generation uint64, r *coorddv1.SessionCloseReply) error {
	return c.request(ctx, nc, c.subject("session.close"), &coorddv1.SessionCloseRequest{Session: id, Secret: secret, Generation: generation}, r)
}

// pageFlags choose between the whole of a list and one page of it.
type pageFlags struct {
	size  uint32
	token string
}

func (p *pageFlags) add(cmd *cobra.Command) {
	cmd.Flags().Uint32Var(&p.size, "page-size", 0, "show so many at most, up to 1000 (default: all)")
	cmd.Flags().StringVar(&p.token, "page-token", "", "go on behind an earlier page, with the token that it ended with")
	forThisCall(cmd.Flags(), "page-token")
}

// each asks for one page, or for all, until get returns no token of another one.
func (p *pageFlags) each(get func(size uint32, token string) (next string, err error)) error {
	if p.size != 0 || p.token != "" {
		_, err := get(p.size, p.token)
		return err
	}
	for token := ""; ; {
		next, err := get(1000, token)
		if err != nil || next == "" {
			return err
		}
		token = next
	}
}

// tell says how a list that is shown as text goes on.
func (p *pageFlags) tell(cmd *cobra.Command, next string) {
	if next != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "coordd: there are more: --page-token %s\n", shellQuote(next))
	}
}
