package client

import (
	"encoding/base64"
	"strconv"
	"unicode"
	"unicode/utf8"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

const (
	maxNameBytes  = 512
	statusSubject = "coord.cluster.v1.status" // every node answers it
)

// subjectOf returns the subject of a verb in a namespace; name is "" for verbs that have none.
func subjectOf(ns, verb, name string) string {
	if name == "" {
		return "coord.v1." + ns + "." + verb
	}
	return "coord.v1." + ns + "." + verb + "." + encodeName(name)
}

// eventSubject is where a session's events are published.
func eventSubject(ns string, session uint64) string {
	return "coord.v1." + ns + ".evt." + strconv.FormatUint(session, 10)
}

// encodeName writes a name as one token of a subject: as it is if it consists of A-Za-z0-9-_/= alone, else as
// ~ and base64url.
func encodeName(name string) string {
	for i := range len(name) {
		if !plain(name[i]) {
			return "~" + base64.RawURLEncoding.EncodeToString([]byte(name))
		}
	}
	return name
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '/' || c == '='
}

// checkName says what is wrong with the name of a lock or sequence.
func checkName(what, name string) error {
	switch {
	case name == "":
		return localError(coorddv1.CodeBadName, "%s name is empty", what)
	case len(name) > maxNameBytes:
		return localError(coorddv1.CodeBadName, "%s name has %d bytes, at most %d are allowed", what, len(name), maxNameBytes)
	case !utf8.ValidString(name):
		return localError(coorddv1.CodeBadName, "%s name %q is not UTF-8", what, name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return localError(coorddv1.CodeBadName, "%s name %q holds the control character %U", what, name, r)
		}
	}
	return nil
}
