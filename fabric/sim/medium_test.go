package sim

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// plain is a Medium whose arithmetic is easy: a byte takes a nanosecond.
var plain = Medium{Name: "plain", Rate: 1e9, PayloadBytes: 1000, HeaderBytes: 100}

func TestMediumValidate(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"nothing":            {func(*Config) {}, ""},
		"no medium":          {func(c *Config) { c.Medium = Medium{} }, ""},
		"schedule":           {func(c *Config) { c.Medium.Cycle, c.Medium.Slot, c.Medium.Guard = 10_000, 2_000, 450 }, ""},
		"name":               {func(c *Config) { c.Medium.Name = "" }, "Medium.Name is empty"},
		"rate":               {func(c *Config) { c.Medium.Rate = 0 }, "Medium.Rate is 0"},
		"payload":            {func(c *Config) { c.Medium.PayloadBytes = -1 }, "Medium.PayloadBytes is -1"},
		"header":             {func(c *Config) { c.Medium.HeaderBytes = 1 << 30 }, "Medium.HeaderBytes is 1073741824"},
		"packet":             {func(c *Config) { c.Medium.MinPacket = -1 }, "Medium.MinPacket is -1"},
		"send cost":          {func(c *Config) { c.Medium.SendCost = -1 }, "Medium.SendCost is -1ns"},
		"receive cost":       {func(c *Config) { c.Medium.ReceiveCost = -1 }, "Medium.ReceiveCost is -1ns"},
		"cycle":              {func(c *Config) { c.Medium.Cycle = -1 }, "Medium.Cycle is -1ns"},
		"slot alone":         {func(c *Config) { c.Medium.Slot = 5 }, "Medium.Slot is 5ns and Guard 0s without a Cycle"},
		"one slot":           {func(c *Config) { c.Medium.Cycle, c.Medium.Slot = 3_000, 2_000 }, "want room for two members"},
		"unbounded packets":  {func(c *Config) { c.Medium.Cycle, c.Medium.Slot, c.Medium.PayloadBytes = 9_000, 2_000, 0 }, "Medium.PayloadBytes is 0 with a Cycle"},
		"slot too short":     {func(c *Config) { c.Medium.Cycle, c.Medium.Slot, c.Medium.Guard = 9_000, 2_000, 451 }, "is 1.098µs, want room for one packet: 1.1µs"},
		"guard and clocks":   {func(c *Config) { c.Medium.Cycle, c.Medium.Slot, c.Faults.ClockError = 9_000, 2_000, 1 }, "Medium.Guard is 0s, want twice Faults.ClockError"},
		"bandwidth too":      {func(c *Config) { c.Faults.Bandwidth = 5 }, "Faults.Bandwidth is 5 beside a Medium.Rate"},
		"lossless with loss": {func(c *Config) { c.Medium.Lossless, c.Faults.Corrupt = true, 0.1 }, "Corrupt 0.1 on a Medium that is Lossless"},
		"lossless, too late": {func(c *Config) { c.Medium.Lossless, c.LinkTimeout = true, time.Hour }, "LinkTimeout is 1h0m0s on a Medium that is Lossless"},
	} {
		c0 := Config{Medium: plain}
		c.change(&c0)
		err := c0.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	n, _ := pair(t, Config{Medium: plain})
	if err := n.SetLink(1, 2, Faults{Bandwidth: 1}); err == nil {
		t.Error("a link of a network with a Medium has a bandwidth of its own")
	}
}

func TestWireBytes(t *testing.T) {
	m := Medium{Rate: 3, PayloadBytes: 10, HeaderBytes: 4, MinPacket: 9}
	for _, c := range []struct{ size, packets, bytes int }{{0, 1, 9}, {5, 1, 9}, {6, 1, 10}, {10, 1, 14}, {11, 2, 23}, {30, 3, 42}, {31, 4, 51}} {
		if p, b := m.packets(c.size), m.wireBytes(c.size, 0, c.packets); p != c.packets || b != c.bytes {
			t.Errorf("%d bytes: %d packets, %d bytes on the wire; want %d, %d", c.size, p, b, c.packets, c.bytes)
		}
	}
	if got := m.wireBytes(31, 1, 2); got != 28 {
		t.Errorf("packets 1 and 2 of 31 bytes: %d on the wire", got)
	}
	if got := m.wireTime(1); got != 333_333_334 {
		t.Errorf("1 byte at 3 bytes/s: %d ns", got)
	}
	whole := Medium{HeaderBytes: 4}
	if p, b := whole.packets(1<<20), whole.wireBytes(1<<20, 0, 1); p != 1 || b != 1<<20+4 {
		t.Errorf("without a bound: %d packets, %d bytes", p, b)
	}
}

// slotWatch looks at what a scheduled network does from outside: Delay before a
// frame arrives its last byte was on the wire, and that has to be in the slot of
// its sender.
func slotWatch(cfg *Config, outside *int, seen *int) {
	m, delay := cfg.Medium, cfg.Faults.Delay
	cfg.Trace = func(e Event) {
		var sender fabric.MemberID
		switch e.Kind {
		case "frames", "row":
			sender = e.From
		case "ack", "row ack":
			sender = e.To
		default:
			return
		}
		*seen++
		if slot := (e.At - delay - 1) % m.Cycle / m.Slot; slot != time.Duration(sender-1) {
			*outside++
		}
	}
}

// TestSlots: with clocks within their error, nobody sends in a slot of others;
// with one that is off by more, it shows.
func TestSlots(t *testing.T) {
	run := func(off time.Duration) (seen, outside int) {
		cfg := modelConfig(t, "tte")
		cfg.Seed, cfg.Faults.Jitter = Seed(t, 21), 0
		slotWatch(&cfg, &outside, &seen)
		n, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		n.LogSeed(t)
		probes := make([]*probe, 10)
		for i := range probes {
			probes[i] = &probe{n: n}
			if _, err := n.Join(fabric.MemberID(i+1), probes[i]); err != nil {
				t.Fatal(err)
			}
		}
		n.Advance(time.Millisecond)
		if off != 0 {
			n.SetClock(4, off, 0)
		}
		for round := range 30 {
			for id := range fabric.MemberID(10) {
				o := fabric.Outgoing{To: []fabric.MemberID{(id+3)%10 + 1, (id+6)%10 + 1}, Lane: fabric.Lane(round % fabric.Lanes), Body: make([]byte, 317*round), Ticket: 1}
				if err := n.Port(id + 1).Send([]fabric.Outgoing{o}); err != nil {
					t.Fatal(err)
				}
				row := fabric.Row{Owner: id + 1, Incarnation: 1, Version: uint64(round + 1)}
				if err := n.Port(id+1).Publish(row, o.To); err != nil {
					t.Fatal(err)
				}
			}
			n.Advance(777 * time.Microsecond)
		}
		n.Advance(time.Second)
		for i, p := range probes {
			if len(p.arrived) != 60 || p.failures > 0 {
				t.Errorf("member %d: %d of 60 frames, %d failures", i+1, len(p.arrived), p.failures)
			}
		}
		return seen, outside
	}
	if seen, outside := run(0); outside > 0 || seen < 1200 {
		t.Errorf("%d of %d packets outside of their slots", outside, seen)
	}
	if _, outside := run(60 * time.Microsecond); outside == 0 {
		t.Error("a clock that is 60 µs ahead is not seen")
	}
}

// TestSlotsFollowTheClock: a member whose clock drifts sends by it.
func TestSlotsFollowTheClock(t *testing.T) {
	cfg := modelConfig(t, "tte")
	n, _ := pair(t, cfg)
	n.SetClock(1, 3*time.Microsecond, 1e-3)
	p := n.Port(1)
	for at := int64(0); at < 1e9; at += 12_345_677 {
		from, until := p.window(at, 1000)
		m := n.members[0]
		open, shut := m.local(from)%int64(cfg.Medium.Cycle), m.local(until)%int64(cfg.Medium.Cycle)
		if from < at || open < 2_000 || open > 97_000 || shut < 97_990 || shut > 98_010 {
			t.Fatalf("at %d: from %d, until %d; on its clock %d to %d", at, from, until, open, shut)
		}
	}
}

func TestSlotsRunOut(t *testing.T) {
	n, err := New(modelConfig(t, "tte"))
	if err != nil {
		t.Fatal(err)
	}
	for id := fabric.MemberID(1); id <= 10; id++ {
		if _, err := n.Join(id, &probe{n: n}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.Join(11, &probe{n: n}); err == nil || !strings.Contains(err.Error(), "10 slots of 100µs in a cycle of 1ms") {
		t.Errorf("the eleventh member of ten slots: %v", err)
	}
	n.Kill(3)
	if _, err := n.Join(3, &probe{n: n}); err != nil {
		t.Errorf("a member that restarts keeps its slot: %v", err)
	}
}

// TestInOrder: on a fabric that keeps the order nothing overtakes within a lane;
// on one that does not, packets do, and only frames are handed over in order.
func TestInOrder(t *testing.T) {
	overtaken := func(inOrder bool) (n int) {
		cfg := Config{Seed: Seed(t, 5), Medium: plain, Faults: Faults{Delay: 10_000, Jitter: 20_000, Reorder: 0.05, ReorderBy: time.Millisecond}}
		cfg.Medium.InOrder = inOrder
		highest := map[fabric.Lane]uint64{}
		cfg.Trace = func(e Event) {
			if e.Kind != "frames" {
				return
			}
			if e.First < highest[e.Lane] {
				n++
			}
			highest[e.Lane] = max(highest[e.Lane], e.First)
		}
		net, rs := pair(t, cfg)
		for i := range 300 {
			sendN(t, net, 1, fabric.Lane(i%2), 100)
		}
		net.Advance(time.Second)
		if len(rs[2].frames) != 300 {
			t.Errorf("%d of 300 frames", len(rs[2].frames))
		}
		return n
	}
	if n := overtaken(true); n > 0 {
		t.Errorf("InOrder: %d packets were overtaken", n)
	}
	if n := overtaken(false); n == 0 {
		t.Error("without InOrder no packet was overtaken")
	}
}

// TestUrgentOvertakes: an urgent frame waits for 64 KiB of a large one, not for
// all of it; a frame as urgent waits for all.
func TestUrgentOvertakes(t *testing.T) {
	arrival := func(lane fabric.Lane) time.Duration {
		n, rs := pair(t, Config{Medium: plain})
		start := n.Now()
		sendN(t, n, 1, fabric.LaneBulk, 1<<20-32)
		sendN(t, n, 1, lane, 68)
		n.Advance(time.Second)
		for i, f := range rs[2].frames {
			if f.BodyLen == 68 {
				return rs[2].at[i] - start
			}
		}
		t.Fatal("the small frame did not arrive")
		return 0
	}
	// 65 packets of 1,100 bytes, then 200.
	if got, want := arrival(fabric.LaneControl), time.Duration(65*1100+200); got != want {
		t.Errorf("the urgent frame took %v, want %v", got, want)
	}
	// 1,048 packets and one of 576 bytes, then 200.
	if got, want := arrival(fabric.LaneBulk), time.Duration(1048*1100+676+200); got != want {
		t.Errorf("the bulk frame took %v, want %v", got, want)
	}
}

// TestMulticastCarriesAllPatches: one transmission holds the patches of all.
func TestMulticastCarriesAllPatches(t *testing.T) {
	last := func(multicast bool) time.Duration {
		m := plain
		m.Multicast = multicast
		l, err := newLab(Model{Medium: m})
		if err != nil {
			t.Fatal(err)
		}
		o := fabric.Outgoing{To: []fabric.MemberID{2, 3, 4}, Body: make([]byte, 68), Ticket: 1}
		for range o.To {
			o.Patch = append(o.Patch, make([]byte, 50))
		}
		if err := l.n.Port(1).Send([]fabric.Outgoing{o}); err != nil {
			t.Fatal(err)
		}
		l.n.Advance(time.Second)
		return l.probes[3].arrived[0] - l.at
	}
	if got := last(true); got != 100+3*50+100 {
		t.Errorf("multicast: %v", got)
	}
	if got := last(false); got != 3*(100+50+100) {
		t.Errorf("three copies: %v", got)
	}
}

// TestLatencyIsDistributed: chance adds to the figures what the model says.
func TestLatencyIsDistributed(t *testing.T) {
	for _, m := range Models() {
		cfg := Config{Seed: Seed(t, 3)}
		m.Apply(&cfg)
		cfg.Faults.Loss, cfg.Medium.InOrder, cfg.Medium.Cycle, cfg.Medium.Slot, cfg.Medium.Guard, cfg.Faults.ClockError = 0, false, 0, 0, 0, 0
		n, rs := pair(t, cfg)
		s := sheets[m.Name]
		base := s.send + s.together(132) + s.delay + s.receive
		const frames = 4000
		least, sum := time.Hour, time.Duration(0)
		for i := range frames {
			start := n.Now()
			sendN(t, n, 1, fabric.LaneAppend, 100)
			for len(rs[2].frames) == i {
				n.Step()
			}
			took := rs[2].at[i] - start
			least, sum = min(least, took), sum+took
			n.Advance(10 * cfg.Faults.Delay)
		}
		f := &cfg.Faults
		want := float64(base+f.Jitter) + f.Reorder*float64(f.ReorderBy)
		// Three standard errors of the mean.
		spread := 3 * math.Sqrt((math.Pow(float64(f.Jitter), 2)+2*f.Reorder*math.Pow(float64(f.ReorderBy), 2))/frames)
		if least < base || float64(least) > float64(base)+0.01*float64(f.Jitter)+2 {
			t.Errorf("%s: the fastest of %d frames took %v, the figures imply %v", m.Name, frames, least, base)
		}
		if mean := float64(sum) / frames; math.Abs(mean-want) > spread+1 {
			t.Errorf("%s: on average %v, the figures imply %v ± %v", m.Name, time.Duration(mean), time.Duration(want), time.Duration(spread))
		}
	}
}
