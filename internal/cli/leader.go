package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func leaderCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "leader", Short: "Hand the leadership over"}
	parentCommand(cmd)
	cmd.AddCommand(leaderTransferCommand())
	return cmd
}

func leaderTransferCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "transfer [NAME]", Short: "Hand the leadership to a member, or to any that can lead", Args: atMost(1),
		Long: "Hand the leadership to a member that votes and is no standby; without a name, to any of them.\n" +
			"A member that is down or too far behind does not take it: the leader goes on then, and the exit code is 1.",
		Example: "  coordd leader transfer\n  coordd leader transfer n2",
	}
	c := addClientFlags(cmd)
	cmd.ValidArgsFunction = completeMember(c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			to := strings.Join(args, "")
			if to == "" {
				// A repeat of a request without a name would hand it on once more.
				list, err := c.listMembers(cmd.Context(), nc)
				if err != nil {
					return nil, err
				}
				if to = bestSuccessor(list.GetMembers()); to == "" {
					return nil, errors.New("no other member can lead: each is a learner, a standby, or not reachable (`coordd member ls`)")
				}
			}
			r := &coorddv1.LeaderTransferReply{}
			return r, c.requestUnless(cmd.Context(), nc, adminPrefix+"leader.transfer", &coorddv1.LeaderTransferRequest{To: to}, r, coorddv1.CodeBusy)
		}, func(m proto.Message) error {
			r := m.(*coorddv1.LeaderTransferReply)
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s leads in term %d\n", r.GetLeader(), r.GetTerm())
			return err
		})
	}
	return cmd
}

// bestSuccessor names a member that may lead and was heard lately; the leader brings it up to date.
func bestSuccessor(members []*coorddv1.Member) string {
	for _, m := range members {
		if m.GetRole() == "voter" && m.GetReachable() && !m.GetLeader() {
			return m.GetName()
		}
	}
	return ""
}
