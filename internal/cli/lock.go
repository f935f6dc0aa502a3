package cli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func lockCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "lock", Short: "Run a command under a lock, look at locks, release one"}
	parentCommand(cmd)
	c := addClientFlags(cmd)
	cmd.AddCommand(lockRunCommand(c), lockListCommand(c), lockGetCommand(c), lockWatchCommand(c), lockWhyCommand(c), lockReleaseCommand(c), guardCommand())
	return cmd
}

func lockListCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls [PREFIX]", Aliases: []string{"list"}, Short: "List the locks that are held or waited for", Args: atMost(1),
		Long: "List the locks, semaphores and elections that are held or waited for, by name. IN-USE is what is taken of a\n" +
			"semaphore's limit, VALUE what an election's leader has proclaimed.",
		Example: "  coordd lock ls billing/\n  coordd lock ls | awk '$6 > 0 {print $1}'   # those that somebody waits for",
	}
	var p pageFlags
	p.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
			all := &coorddv1.LockListReply{}
			err := p.each(func(size uint32, token string) (next string, err error) {
				var page coorddv1.LockListReply
				req := &coorddv1.LockListRequest{Prefix: strings.Join(args, ""), PageSize: size, PageToken: token}
				err = c.request(cmd.Context(), nc, c.subject("lock.list"), req, &page)
				all.Index, all.NextPageToken = page.GetIndex(), page.GetNextPageToken()
				all.Locks = append(all.Locks, page.GetLocks()...)
				return all.NextPageToken, err
			})
			return all, err
		}, func(m proto.Message) error {
			r := m.(*coorddv1.LockListReply)
			var rows [][]string
			for _, l := range r.GetLocks() {
				rows = append(rows, lockRow(l))
			}
			p.tell(cmd, r.GetNextPageToken())
			return table(cmd.OutOrStdout(), []string{"NAME", "STATE", "OWNER", "FENCE", "EXPIRES", "QUEUE", "MODE", "IN-USE", "VALUE"}, rows)
		})
	}
	return cmd
}

// lockRow is a line of `lock ls`. A name that would break the columns is quoted.
func lockRow(l *coorddv1.Lock) []string {
	row := []string{columnText(l.GetName()), l.GetState().String(), "", "", "", strconv.FormatUint(l.GetWaiting(), 10), "", permitsText(l), ""}
	if hs := l.GetHolders(); len(hs) > 0 {
		row[2], row[3] = columnText(hs[0].GetOwner()), strconv.FormatUint(hs[0].GetFence(), 10)
		row[4], row[6], row[8] = seconds(hs[0].GetExpiresIn().AsDuration()), hs[0].GetMode().String(), valueText(hs[0].GetValue())
		if len(hs) > 1 {
			row[2] += fmt.Sprintf("(+%d)", len(hs)-1)
		}
	} else if l.GetLimit() > 0 {
		row[6] = coorddv1.Mode_SEMAPHORE.String()
	}
	return row
}

// permitsText is how many permits of a semaphore are taken.
func permitsText(l *coorddv1.Lock) string {
	if l.GetLimit() == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", l.GetInUse(), l.GetLimit())
}

// columnText quotes a text that holds a space or anything that can't be seen.
func columnText(s string) string {
	q := strconv.Quote(s)
	if strings.ContainsAny(s, " \u00a0") || q != `"`+s+`"` {
		return q
	}
	return s
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

func lockGetCommand(c *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show who holds a lock and who waits for it", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkName("lock", args[0]); err != nil {
				return err
			}
			return c.run(cmd, func(nc *nats.Conn) (proto.Message, error) {
				r := &coorddv1.LockGetReply{}
				return r, c.request(cmd.Context(), nc, c.subject("lock.get", args[0]), &coorddv1.LockGetRequest{}, r)
			}, func(m proto.Message) error { return printLock(cmd, m.(*coorddv1.LockGetReply).GetLock()) })
		},
	}
}

func printLock(cmd *cobra.Command, l *coorddv1.Lock) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "lock %q is %s\n", l.GetName(), strings.ToLower(l.GetState().String()))
	if l.GetState() == coorddv1.Lock_DELAYED {
		fmt.Fprintf(out, "it is kept from everybody for another %s\n", seconds(l.GetDelayedFor().AsDuration()))
	}
	if l.GetLimit() > 0 {
		fmt.Fprintf(out, "%d of its %d permits are taken\n", l.GetInUse(), l.GetLimit())
	}
	if len(l.GetHolders()) > 0 {
		var rows [][]string
		for _, h := range l.GetHolders() {
			state := "held"
			if h.GetDelayed() {
				state = "delayed"
			}
			rows = append(rows, []string{columnText(h.GetOwner()), fmt.Sprint(h.GetSession()), fmt.Sprint(h.GetFence()), h.GetMode().String(), seconds(h.GetExpiresIn().AsDuration()),
				fmt.Sprint(h.GetCount()), state, valueText(h.GetValue()), metadataText(h.GetMetadata())})
		}
		fmt.Fprintln(out)
		if err := table(out, []string{"HOLDER", "SESSION", "FENCE", "MODE", "EXPIRES", "COUNT", "STATE", "VALUE", "METADATA"}, rows); err != nil {
			return err
		}
	}
	if len(l.GetQueue()) == 0 {
		return nil
	}
	var rows [][]string
	for i, w := range l.GetQueue() {
		rows = append(rows, []string{columnText(w.GetOwner()), fmt.Sprint(w.GetSession()), fmt.Sprint(w.GetTicket()), w.GetMode().String(), strconv.Itoa(i + 1), fmt.Sprint(w.GetCount())})
	}
	fmt.Fprintln(out)
	if err := table(out, []string{"WAITER", "SESSION", "TICKET", "MODE", "POSITION", "COUNT"}, rows); err != nil {
		return err
	}
	if more := l.GetWaiting() - min(l.GetWaiting(), uint64(len(l.GetQueue()))); more > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "coordd: %d more wait\n", more)
	}
	return nil
}

func lockReleaseCommand(c *clientFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "release NAME",
		Short: "Release a lock of a session, or take it away from its holder",
		Long: "Release a lock that a session holds:\n\n" +
			"  coordd lock release NAME --session ID --secret-file F --fence N\n\n" +
			"Or, as an operator, take it away from whoever holds it:\n\n" +
			"  coordd lock release NAME --force --reason TEXT [--fence N] [--now]\n\n" +
			"A lock that was taken away stays closed to others until its holder's session would have ended, because\n" +
			"the holder may still believe in it. With --now it is free at once, and only the fence protects what the\n" +
			"lock guards. Without --fence the holder of this moment is meant.",
		Example: "  coordd lock release billing/42 --session 7 --secret-file s --fence 12\n" +
			"  coordd lock release billing/42 --force --reason 'worker-7 hangs'",
		Args: exactly(1),
	}
	var (
		h          holdFlags
		reason     string
		force, now bool
	)
	h.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&force, "force", false, "take the lock away from its holder")
	f.StringVar(&reason, "reason", "", "why, for the holder and the log")
	f.BoolVar(&now, "now", false, "with --force: free the lock at once, while its holder may still believe in it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name := args[0]
		if err := checkName("lock", name); err != nil {
			return err
		}
		var do func(nc *nats.Conn) (proto.Message, error)
		if force {
			switch {
			case f.Changed("session") || f.Changed("generation") || onCommandLine(f.Lookup("secret-file")):
				return usagef("--force takes the lock away from whoever holds it: without --session and --secret-file")
			case strings.TrimSpace(reason) == "":
				return usagef("--force needs a --reason, which the holder is told")
			}
			do = func(nc *nats.Conn) (proto.Message, error) {
				return c.forceRelease(cmd.Context(), nc, name, h.fence, reason, now)
			}
		} else {
			if now || reason != "" {
				return usagef("--now and --reason belong to --force")
			}
			secret, err := h.check("release", ", or --force --reason TEXT, with which an operator takes the lock away")
			if err != nil {
				return err
			}
			do = func(nc *nats.Conn) (proto.Message, error) {
				return c.releaseHold(cmd.Context(), nc, "lock.release", name, &h, secret)
			}
		}
		return c.run(cmd, do, func(m proto.Message) error {
			state := m.(*coorddv1.LockReleaseReply).GetState()
			text := "is released"
			if state == coorddv1.LockReleaseReply_DELAYED {
				text = "is taken away; it stays closed until its holder's session would have ended"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "lock %q %s\n", name, text)
			return err
		})
	}
	return cmd
}

// readSecret reads a session's secret: base64 as in JSON, or the bytes themselves.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--secret-file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(os.Stderr, "coordd: %s can be read by others (mode %04o): chmod 600 it\n", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--secret-file: %w", err)
	}
	text := strings.Trim(strings.TrimSpace(string(b)), `"`)
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if secret, err := enc.DecodeString(text); err == nil && len(secret) > 0 {
			return secret, nil
		}
	}
	if len(b) == 0 {
		return nil, usagef("--secret-file: %s is empty", path)
	}
	return b, nil
}

// checkName refuses a name before anything is asked, with the words of the service.
func checkName(what, name string) error {
	const longest = 512
	var problem string
	switch {
	case name == "":
		problem = "is empty"
	case len(name) > longest:
		problem = fmt.Sprintf("has %d bytes, at most %d are allowed", len(name), longest)
	case !isPrintableName(name):
		problem = "holds a control character or is not UTF-8: " + strconv.QuoteToASCII(name)
	default:
		return nil
	}
	number, _ := codeProperties(coorddv1.CodeBadName)
	return &failure{exit: exitError, err: errors.New("the " + what + "'s name " + problem),
		body: &errorBody{Code: coorddv1.CodeBadName, Number: number}}
}

// run connects, asks, and writes the answer.
func (c *clientFlags) run(cmd *cobra.Command, ask func(*nats.Conn) (proto.Message, error), text func(proto.Message) error, without ...string) error {
	if err := c.check(); err != nil {
		return err
	}
	nc, err := c.dial(cmd.Context())
	if err != nil {
		return err
	}
	defer nc.Close()
	m, err := ask(nc)
	if err != nil {
		return err
	}
	if *c.format == outputText {
		return text(m)
	}
	doc, err := documentFrom(m)
	if err == nil && len(without) > 0 {
		doc, err = documentWithout(doc, without...)
	}
	if err != nil {
		return err
	}
	return writeDocument(cmd.OutOrStdout(), *c.format, doc)
}
