package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric/fabrictest"
)

func modelConfig(tb testing.TB, name string) Config {
	tb.Helper()
	m, err := ModelByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	var c Config
	m.Apply(&c)
	return c
}

func TestModelsAreSound(t *testing.T) {
	var names []string
	for _, m := range Models() {
		names = append(names, m.Name)
		if err := m.Validate(); err != nil {
			t.Errorf("%v", err)
		}
	}
	if want := []string{"data-vortex", "ethernet", "ib-rc", "rapidio", "sharp", "tte", "wan"}; !slices.Equal(names, want) {
		t.Errorf("models %q, want %q", names, want)
	}
}

func TestModelByName(t *testing.T) {
	if m, err := ModelByName("tte"); err != nil || m.Name != "tte" || !m.Medium.scheduled() {
		t.Errorf("tte: %+v, %v", m, err)
	}
	_, err := ModelByName("token-ring")
	if err == nil {
		t.Fatal("token-ring is a model")
	}
	for _, m := range append(Models(), Model{Name: "token-ring"}) {
		if !strings.Contains(err.Error(), m.Name) {
			t.Errorf("the error does not name %s: %v", m.Name, err)
		}
	}
}

// TestModelsConform: every model is a fabric that keeps the contract.
func TestModelsConform(t *testing.T) {
	for i, m := range Models() {
		t.Run(m.Name, func(t *testing.T) {
			cfg := modelConfig(t, m.Name)
			cfg.Seed, cfg.Wire = uint64(100+i), i%2 == 0
			f := factory(cfg)
			f.Name = m.Name
			fabrictest.Run(t, f)
		})
	}
}

// TestModelsUnderAllFaults: F1, F2 and P5 hold for every model whatever happens
// to members and links, and the same seed gives the same run.
func TestModelsUnderAllFaults(t *testing.T) {
	for i, m := range Models() {
		t.Run(m.Name, func(t *testing.T) {
			run := func() *world {
				cfg := modelConfig(t, m.Name)
				cfg.Seed = Seed(t, 7) + uint64(i)
				cfg.LinkTimeout, cfg.TicketTimeout, cfg.QueueBytes, cfg.MaxFrame = 50*time.Millisecond, 300*time.Millisecond, 64<<10, 4<<10
				f := &cfg.Faults
				f.CutEvery, f.CutFor, f.PauseEvery, f.PauseFor = 150*time.Millisecond, 100*time.Millisecond, 400*time.Millisecond, 60*time.Millisecond
				f.StallEvery, f.StallFor, f.KillEvery, f.KillFor = 200*time.Millisecond, 50*time.Millisecond, 500*time.Millisecond, 100*time.Millisecond
				w := newWorld(t, 5, cfg)
				w.n.Run(1500 * time.Millisecond)
				w.settle(t)
				return w
			}
			w := run()
			if w.delivered == 0 || w.gapped == 0 || w.acked == 0 || w.lost == 0 || w.refused == 0 || w.rows == 0 {
				t.Errorf("something never happened: %d delivered, %d missing, %d acked, %d lost, %d refused, %d rows", w.delivered, w.gapped, w.acked, w.lost, w.refused, w.rows)
			}
			if again := run(); again.n.Hash() != w.n.Hash() {
				t.Errorf("the same seed gave hashes %#x and %#x", w.n.Hash(), again.n.Hash())
			}
		})
	}
}

// TestModelCapabilities: ports say what the model is.
func TestModelCapabilities(t *testing.T) {
	const multicast, oneSided, scheduled, lossless, logical = 1, 2, 4, 8, 16
	want := map[string]int{
		"data-vortex": oneSided | lossless | logical, "ethernet": logical, "ib-rc": oneSided | lossless | logical,
		"rapidio": multicast | oneSided | lossless | logical, "sharp": multicast | logical, "tte": multicast | scheduled, "wan": logical,
	}
	for _, m := range Models() {
		n, _ := pair(t, modelConfig(t, m.Name))
		c, now, got := n.Port(1).Capabilities(), n.Port(1).Now(), 0
		for bit, is := range map[int]bool{multicast: c.Multicast, oneSided: c.OneSided, scheduled: c.Scheduled, lossless: c.Lossless, logical: now.Logical} {
			if is {
				got |= bit
			}
		}
		if got != want[m.Name] || c.Name != "sim/"+m.Name {
			t.Errorf("%s: %+v, clock %+v", m.Name, c, now)
		}
		if m.Name == "tte" && now.Error != time.Microsecond {
			t.Errorf("tte: clock error %v", now.Error)
		}
	}
}

func TestModelValidate(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*Model)
		want   string
	}{
		"name":           {func(m *Model) { m.Name = "x" }, "its Medium is called"},
		"about":          {func(m *Model) { m.About = "" }, "About is empty"},
		"not covered":    {func(m *Model) { m.NotCovered = nil }, "NotCovered is empty"},
		"no figure":      {func(m *Model) { m.Figures = m.Figures[1:] }, "Rate is 12500000000 and has no figure"},
		"two figures":    {func(m *Model) { m.Figures = append(m.Figures, m.Figures[0]) }, "two figures for Rate"},
		"unknown field":  {func(m *Model) { m.Figures[0].Field = "Colour" }, `figure for "Colour"`},
		"source":         {func(m *Model) { m.Figures[0].Source = Source{} }, "want a source"},
		"basis":          {func(m *Model) { m.Figures[0].Basis = "hearsay" }, `basis "hearsay"`},
		"inference":      {func(m *Model) { m.Figures[3].Note = "" }, "figure for SendCost: it is inferred"},
		"outside bounds": {func(m *Model) { m.Faults.Delay = time.Second }, "figure for Delay: 1e+09 is outside"},
		"unsound medium": {func(m *Model) { m.Medium.Rate = 0 }, "Medium.Rate is 0"},
		"contradiction":  {func(m *Model) { m.Faults.Loss = 1e-10 }, "Faults.Loss is 1e-10"},
	} {
		m, err := ModelByName("ib-rc")
		if err != nil {
			t.Fatal(err)
		}
		m.Figures = slices.Clone(m.Figures)
		c.change(&m)
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

// TestApplyKeepsTheRest: a model changes nothing that is not its own.
func TestApplyKeepsTheRest(t *testing.T) {
	c := Config{Seed: 5, MaxFrame: 100, Faults: Faults{CutEvery: time.Second, Handling: time.Millisecond, Loss: 0.5, Bandwidth: 7}}
	m, err := ModelByName("wan")
	if err != nil {
		t.Fatal(err)
	}
	m.Apply(&c)
	want := m.Faults
	want.CutEvery, want.Handling = time.Second, time.Millisecond
	if got := fmt.Sprint(c.Seed, c.MaxFrame, c.Medium, c.Faults); got != fmt.Sprint(5, 100, m.Medium, want) {
		t.Errorf("%s", got)
	}
}

// TestModelsDeliverTheSame: how long things take changes, what is delivered does
// not: the same script has the same outcome on every model.
func TestModelsDeliverTheSame(t *testing.T) {
	script := fabrictest.NewScript(31, 80)
	want := script.Expected()
	for _, m := range append(Models(), Model{Name: "no model"}) {
		t.Run(m.Name, func(t *testing.T) {
			cfg := Config{Seed: Seed(t, 9)}
			m.Apply(&cfg)
			if d := fabrictest.Play(t, factory(cfg), script).Diff(want); d != nil {
				t.Errorf("%s", strings.Join(d, "\n"))
			}
		})
	}
}
