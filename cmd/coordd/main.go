// Command coordd is the coordination daemon and its command line.
package main

import (
	"os"

	"github.com/coordd/coordd/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
