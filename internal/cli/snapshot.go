package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/daemon"
)

// saveLimit is how long the leader may take to make a snapshot, if --timeout says no more. Whether there is a leader
// has to show within --timeout.
const saveLimit = 2 * time.Minute

func snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshot", Short: "Save, look at and restore the state of a cluster",
		Long: "A snapshot is a file with everything that a cluster knows: locks, sessions, sequences, members, and the time of\n" +
			"the cluster's clock. Each block of it has a checksum.",
		Example: "  coordd snapshot save backup.snap\n  coordd snapshot inspect backup.snap\n" +
			"  coordd snapshot restore backup.snap --name n1 --data-dir /var/lib/coordd --domain 4711",
	}
	parentCommand(cmd)
	cmd.AddCommand(snapshotSaveCommand(), snapshotInspectCommand(), snapshotRestoreCommand())
	return cmd
}

func snapshotSaveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "save FILE", Short: "Save the state as of now, checked, into a file", Args: exactly(1),
		Long: "Ask the leader for a snapshot as of now and write it to FILE. It has everything that was acknowledged before the\n" +
			"command began. FILE is there only when the whole snapshot was received and each checksum is right; an older FILE\n" +
			"stays until then.",
	}
	c := addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.check(); err != nil {
			return err
		}
		nc, err := c.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer nc.Close()
		part := args[0] + ".partial"
		if err := c.fetchSnapshot(cmd.Context(), nc, part); err != nil {
			return errors.Join(err, removeIfThere(part))
		}
		s, err := daemon.InspectSnapshot(part)
		if err == nil {
			err = os.Rename(part, args[0])
		}
		if err == nil {
			err = syncDir(filepath.Dir(args[0]))
		}
		if err != nil {
			return errors.Join(fmt.Errorf("snapshot of the leader: %w", err), removeIfThere(part))
		}
		s.File = args[0]
		return printSnapshot(cmd, *c.format, s)
	}
	return cmd
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// fetchSnapshot gets a snapshot from the leader, part by part, and returns when it is on the disk. If the leader
// changes on the way, it begins anew.
func (c *clientFlags) fetchSnapshot(ctx context.Context, nc *nats.Conn, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	const tries = 5
	for try := 1; ; try++ {
		err := c.fetchParts(ctx, nc, f)
		if codeOf(err) == coorddv1.CodeNotFound && try < tries {
			continue
		}
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		return f.Close()
	}
}

func (c *clientFlags) fetchParts(ctx context.Context, nc *nats.Conn, f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	var id [8]byte
	_, _ = rand.Read(id[:])                           // crypto/rand.Read never fails
	if _, err := c.listMembers(ctx, nc); err != nil { // who answers that leads a majority
		return err
	}
	req := &coorddv1.SnapshotSaveRequest{Snapshot: hex.EncodeToString(id[:])}
	limit := max(c.timeout, saveLimit)
	for {
		r := &coorddv1.SnapshotSaveReply{}
		if err := c.requestWithin(ctx, nc, adminPrefix+"snapshot.save", req, r, "", limit); err != nil {
			return err
		}
		if r.GetOffset() != req.Offset || len(r.GetData()) == 0 && r.GetOffset() != r.GetSize() {
			return fmt.Errorf("the leader sent %d bytes at %d of %d, asked for at %d", len(r.GetData()), r.GetOffset(), r.GetSize(), req.Offset)
		}
		if _, err := f.WriteAt(r.GetData(), int64(req.Offset)); err != nil {
			return fmt.Errorf("write %s: %w", f.Name(), err)
		}
		if req.Offset += uint64(len(r.GetData())); req.Offset == r.GetSize() {
			return nil
		}
		limit = c.timeout
	}
}

func snapshotInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect FILE", Short: "Check a snapshot file and show what it holds", Args: exactly(1),
		Long: "Check every checksum of a snapshot file, read the whole state that is in it, and show what it holds. A snapshot\n" +
			"that passes can be restored.",
	}
	format := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := daemon.InspectSnapshot(args[0])
		if err != nil {
			return err
		}
		return printSnapshot(cmd, *format, s)
	}
	return cmd
}

// printSnapshot shows what a snapshot holds.
func printSnapshot(cmd *cobra.Command, format outputFormat, s *daemon.SnapshotSummary) error {
	if format != outputText {
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		return writeDocument(cmd.OutOrStdout(), format, b)
	}
	rows := [][]string{
		{"file", s.File}, {"size", bytesText(uint64(s.Size))}, {"cluster ID", s.ClusterID},
		{"index", fmt.Sprint(s.Index)}, {"term", fmt.Sprint(s.Term)}, {"cluster time", time.Duration(s.Time).Round(time.Millisecond).String()},
		{"wall clock", s.Wall}, {"domain", fmt.Sprint(s.Domain)}, {"fence", fmt.Sprint(s.Fence)},
		{"sessions", fmt.Sprint(s.Sessions)}, {"locks", fmt.Sprint(s.Locks)}, {"waiters", fmt.Sprint(s.Waiters)}, {"sequences", fmt.Sprint(s.Sequences)},
	}
	for _, m := range s.Members {
		rows = append(rows, []string{"member", m.Name + " " + m.Role + " " + m.Address})
	}
	return table(cmd.OutOrStdout(), []string{"WHAT", "VALUE"}, rows)
}

func snapshotRestoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore FILE --data-dir DIR --name NAME --domain N", Short: "Make the data directory of a new cluster's first member", Args: exactly(1),
		Long: "Make a new data directory from a snapshot: the first member of a new cluster, which has the old one's locks,\n" +
			"sessions and sequences. The new cluster is another one than the old: it has a cluster ID, an ID domain and fences\n" +
			"of its own, so that nothing it gives out was given before, even if one file is restored twice. Nothing expires\n" +
			"before its clients had time to find it.\n\n" +
			"--domain is a number from 1 to 32767 that no cluster of yours uses or used. The machine's clock must be right.\n" +
			"Then start it, and let the other members join, each with an empty directory.",
		Example: "  coordd snapshot restore backup.snap --name n1 --cluster prod --data-dir /var/lib/coordd --domain 4711\n" +
			"  coordd serve --name n1 --cluster prod --data-dir /var/lib/coordd --peer-listen 10.0.0.1:8410 --insecure",
	}
	var o daemon.RestoreOptions
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data-dir", "", "the directory to make; it must be empty or absent")
	f.StringVar(&o.Name, "name", "", "the member's name")
	f.StringVar(&o.Cluster, "cluster", "coordd", "the cluster's name, as serve is given it")
	f.StringVar(&o.Address, "peer-advertise", daemon.DefaultPeerListen, "where later members will reach this one; serve may change it")
	f.Uint16Var(&o.Domain, "domain", 0, "ID domain of the new cluster, 1 to 32767, never used before")
	forThisCall(f, "domain")
	format := outputFlag(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.File = args[0]
		for flag, v := range map[string]bool{"data-dir": o.DataDir == "", "name": o.Name == "", "domain": !f.Changed("domain")} {
			if v {
				return usagef("snapshot restore needs --data-dir, --name and --domain; --%s is missing (`coordd snapshot restore --help`)", flag)
			}
		}
		r, err := daemon.RestoreSnapshot(cmd.Context(), o)
		if err != nil {
			return configFailure(err)
		}
		return printRebirth(cmd, *format, r)
	}
	return cmd
}

// printRebirth says what a restore or a recovery made.
func printRebirth(cmd *cobra.Command, format outputFormat, r *daemon.Rebirth) error {
	if format != outputText {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return writeDocument(cmd.OutOrStdout(), format, b)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s holds member %s of the new cluster %s, as of entry %d: domain %d, fences from %d on\n", r.DataDir, r.Name, r.ClusterID, r.Index, r.Domain, r.Fence+1)
	if r.Backup != "" {
		fmt.Fprintf(out, "what it replaced is kept in %s\n", r.Backup)
	}
	fmt.Fprintf(out, "start it with: coordd serve --name %s --cluster %s --data-dir %s …\n", r.Name, r.Cluster, r.DataDir)
	fmt.Fprintf(out, "then let others join it, each with an empty directory: coordd serve --name … --cluster %s --join %s …\n", r.Cluster, r.Address)
	return nil
}

func memberRecoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "recover --data-dir DIR --accept-loss", Short: "Go on alone with one stopped member's data, where a majority is lost", Args: exactly(0),
		Long: "Turn the data directory of one stopped member into the first member of a new cluster. For when a majority of the\n" +
			"members is lost for good: what only they had acknowledged is lost, which is why --accept-loss is asked for. Make sure\n" +
			"that no other member of the old cluster runs or will be started again, and take the member that has the highest term\n" +
			"and index (its log says so at its start).\n\n" +
			"The new cluster has a cluster ID, an ID domain and fences of its own, as after a restore. What the directory held is\n" +
			"kept inside it, in before-recover-…; remove that when all is well. Where a majority still runs, don't: use member replace.",
		Example: "  coordd member recover --data-dir /var/lib/coordd --accept-loss",
	}
	var o daemon.RecoverOptions
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data-dir", "", "the stopped member's directory")
	f.BoolVar(&o.AcceptLoss, "accept-loss", false, "accept that what this member does not have is lost")
	f.StringVar(&o.Address, "peer-advertise", "", "where later members will reach this one (default as before); serve may change it")
	f.Uint16Var(&o.Domain, "domain", 0, "ID domain of the new cluster, 1 to 32767, never used before (default drawn at random)")
	forThisCall(f, "accept-loss", "domain")
	format := outputFlag(f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.DataDir == "" {
			return usagef("member recover needs --data-dir, the directory of a stopped member")
		}
		if !o.AcceptLoss {
			return usagef("member recover gives up whatever only the other members have; if they are lost for good, say so with --accept-loss. Nothing was changed")
		}
		r, err := daemon.RecoverMember(cmd.Context(), o)
		if err != nil {
			return configFailure(err)
		}
		return printRebirth(cmd, *format, r)
	}
	return cmd
}
