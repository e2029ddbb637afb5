package ordered

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric/sim"
)

var (
	storms    = flag.Int("storms", 1, "seeds of each size in TestStorms")
	stormSeed = flag.Uint64("storm", 1, "first seed of TestStorms")
)

// TestStorms: nothing breaks an invariant, and all is well when the storm is
// over. `-storms 1000 -storm 1`; a failure names its seed.
func TestStorms(t *testing.T) {
	for _, n := range []int{2, 3, 4, 5, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var sum struct{ views, delivered, refused, kills, lost, configs int }
			for seed := *stormSeed; seed < *stormSeed+uint64(*storms); seed++ {
				r := rand.New(rand.NewPCG(seed, uint64(n)))
				c := newCluster(t, n, stormOf(seed, r), EndpointConfig{Settings: Settings{Window: 16}})
				c.storm(r, 20*time.Second)
				c.calm(20 * time.Second)
				if c.err != nil {
					t.Fatalf("seed %d: %v", seed, c.err)
				}
				sum.views, sum.delivered, sum.refused = sum.views+c.counts.views, sum.delivered+c.counts.delivered, sum.refused+c.counts.refused
				sum.kills, sum.lost, sum.configs = sum.kills+c.counts.kills, sum.lost+c.counts.lost, sum.configs+c.counts.configs
			}
			t.Logf("%+v", sum)
			if sum.delivered == 0 || sum.views < *storms*n {
				t.Errorf("the storm did not do anything: %+v", sum)
			}
		})
	}
}

func stormOf(seed uint64, r *rand.Rand) sim.Config {
	often := time.Duration(1+r.IntN(5)) * time.Second
	f := sim.Faults{
		Delay: 200 * time.Microsecond, Jitter: time.Duration(r.IntN(2000)) * time.Microsecond,
		Loss: r.Float64() * 0.1, Duplicate: r.Float64() * 0.05, Reorder: r.Float64() * 0.05,
		CutEvery: often, CutFor: time.Duration(r.IntN(3000)) * time.Millisecond,
		PauseEvery: often, PauseFor: time.Duration(r.IntN(2000)) * time.Millisecond,
		StallEvery: often, StallFor: time.Duration(r.IntN(3000)) * time.Millisecond,
		KillEvery: 2 * often, KillFor: time.Duration(r.IntN(2000)) * time.Millisecond,
		ClockError: time.Duration(r.IntN(1000)) * time.Microsecond,
	}
	return sim.Config{Seed: seed, Faults: f, TicketTimeout: time.Duration(1+r.IntN(2)*50) * 50 * time.Millisecond}
}

// TestPlantedStorms: each bug is found as what it breaks, in one of a few storms.
func TestPlantedStorms(t *testing.T) {
	lossy := func(c *sim.Config) { c.TicketTimeout, c.Faults.Loss = 20*time.Millisecond, 0.3 }
	for _, b := range []struct {
		name  string
		how   []error // none: nothing is planted
		plant func(*cluster)
		cfg   EndpointConfig
		net   func(*sim.Config)
	}{
		{name: "none, with many losses", net: lossy},
		{name: "a ballot that stands still is left alone", how: []error{errV2}, cfg: EndpointConfig{Patience: time.Hour}},
		{name: "lost frames stay lost", how: []error{errV2, errLoss}, plant: func(c *cluster) { c.forget = true }, net: lossy},
		{name: "who is behind is not told the view", how: []error{errV2}, plant: func(c *cluster) {
			c.spoil = func(_ *member, a *Actions) {
				a.Sends = slices.DeleteFunc(a.Sends, func(s Send) bool { return s.Body[0] == flagView })
			}
		}},
		{name: "rows are published for news alone", how: []error{errV2}, plant: func(c *cluster) {
			c.spoil = func(m *member, a *Actions) { a.Publish = a.Publish && m.station.version%2 == 0 }
		}, cfg: EndpointConfig{Beat: 19 * time.Millisecond, IdleBeat: 330 * time.Millisecond}},
		{name: "nobody who keeps others waiting is left out", how: []error{errV2, errLoss}, plant: func(c *cluster) {
			c.spoil = func(m *member, a *Actions) {
				if m.id == 1 && c.net.Now() > 5*time.Second {
					m.station.endpoint.core.full = true
				}
			}
		}, cfg: EndpointConfig{StallAfter: time.Hour}},
	} {
		t.Run(b.name, func(t *testing.T) {
			for seed := uint64(1); seed < 30 && (len(b.how) > 0 || seed < 5); seed++ {
				r := rand.New(rand.NewPCG(seed, 3))
				b.cfg.Window = 16
				storm := stormOf(seed, r)
				if b.net != nil {
					b.net(&storm)
				}
				c := newCluster(quietly{t}, 3, storm, b.cfg)
				if b.plant != nil {
					b.plant(c)
				}
				c.storm(r, 10*time.Second)
				c.calm(10 * time.Second)
				if slices.ContainsFunc(b.how, func(e error) bool { return errors.Is(c.err, e) }) {
					return
				}
				if c.err != nil {
					t.Fatalf("seed %d is caught as %v, want %v", seed, c.err, b.how)
				}
			}
			if len(b.how) > 0 {
				t.Errorf("not caught as %v", b.how)
			}
		})
	}
}

// quietly is a test whose failures are wanted.
type quietly struct{ *testing.T }

func (quietly) Failed() bool { return false }

// TestSameSeedSameRun: two runs of one seed are the same, event for event.
func TestSameSeedSameRun(t *testing.T) {
	run := func() (uint64, uint64) {
		r := rand.New(rand.NewPCG(5, 5))
		c := newCluster(t, 4, stormOf(5, r), EndpointConfig{Settings: Settings{Window: 16}})
		c.storm(r, 3*time.Second)
		c.calm(10 * time.Second)
		return c.net.Hash(), c.net.Events()
	}
	h1, n1 := run()
	if h2, n2 := run(); h1 != h2 || n1 != n2 {
		t.Errorf("hash %x after %d events, then %x after %d", h1, n1, h2, n2)
	}
}
