package sim

import (
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
)

func factory(cfg Config) fabrictest.Factory {
	return fabrictest.Factory{
		Name:  "sim",
		Lacks: map[fabrictest.Ability]string{fabrictest.AbleWait: "virtual time, one goroutine: no call runs while another one does"},
		New: func(tb testing.TB, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
			cfg := cfg
			cfg.MaxFrame, cfg.QueueBytes, cfg.TicketTimeout, cfg.RowInterval = opt.MaxFrame, opt.QueueBytes, opt.TicketTimeout, opt.RowInterval
			cfg.LinkTimeout = 100 * time.Millisecond
			n, err := New(cfg)
			if err != nil {
				tb.Fatal(err)
			}
			join := func(id fabric.MemberID, h fabric.Handler) {
				if _, err := n.Join(id, fabrictest.Mangle(h)); err != nil {
					tb.Fatal(err)
				}
			}
			for _, id := range ids {
				join(id, handlers[id])
			}
			return &fabrictest.Cluster{
				Port: func(id fabric.MemberID) fabric.Port { return n.Port(id) },
				Kill: n.Kill, Restart: join, Cut: n.Cut, Mend: n.Mend, Stall: n.Stall, Unstall: n.Unstall, Advance: n.Advance,
				Close: func() {
					for _, id := range ids {
						if err := n.Port(id).Close(); err != nil {
							tb.Error(err)
						}
					}
				},
			}
		},
	}
}

func TestConformance(t *testing.T) {
	t.Run("no faults", func(t *testing.T) { fabrictest.Run(t, factory(Config{Seed: 1})) })
	t.Run("over the wire", func(t *testing.T) {
		fabrictest.Run(t, factory(Config{Seed: 2, Wire: true, Faults: Faults{Delay: 100 * time.Microsecond}}))
	})
	t.Run("faults", func(t *testing.T) {
		fabrictest.Run(t, factory(Config{Seed: 3, Wire: true, Faults: Faults{
			Delay: 50 * time.Microsecond, Jitter: 100 * time.Microsecond, Loss: 0.1, Duplicate: 0.1, Corrupt: 0.05, Reorder: 0.1,
			ReorderBy: time.Millisecond, ClockError: 5 * time.Millisecond,
		}}))
	})
	t.Run("slow", func(t *testing.T) {
		fabrictest.Run(t, factory(Config{Seed: 4, Faults: Faults{
			Delay: 20 * time.Microsecond, Bandwidth: 100 << 20, Handling: 5 * time.Microsecond,
		}}))
	})
}
