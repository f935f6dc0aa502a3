package cli

import (
	"github.com/spf13/cobra"
)

// offer has the shell complete a flag's value with words.
func offer(cmd *cobra.Command, flag string, words ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // no such flag, or twice: a mistake in this program
	}
}

func completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a completion script for bash, zsh, fish or powershell",
		Long: "Print a completion script. For the present bash:\n\n  source <(coordd completion bash)\n\n" +
			"For every bash from now on, write it to /etc/bash_completion.d/coordd.",
		Args: exactly(1), ValidArgs: shells, DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return usagef("no completion for the shell %q; there is one for bash, zsh, fish and powershell", args[0])
		},
	}
}
