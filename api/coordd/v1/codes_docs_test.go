package coorddv1

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const protocolPage = "../../../docs/protocol.md"

// codesMarkdown is the table as docs/protocol.md shows it.
func codesMarkdown() string {
	var b strings.Builder
	b.WriteString("| code | number | exit | again | meaning | what to do |\n|---|---|---|---|---|---|\n")
	for _, c := range Codes() {
		again := ""
		if c.Retryable {
			again = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %d | %d | %s | %s | %s |\n", c.Code, c.Number, c.Exit, again, c.Meaning, c.Action)
	}
	return b.String()
}

// The page's table is this package's. With COORDD_UPDATE_DOCS=1 the test writes it instead.
func TestProtocolPageHasTheTable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), "a test compares -->\n")
	old, tail, ok2 := strings.Cut(rest, "<!-- end of codes -->")
	if !ok || !ok2 {
		t.Fatal("the page has no place for the table")
	}
	want := codesMarkdown()
	if old == want {
		return
	}
	if os.Getenv("COORDD_UPDATE_DOCS") == "" {
		t.Fatal("docs/protocol.md has another table of codes; run this test with COORDD_UPDATE_DOCS=1")
	}
	text := head + "a test compares -->\n" + want + "<!-- end of codes -->" + tail
	if err := os.WriteFile(protocolPage, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
