package service

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

const (
	clientPrefix  = "coord.v1."
	adminPrefix   = "coord.admin.v1."
	nodePrefix    = "coord.node.v1."
	clusterStatus = "coord.cluster.v1.status"

	maxNamespaceBytes = machine.MaxNamespaceBytes
)

// plainName tells which bytes stand for themselves in a subject: A-Za-z0-9-_/=
var plainName = func() (t [256]bool) {
	for c := range t {
		switch {
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '/', c == '=':
			t[c] = true
		}
	}
	return t
}()

func isPlain(s string) bool {
	for i := range len(s) {
		if !plainName[s[i]] {
			return false
		}
	}
	return s != ""
}

// encodeName returns the one token that stands for a name in a subject.
func encodeName(name string) string {
	if isPlain(name) {
		return name
	}
	return "~" + base64.RawURLEncoding.EncodeToString([]byte(name))
}

// decodeName is the reverse of encodeName. It refuses every token that encodeName does not make, so that a
// permission on a subject can't be gone around by another spelling of the name.
func decodeName(token string, maxBytes int) (string, *coorddv1.Error) {
	if isPlain(token) {
		return token, checkName(token, maxBytes)
	}
	coded, ok := strings.CutPrefix(token, "~")
	if !ok {
		return "", badName("%s is not allowed in a subject as it stands; write it as %s", quote(token), encodeName(token))
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(coded)
	if err != nil {
		return "", badName("%s is not ~ and base64url without padding", quote(token))
	}
	name := string(raw)
	if e := checkName(name, maxBytes); e != nil {
		return "", e
	}
	if encodeName(name) != token {
		return "", badName("%s must be written as %s", quote(token), encodeName(name))
	}
	return name, nil
}

// checkName checks a decoded name.
func checkName(name string, maxBytes int) *coorddv1.Error {
	switch {
	case name == "":
		return badName("the name is empty")
	case len(name) > maxBytes:
		return badName("the name has %d bytes, at most %d are allowed", len(name), maxBytes)
	case !utf8.ValidString(name):
		return badName("the name is not valid UTF-8")
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return badName("the name %s holds the control character %U", quote(name), r)
		}
	}
	return nil
}

func checkNamespace(ns string) *coorddv1.Error {
	ok := ns != "" && len(ns) <= maxNamespaceBytes
	for i := range len(ns) {
		ok = ok && plainName[ns[i]] && ns[i] != '/' && ns[i] != '='
	}
	if !ok {
		return badName("the namespace %s is not 1 to %d of A-Za-z0-9_-", quote(ns), maxNamespaceBytes)
	}
	return nil
}

// quote writes a string that came from outside into a message: printable, on one line, and not too long.
func quote(s string) string {
	const longest = 80
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return strconv.QuoteToASCII(s)
}

// parseSubject takes the namespace and the name out of the subject of a client's request, v being the verb
// whose subscription it came by.
func parseSubject(v *verb, subject string, maxNameBytes int) (ns, name string, e *coorddv1.Error) {
	rest, ok := strings.CutPrefix(subject, clientPrefix)
	if !ok {
		return "", "", badName("the subject %s does not begin with %s", quote(subject), clientPrefix)
	}
	ns, rest, _ = strings.Cut(rest, ".")
	if e := checkNamespace(ns); e != nil {
		return "", "", e
	}
	rest, ok = strings.CutPrefix(rest, v.name)
	if !ok {
		return "", "", badName("the subject %s is not one of %s", quote(subject), v.name)
	}
	name, e = nameToken(v.name, rest, v.named, maxNameBytes)
	return ns, name, e
}

// nameToken decodes what follows the verb: nothing, or a dot and the name's token.
func nameToken(verbName, rest string, named bool, maxNameBytes int) (string, *coorddv1.Error) {
	token, ok := strings.CutPrefix(rest, ".")
	switch {
	case !named && rest == "":
		return "", nil
	case !named:
		return "", badName("%s takes no name", verbName)
	case !ok || token == "":
		return "", badName("the name is missing: the subject ends with %s.<name>", verbName)
	}
	return decodeName(token, maxNameBytes)
}

// parseForceRelease takes namespace and lock out of coord.admin.v1.lock.force-release.<ns>.<name>.
func parseForceRelease(subject string, maxNameBytes int) (ns, name string, e *coorddv1.Error) {
	rest, ok := strings.CutPrefix(subject, adminPrefix+"lock.force-release.")
	if !ok {
		return "", "", badName("the subject %s is not one of lock.force-release", quote(subject))
	}
	ns, token, _ := strings.Cut(rest, ".")
	if e := checkNamespace(ns); e != nil {
		return "", "", e
	}
	if token == "" {
		return "", "", badName("the name is missing: the subject ends with lock.force-release.<namespace>.<name>")
	}
	name, e = decodeName(token, maxNameBytes)
	return ns, name, e
}

func eventSubject(ns string, session uint64) string {
	return clientPrefix + ns + ".evt." + strconv.FormatUint(session, 10)
}

func watchSubject(ns, name string) string { return clientPrefix + ns + ".watch." + encodeName(name) }

func probeSubject(nodeName string) string  { return nodePrefix + encodeName(nodeName) + ".probe" }
func statusSubject(nodeName string) string { return nodePrefix + encodeName(nodeName) + ".status" }

func refuse(code, format string, args ...any) *coorddv1.Error {
	return coorddv1.NewError(code, fmt.Sprintf(format, args...))
}

func badName(format string, args ...any) *coorddv1.Error {
	return refuse(coorddv1.CodeBadName, format, args...)
}

func badRequest(format string, args ...any) *coorddv1.Error {
	return refuse(coorddv1.CodeBadRequest, format, args...)
}
