package service

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf8"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

func b64(s string) string { return "~" + base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestNamesInSubjects(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what, token, name, code string
	}{
		{"plain", "orders/42", "orders/42", ""},
		{"all plain bytes", "AZaz09-_/=", "AZaz09-_/=", ""},
		{"a space", b64("a b"), "a b", ""},
		{"a dot", b64("a.b"), "a.b", ""},
		{"a tilde", b64("~"), "~", ""},
		{"other letters", b64("größe"), "größe", ""},
		{"longest plain", strings.Repeat("x", 512), strings.Repeat("x", 512), ""},
		{"longest encoded", b64(strings.Repeat("ü", 256)), strings.Repeat("ü", 256), ""},
		{"too long plain", strings.Repeat("x", 513), "", "BAD_NAME"},
		{"too long encoded", b64(strings.Repeat(".", 513)), "", "BAD_NAME"},
		{"empty", "~", "", "BAD_NAME"},
		{"encoded without need", b64("orders"), "", "BAD_NAME"},
		{"a literal tilde at the front", "~orders", "", "BAD_NAME"},
		{"a literal tilde in the middle", "a~b", "", "BAD_NAME"},
		{"a literal tilde at the end", "a~", "", "BAD_NAME"},
		{"with padding", b64("a b") + "=", "", "BAD_NAME"},
		{"standard base64", "~" + base64.RawStdEncoding.EncodeToString([]byte("\u00fb\u00ff>?")), "", "BAD_NAME"},
		{"loose last bits", "~YR", "", "BAD_NAME"}, // ~YQ is "a", the strict form
		{"not UTF-8", b64("a\xff"), "", "BAD_NAME"},
		{"a line feed", b64("a\nb"), "", "BAD_NAME"},
		{"a NUL", b64("a\x00"), "", "BAD_NAME"},
		{"DEL", b64("a\x7f"), "", "BAD_NAME"},
		{"a C1 control", b64("a\u0085"), "", "BAD_NAME"},
		{"a dot as it stands", "a.b", "", "BAD_NAME"},
		{"a star", "a*", "", "BAD_NAME"},
	} {
		name, e := decodeName(tc.token, 512)
		if code(e) != tc.code {
			t.Errorf("%s (%q): code %q, want %q: %v", tc.what, tc.token, code(e), tc.code, e)
			continue
		}
		if e == nil && (name != tc.name || encodeName(name) != tc.token) {
			t.Errorf("%s: decoded %q, encoded again %q", tc.what, name, encodeName(name))
		}
	}
}

func code(e *coorddv1.Error) string {
	if e == nil {
		return ""
	}
	return e.Code
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	acquire, open, get := verbByName["lock.acquire"], verbByName["session.open"], staleGet
	for _, tc := range []struct {
		v                       *verb
		subject, ns, name, code string
	}{
		{acquire, "coord.v1.default.lock.acquire.demo", "default", "demo", ""},
		{acquire, "coord.v1.a_b-C9.lock.acquire.x/y", "a_b-C9", "x/y", ""},
		{acquire, "coord.v1.default.lock.acquire." + b64("a b"), "default", "a b", ""},
		{acquire, "coord.v1.default.lock.acquire", "", "", "BAD_NAME"},
		{acquire, "coord.v1.default.lock.acquire.", "", "", "BAD_NAME"},
		{acquire, "coord.v1.default.lock.acquire.a.b", "", "", "BAD_NAME"},
		{acquire, "coord.v1." + strings.Repeat("n", 65) + ".lock.acquire.a", "", "", "BAD_NAME"},
		{acquire, "coord.v1." + strings.Repeat("n", 64) + ".lock.acquire.a", strings.Repeat("n", 64), "a", ""},
		{acquire, "coord.v1.a/b.lock.acquire.a", "", "", "BAD_NAME"},
		{acquire, "coord.v1.a=b.lock.acquire.a", "", "", "BAD_NAME"},
		{acquire, "coord.v1..lock.acquire.a", "", "", "BAD_NAME"},
		{acquire, "coord.v1.~YQ.lock.acquire.a", "", "", "BAD_NAME"},
		{acquire, "coord.v2.default.lock.acquire.a", "", "", "BAD_NAME"},
		{acquire, "coord.v1.default.lock.release.a", "", "", "BAD_NAME"},
		{acquire, "coord.v1.default.lock.acquires", "", "", "BAD_NAME"},
		{open, "coord.v1.default.session.open", "default", "", ""},
		{open, "coord.v1.default.session.open.x", "", "", "BAD_NAME"},
		{get, "coord.v1.default.stale.lock.get.x", "default", "x", ""},
	} {
		ns, name, e := parseSubject(tc.v, tc.subject, 512)
		if code(e) != tc.code || e == nil && (ns != tc.ns || name != tc.name) {
			t.Errorf("%s: %q %q %v, want %q %q %q", tc.subject, ns, name, e, tc.ns, tc.name, tc.code)
		}
	}
	for subject, want := range map[string]string{
		"coord.admin.v1.lock.force-release.default.demo": "",
		"coord.admin.v1.lock.force-release.default":      "BAD_NAME",
		"coord.admin.v1.lock.force-release.a/b.demo":     "BAD_NAME",
		"coord.admin.v1.lock.force-release.default.a.b":  "BAD_NAME",
		"coord.admin.v1.lock.force-release":              "BAD_NAME",
		"coord.admin.v1.other":                           "BAD_NAME",
	} {
		ns, name, e := parseForceRelease(subject, 512)
		if code(e) != want || e == nil && (ns != "default" || name != "demo") {
			t.Errorf("%s: %q %q %v, want %q", subject, ns, name, e, want)
		}
	}
}

// One name has one subject: whatever a parser accepts, it would write the same way.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"coord.v1.default.lock.acquire.demo", "coord.v1.default.lock.acquire." + b64("a b"), "coord.v1.x.lock.acquire.~YQ",
		"coord.v1.default.lock.acquire", "coord.admin.v1.lock.force-release.default.x", "coord.v1.default.stale.lock.get.~", "coord.admin.v1.lock.force-release0.0", "", "coord.v1."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		for _, v := range append(verbs[:len(verbs):len(verbs)], staleGet, staleList, batchVerb) {
			ns, name, e := parseSubject(v, subject, 512)
			if e != nil {
				checkRefusal(t, e)
				continue
			}
			again := clientPrefix + ns + "." + v.name
			if v.named {
				checkParsedName(t, name)
				again += "." + encodeName(name)
			}
			if again != subject {
				t.Fatalf("%q is accepted as %q %q, which is written %q", subject, ns, name, again)
			}
		}
		if ns, name, e := parseForceRelease(subject, 512); e == nil {
			checkParsedName(t, name)
			if again := adminPrefix + "lock.force-release." + ns + "." + encodeName(name); again != subject {
				t.Fatalf("%q is written %q", subject, again)
			}
		}
	})
}

func checkParsedName(t *testing.T, name string) {
	t.Helper()
	if name == "" || len(name) > 512 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
		t.Fatalf("accepted the name %q", name)
	}
}

// checkRefusal checks that an error can go into a header as it stands.
func checkRefusal(t *testing.T, e *coorddv1.Error) {
	t.Helper()
	if _, ok := coorddv1.LookupCode(e.Code); !ok || e.Message == "" || strings.ContainsAny(e.Message, "\r\n\x00") || !utf8.ValidString(e.Message) {
		t.Fatalf("bad refusal %v", e)
	}
}
