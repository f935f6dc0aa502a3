package cli

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
)

// TestServersThatAreTried demands that the other nodes of a development cluster are tried in order, and only
// where neither flag, environment nor file say where the cluster is.
func TestServersThatAreTried(t *testing.T) {
	t.Parallel()
	standard := []string{"nats://127.0.0.1:4222", "nats://127.0.0.1:4223", "nats://127.0.0.1:4224"}
	for name, c := range map[string]struct {
		args []string
		env  string
		want []string
	}{
		"nothing said":    {nil, "", standard},
		"flag":            {[]string{"--nats-url", "nats://a:1,nats://b:2"}, "", []string{"nats://a:1", "nats://b:2"}},
		"flag as default": {[]string{"--nats-url", "nats://127.0.0.1:4222"}, "", standard[:1]},
		"environment":     {nil, "nats://c:3", []string{"nats://c:3"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := &cobra.Command{Use: "x"}
			flags := addClientFlags(cmd)
			if err := cmd.ParseFlags(c.args); err != nil {
				t.Fatal(err)
			}
			if err := resolveSettings(cmd.Flags(), func(key string) string {
				if key == "COORDD_NATS_URL" {
					return c.env
				}
				return ""
			}); err != nil {
				t.Fatal(err)
			}
			if got := flags.servers(); !slices.Equal(got, c.want) {
				t.Errorf("servers %v, want %v", got, c.want)
			}
			opts, err := flags.natsOptions()
			if err != nil {
				t.Fatal(err)
			}
			var o nats.Options
			for _, set := range opts {
				if err := set(&o); err != nil {
					t.Fatal(err)
				}
			}
			if isDefault := len(c.want) == len(standard); o.NoRandomize != isDefault {
				t.Errorf("NoRandomize is %v", o.NoRandomize)
			}
		})
	}
}
