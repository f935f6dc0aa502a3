package service

import (
	"testing"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/internal/machine"
)

// Every code that the machine can give is one of the contract.
func TestMachineCodesAreInTheTable(t *testing.T) {
	t.Parallel()
	n := 0
	for c := machine.Code(1); c != 0; c++ { // up to 255
		name := c.String()
		if _, ok := coorddv1.LookupCode(name); !ok {
			t.Errorf("code %d, %s, is not in the contract", c, name)
		}
		if name != "INTERNAL" {
			n++
		}
	}
	if n < 19 {
		t.Errorf("only %d codes of the machine were seen", n)
	}
}
