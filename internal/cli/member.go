package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

const adminPrefix = "coord.admin.v1."

func memberCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "member", Short: "List, add, replace, promote and remove members; recover a lone one",
		Long: "List and change the members of a cluster, one change at a time. A change is an entry of the log: it holds as\n" +
			"soon as a majority has it, and whoever leads next goes on with it.",
		Example: "  coordd member ls\n" +
			"  coordd member add n4 --address 10.0.0.4:8410     # then, there: coordd serve --name n4 --join 10.0.0.1:8410 …\n" +
			"  coordd member replace n2                         # then, on n2: an empty --data-dir and --join\n" +
			"  coordd member remove n1",
	}
	parentCommand(cmd)
	cmd.AddCommand(memberListCommand(), memberAddCommand(), memberRemoveCommand(), memberReplaceCommand(), memberPromoteCommand(),
		memberStandbyCommand(), memberRecoverCommand())
	return cmd
}

func memberListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the members of the configuration in effect", Args: exactly(0)}
	c := addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) { return c.listMembers(cmd.Context(), nc) },
			func(m proto.Message) error {
				return memberTable(cmd, m.(*coorddv1.MemberListReply).GetMembers())
			}, "index")
	}
	return cmd
}

func (c *clientFlags) listMembers(ctx context.Context, nc *nats.Conn) (*coorddv1.MemberListReply, error) {
	r := &coorddv1.MemberListReply{}
	return r, c.request(ctx, nc, adminPrefix+"member.list", &coorddv1.MemberListRequest{}, r)
}

func memberTable(cmd *cobra.Command, members []*coorddv1.Member) error {
	var rows [][]string
	for _, m := range members {
		var metadata []string
		for _, k := range slices.Sorted(maps.Keys(m.GetMetadata())) {
			metadata = append(metadata, k+"="+m.GetMetadata()[k])
		}
		rows = append(rows, []string{m.GetName(), m.GetRole(), m.GetAddress(), strconv.FormatBool(m.GetLeader()), strconv.FormatBool(m.GetReachable()),
			m.GetId(), columnText(strings.Join(metadata, ","))})
	}
	return table(cmd.OutOrStdout(), []string{"NAME", "ROLE", "ADDRESS", "LEADER", "REACHABLE", "ID", "METADATA"}, rows)
}

// memberNamed finds a member in a list.
func memberNamed(list *coorddv1.MemberListReply, name string) *coorddv1.Member {
	for _, m := range list.GetMembers() {
		if m.GetName() == name {
			return m
		}
	}
	return nil
}

// completeMember offers the members' names to a shell.
func completeMember(c *clientFlags) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) (names []string, d cobra.ShellCompDirective) {
		if len(args) > 0 || c.check() != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c.timeout = min(c.timeout, time.Second) // somebody has pressed a key
		nc, err := c.dial(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer nc.Close()
		list, err := c.listMembers(cmd.Context(), nc)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, m := range list.GetMembers() {
			names = append(names, m.GetName())
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// change sends a change of a member and makes its outcome known, even if the answer to a first try got lost: the
// change may then be refused because it is done. done tells that from the members.
func (c *clientFlags) changeMember(ctx context.Context, nc *nats.Conn, verb string, req proto.Message, refusedWhenDone string,
	done func(*coorddv1.MemberListReply) *coorddv1.Member) (*coorddv1.MemberReply, error) {
	r := &coorddv1.MemberReply{}
	err := c.request(ctx, nc, adminPrefix+verb, req, r)
	if code := codeOf(err); code == "" || code != refusedWhenDone {
		return r, err
	}
	list, again := c.listMembers(ctx, nc)
	if again != nil {
		return nil, err
	}
	if m := done(list); m != nil {
		return &coorddv1.MemberReply{Index: list.GetIndex(), Member: m}, nil
	}
	return nil, err
}

// awaitVoter waits for as long as --timeout says until a learner that was added or replaced votes.
func (c *clientFlags) awaitVoter(ctx context.Context, nc *nats.Conn, r *coorddv1.MemberReply) (*coorddv1.MemberReply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	name := r.GetMember().GetName()
	for r.GetMember().GetRole() == "learner" {
		select {
		case <-ctx.Done():
			return r, nil // it goes on without this command
		case <-tick.C:
		}
		list, err := c.listMembers(ctx, nc)
		if err != nil {
			continue
		}
		m := memberNamed(list, name)
		if m == nil {
			return nil, fmt.Errorf("member %q was removed before it voted", name)
		}
		r = &coorddv1.MemberReply{Index: list.GetIndex(), Member: m}
	}
	return r, nil
}

// printChange says what a member is now, and what is still to come of a learner that votes later.
func printChange(cmd *cobra.Command, format string, votesLater bool) func(proto.Message) error {
	return func(m proto.Message) error {
		x := m.(*coorddv1.MemberReply).GetMember()
		_, err := fmt.Fprintf(cmd.OutOrStdout(), format+"\n", x.GetName(), x.GetRole(), x.GetAddress())
		if err == nil && x.GetRole() == "learner" && votesLater {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s becomes a voter when its node runs and has caught up; `coordd status` shows how far it is.\n", x.GetName())
		}
		return err
	}
}

func memberAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add NAME --address HOST:PORT", Short: "Add a member; it votes when it has caught up", Args: exactly(1),
		Long: "Add a member. It begins as a learner, which has no vote, is brought up to the leader, and becomes a voter then.\n" +
			"The command waits for that as long as --timeout says; the change goes on after it. Its node is started with an\n" +
			"empty data directory and --join, before or after this command; a node that is started with --join adds itself.",
		Example: "  coordd member add n4 --address 10.0.0.4:8410\n  coordd member add archive --address 10.0.0.9:8410 --learner",
	}
	c := addClientFlags(cmd)
	req := &coorddv1.MemberAddRequest{}
	f := cmd.Flags()
	f.StringVar(&req.Address, "address", "", "where the members reach it, host:port")
	f.BoolVar(&req.Learner, "learner", false, "let it stay a learner, until member promote")
	f.StringToStringVar(&req.Metadata, "metadata", nil, "the member's metadata, k=v,…")
	forThisCall(f, "address", "learner", "metadata")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		votesLater := !req.Learner
		if req.Name = args[0]; req.Address == "" {
			return usagef("member add needs --address: where the other members reach %s, host:port", args[0])
		}
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			ctx := cmd.Context()
			list, err := c.listMembers(ctx, nc)
			if err != nil {
				return nil, err
			}
			mayBeOurs := memberNamed(list, req.Name) == nil
			r, err := c.changeMember(ctx, nc, "member.add", req, coorddv1.CodeMemberExists, func(l *coorddv1.MemberListReply) *coorddv1.Member {
				if m := memberNamed(l, req.Name); mayBeOurs && m.GetAddress() == req.Address {
					return m
				}
				return nil
			})
			if err != nil || req.Learner {
				return r, err
			}
			return c.awaitVoter(ctx, nc, r)
		}, printChange(cmd, "member %s is a %s at %s", votesLater))
	}
	return cmd
}

func memberRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", Aliases: []string{"rm"}, Short: "Remove a member", Args: exactly(1),
		Long: "Remove a member. Its node goes on without a vote, and its readiness fails; it can come back with an empty data\n" +
			"directory. The leader can be removed: another one takes over. The last voter can't.",
	}
	c := addClientFlags(cmd)
	cmd.ValidArgsFunction = completeMember(c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			list, err := c.listMembers(cmd.Context(), nc)
			if err != nil {
				return nil, err
			}
			before := memberNamed(list, args[0])
			return c.changeMember(cmd.Context(), nc, "member.remove", &coorddv1.MemberRequest{Name: args[0]}, coorddv1.CodeNotFound,
				func(l *coorddv1.MemberListReply) *coorddv1.Member {
					if memberNamed(l, args[0]) == nil {
						return before // nil: it was not there from the beginning
					}
					return nil
				})
		}, printChange(cmd, "member %s is removed; it was a %s at %s", false))
	}
	return cmd
}

func memberReplaceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "replace NAME", Short: "Give a member's data directory up; the same member comes back with an empty one", Args: exactly(1),
		Long: "Give up the data directory of a member whose disk is lost, wiped or damaged. The member keeps its name and ID and\n" +
			"becomes a learner until its node, started with an empty data directory and --join, has caught up. The old directory is\n" +
			"refused from then on. The command waits for that as long as --timeout says; the change goes on after it.",
	}
	c := addClientFlags(cmd)
	cmd.ValidArgsFunction = completeMember(c)
	req := &coorddv1.MemberReplaceRequest{}
	cmd.Flags().StringVar(&req.Address, "address", "", "where the members reach it, host:port (default as before)")
	forThisCall(cmd.Flags(), "address")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req.Name = args[0]
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			r, err := c.changeMember(cmd.Context(), nc, "member.replace", req, "", nil)
			if err != nil {
				return nil, err
			}
			return c.awaitVoter(cmd.Context(), nc, r)
		}, printChange(cmd, "member %s is replaced, now a %s at %s", true))
	}
	return cmd
}

func memberPromoteCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "promote NAME", Short: "Make a learner that has caught up a voter", Args: exactly(1)}
	c := addClientFlags(cmd)
	cmd.ValidArgsFunction = completeMember(c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			r, err := c.changeMember(cmd.Context(), nc, "member.promote", &coorddv1.MemberRequest{Name: args[0]}, "", nil)
			if err != nil {
				return nil, err
			}
			return c.awaitVoter(cmd.Context(), nc, r)
		}, printChange(cmd, "member %s is a %s at %s", true))
	}
	return cmd
}

func memberStandbyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "standby NAME", Short: "Keep a member from leading, or with --off let it lead again", Args: exactly(1),
		Long: "Keep a member from leading. A standby votes, acknowledges and counts in the majority.",
	}
	c := addClientFlags(cmd)
	cmd.ValidArgsFunction = completeMember(c)
	req := &coorddv1.MemberStandbyRequest{}
	cmd.Flags().BoolVar(&req.Off, "off", false, "let it lead again")
	forThisCall(cmd.Flags(), "off")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req.Name = args[0]
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			return c.changeMember(cmd.Context(), nc, "member.standby", req, "", nil)
		}, printChange(cmd, "member %s is a %s at %s", true))
	}
	return cmd
}
