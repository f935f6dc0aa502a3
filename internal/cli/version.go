package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/coordd/coordd/internal/daemon"
)

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version of this program", Args: exactly(0)}
	format := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v := struct {
			Version  string `json:"version"`
			Revision string `json:"revision"`
			Go       string `json:"go"`
			Platform string `json:"platform"`
		}{daemon.Version, daemon.Revision(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
		if *format == outputText {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "coordd %s (%s, %s, %s)\n", v.Version, orDash(v.Revision), v.Go, v.Platform)
			return err
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return writeDocument(cmd.OutOrStdout(), *format, b)
	}
	return cmd
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
