package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// codeProperties returns a code's number and whether it is retryable.
func codeProperties(code string) (number int, retryable bool) {
	info, _ := coorddv1.LookupCode(code)
	return int(info.Number), info.Retryable
}

// codeDocument is a row of the code table as JSON.
type codeDocument struct {
	Code      string `json:"code"`
	Number    int    `json:"number"`
	Exit      int    `json:"exit"`
	Retryable bool   `json:"retryable"`
	Go        string `json:"go"`
	Meaning   string `json:"meaning"`
	Action    string `json:"action"`
}

func documentOf(c coorddv1.CodeInfo) codeDocument {
	return codeDocument{c.Code, int(c.Number), c.Exit, c.Retryable, c.GoName, c.Meaning, c.Action}
}

func errorsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "errors [CODE]",
		Short: "List the error codes, or explain one",
		Long:  "List every error code of the contract with its number, its exit code and what to do, or explain one.",
		Args:  atMost(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) (names []string, d cobra.ShellCompDirective) {
			for _, c := range coorddv1.Codes() {
				names = append(names, c.Code)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	format := outputFlag(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		out := cmd.OutOrStdout()
		if len(args) == 1 {
			c, ok := coorddv1.LookupCode(strings.ToUpper(args[0]))
			if !ok {
				return usagef("there is no code %q; `coordd errors` lists them", args[0])
			}
			if *format == outputText {
				_, err := fmt.Fprintf(out, "%s (number %d, exit code %d, %s)\n%s\n%s\n", c.Code, c.Number, c.Exit, repeatable(c.Retryable), c.Meaning, c.Action)
				return err
			}
			b, err := json.Marshal(documentOf(c))
			if err != nil {
				return err
			}
			return writeDocument(out, *format, b)
		}
		if *format == outputText {
			var rows [][]string
			for _, c := range coorddv1.Codes() {
				rows = append(rows, []string{c.Code, strconv.Itoa(int(c.Number)), strconv.Itoa(c.Exit), strconv.FormatBool(c.Retryable), c.GoName, c.Meaning})
			}
			return table(out, []string{"CODE", "NUMBER", "EXIT", "RETRYABLE", "GO", "MEANING"}, rows)
		}
		var docs []codeDocument
		for _, c := range coorddv1.Codes() {
			docs = append(docs, documentOf(c))
		}
		b, err := json.Marshal(map[string][]codeDocument{"codes": docs})
		if err != nil {
			return err
		}
		return writeDocument(out, *format, b)
	}
	return cmd
}

func repeatable(r bool) string {
	if r {
		return "may be repeated"
	}
	return "not to be repeated as it is"
}
