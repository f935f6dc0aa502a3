package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/coordd/coordd/internal/daemon"
)

// laterFlag is a flag of the contract of which this version can do only one value. Another one is refused
// rather than ignored: who sets it relies on it.
type laterFlag struct {
	name, def, usage string
}

var laterFlags = []laterFlag{
	{name: "peer-transport", def: "tcp", usage: "tcp, udp or http; this version has tcp"},
	{name: "node-tls-cert", usage: "certificate for peers, NATS and HTTP; TLS is not in this version"},
	{name: "node-tls-key", usage: "key of the certificate; TLS is not in this version"},
	{name: "node-tls-ca", usage: "authority of the certificates; TLS is not in this version"},
	{name: "udp-datagram-size", def: "1200", usage: "of the udp transport; only the default in this version"},
	{name: "udp-dont-fragment", def: "true", usage: "of the udp transport; only the default in this version"},
	{name: "udp-client-backlog", usage: "of the udp transport; not in this version"},
	{name: "udp-local", def: "0.0.0.0:0", usage: "of the udp transport; only the default in this version"},
	{name: "http-version", def: "auto", usage: "of the http transport; only the default in this version"},
	{name: "http-keepalive", def: "2m", usage: "of the http transport; only the default in this version"},
	{name: "http-connection-per-request", def: "false", usage: "of the http transport; only the default in this version"},
	{name: "console-token-file", usage: "token for reading the console's API; not in this version"},
	{name: "console-operator-token-file", usage: "token for the console's verbs; not in this version"},
}

// addLaterFlags declares them; the values are read back from the returned map.
func addLaterFlags(f *pflag.FlagSet) map[string]*string {
	values := make(map[string]*string)
	for _, l := range laterFlags {
		values[l.name] = f.String(l.name, l.def, l.usage)
		if l.def == "true" || l.def == "false" {
			f.Lookup(l.name).NoOptDefVal = "true" // as a flag that is a truth value
		}
	}
	return values
}

func checkLater(f *pflag.FlagSet, values map[string]*string) error {
	for _, l := range laterFlags {
		v := strings.TrimSpace(*values[l.name])
		if !f.Changed(l.name) || v == l.def {
			continue
		}
		if l.def != "" {
			return &daemon.ConfigError{Setting: l.name, Err: fmt.Errorf("%q: this version of coordd can only do %q", v, l.def)}
		}
		return daemon.NotYet(l.name, v)
	}
	return nil
}
