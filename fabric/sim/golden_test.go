package sim

import (
	"testing"
	"time"
)

// TestHashesStay: runs of networks without a Medium are what they were before
// there was one. A change of these hashes changes what every recorded seed
// replays; make it on purpose or not at all.
func TestHashesStay(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    Config
		hash   uint64
		events uint64
	}{
		{"no faults", Config{Seed: 11}, 0x978195c978b819d7, 7368},
		{"delay and jitter", Config{Seed: 12, Faults: Faults{Delay: 50 * time.Microsecond, Jitter: 10 * time.Microsecond}}, 0x7e3ce21d419d60ee, 7496},
		{"bandwidth, over the wire", Config{Seed: 13, Wire: true, Faults: Faults{
			Delay: 20 * time.Microsecond, Bandwidth: 10 << 20, Handling: time.Microsecond,
		}}, 0x483e1f343d60b19d, 11747},
		{"everything", Config{Seed: 14, Faults: everything, LinkTimeout: 50 * time.Millisecond, MaxFrame: 4 << 10}, 0x7d02a1ed73d9e80, 12049},
	} {
		w := newWorld(t, 4, c.cfg)
		w.n.Run(200 * time.Millisecond)
		if w.n.Hash() != c.hash || w.n.Events() != c.events {
			t.Errorf("%s: hash %#x after %d events, want %#x after %d", c.name, w.n.Hash(), w.n.Events(), c.hash, c.events)
		}
		if w.delivered == 0 || w.acked == 0 || w.rows == 0 {
			t.Errorf("%s: %d frames, %d acks, %d rows: the run says nothing", c.name, w.delivered, w.acked, w.rows)
		}
	}
}
