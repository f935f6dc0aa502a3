package inmem_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/coordd/coordd/pkg/transport"
	"github.com/coordd/coordd/pkg/transport/inmem"
	"github.com/coordd/coordd/pkg/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestContract runs the suite that each transport passes.
func TestContract(t *testing.T) {
	t.Parallel()
	transporttest.Run(t, func(testing.TB) transporttest.Harness {
		network := inmem.NewNetwork()
		return transporttest.Harness{
			New: func(_ testing.TB, o transporttest.Options) transporttest.Tested {
				return network.New(inmem.Config{Address: o.Address, Observer: o.Observer, Logger: o.Logger})
			},
			Holes: func(t testing.TB) []string {
				third := network.New(inmem.Config{})
				if err := third.Start(transporttest.NewRecorder(transport.Identity{Member: 3})); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { third.Close(context.Background()) })
				network.Isolate(3)
				return []string{third.Addr()}
			},
			Cut:  network.Cut,
			Heal: network.Heal,
		}
	})
}
