// Command asks says whether the first guard is taken out.
package main

import (
	"fmt"

	"github.com/coordd/coordd/internal/canary"
)

func main() {
	fmt.Println(canary.Broken(canary.DurableBeforeSaid))
}
