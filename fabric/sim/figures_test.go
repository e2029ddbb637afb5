package sim

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// sheet is a fabric's data sheet, written down a second time and by hand: what
// the models imply is computed from here, never from the models.
type sheet struct {
	rate                   float64 // bytes per second
	payload, header, least int     // bytes of a packet
	send, delay, receive   time.Duration
	multicast              bool
	cycle, slot, guard     time.Duration
}

var sheets = map[string]sheet{
	"data-vortex": {rate: 2 * 4.4e9, payload: 64 / 8, header: 64 / 8, send: 300, delay: 600, receive: 300},
	"ethernet":    {rate: 25e9 / 8, payload: 1500 - 20 - 8, header: 8 + 18 + 12 + 20 + 8, least: 64 + 8 + 12, send: 3_000, delay: 1_200, receive: 9_000},
	"ib-rc":       {rate: 4 * 25e9 / 8, payload: 4096, header: 8 + 12 + 16 + 4 + 2, send: 200, delay: 510, receive: 200},
	"rapidio":     {rate: 4 * 6.25e9 * 8 / 10 / 8, payload: 256, header: 10 + 2 + 4, least: 16, send: 300, delay: 310, receive: 300, multicast: true},
	"sharp":       {rate: 4 * 25e9 / 8, payload: 256, header: 8 + 40 + 12 + 8 + 4 + 2, send: 250, delay: 2_320, receive: 250, multicast: true},
	"tte": {
		rate: 1e9 / 8, payload: 1500, header: 8 + 18 + 12, least: 64 + 8 + 12, send: 2_000, delay: 15_000, receive: 3_000, multicast: true,
		cycle: time.Millisecond, slot: 100 * time.Microsecond, guard: 2 * time.Microsecond,
	},
	"wan": {rate: 1e9 / 8, payload: 1500 - 20 - 8, header: 8 + 18 + 12 + 20 + 8, least: 64 + 8 + 12, send: 3_000, delay: 35 * time.Millisecond, receive: 9_000},
}

// wire is how long the packets of a message take, one after the other.
func (s *sheet) wire(size int) (packets []time.Duration) {
	for first := true; first || size > 0; first = false {
		n := min(size, s.payload)
		size -= n
		bytes := max(n+s.header, s.least)
		packets = append(packets, time.Duration(math.Ceil(float64(bytes)/s.rate*1e9-1e-6)))
	}
	return packets
}

// leaves lists when frames of a size, all handed over at an instant by the
// member with a rank, are on the wire as a whole: a host that prepares one frame
// after the other, and a wire that takes packets one after the other, in slots
// if there are any.
func (s *sheet) leaves(at time.Duration, rank, size, frames int) (ends []time.Duration) {
	ready, wire := at, at
	for range frames {
		ready += s.send
		wire = max(wire, ready)
		if s.cycle == 0 {
			wire += s.together(size)
		} else {
			for _, p := range s.wire(size) {
				wire = s.open(wire, rank, p) + p
			}
		}
		ends = append(ends, wire)
	}
	return ends
}

// together is how long the packets of a message take without a pause.
func (s *sheet) together(size int) time.Duration {
	bytes := 0
	for first := true; first || size > 0; first = false {
		bytes += max(min(size, s.payload)+s.header, s.least)
		size -= s.payload
	}
	return time.Duration(math.Ceil(float64(bytes)/s.rate*1e9 - 1e-6))
}

// open is when a packet may start.
func (s *sheet) open(t time.Duration, rank int, p time.Duration) time.Duration {
	for k := t/s.cycle - 1; ; k++ {
		start := k*s.cycle + time.Duration(rank)*s.slot + s.guard
		if end := start + s.slot - 2*s.guard; max(start, t)+p <= end {
			return max(start, t)
		}
	}
}

// probe is a handler that notes when.
type probe struct {
	n        *Network
	answer   func(fabric.Frame)
	arrived  []time.Duration
	settled  []time.Duration
	failures int
}

func (p *probe) Deliver(_ fabric.MemberID, frames []fabric.Frame) {
	for _, f := range frames {
		p.arrived = append(p.arrived, p.n.Now())
		if p.answer != nil {
			p.answer(f)
		}
	}
}
func (p *probe) Gap(fabric.MemberID, fabric.Gap)        { p.failures++ }
func (p *probe) Row(fabric.MemberID, fabric.Row)        {}
func (p *probe) Link(fabric.MemberID, fabric.LinkState) {}
func (p *probe) Resolve(settled []fabric.Resolution) {
	for _, r := range settled {
		p.settled = append(p.settled, p.n.Now())
		if !r.Acked() {
			p.failures++
		}
	}
}

// lab is a network of five members without chance, at the start of a cycle.
type lab struct {
	n      *Network
	probes []*probe
	at     time.Duration
}

func newLab(m Model) (*lab, error) {
	var cfg Config
	m.Apply(&cfg)
	f := &cfg.Faults
	f.Jitter, f.Loss, f.Reorder, f.ClockError = 0, 0, 0, 0
	cfg.RetransmitAfter = time.Minute
	cfg.TicketTimeout = time.Hour
	n, err := New(cfg)
	if err != nil {
		return nil, err
	}
	l := &lab{n: n}
	for id := fabric.MemberID(1); id <= 5; id++ {
		p := &probe{n: n}
		l.probes = append(l.probes, p)
		if _, err := n.Join(id, p); err != nil {
			return nil, err
		}
	}
	l.at = time.Second
	n.Run(l.at)
	return l, nil
}

// send has member 1 send frames of a size to members 2 to 1+to, and waits.
func (l *lab) send(size, frames, to int) error {
	batch := make([]fabric.Outgoing, frames)
	for i := range batch {
		batch[i] = fabric.Outgoing{Body: make([]byte, size), Ticket: uint64(i) + 1}
		for k := range to {
			batch[i].To = append(batch[i].To, fabric.MemberID(2+k))
		}
	}
	if err := l.n.Port(1).Send(batch); err != nil {
		return err
	}
	l.n.Advance(10 * time.Second)
	failures := 0
	for _, p := range l.probes {
		failures += p.failures
	}
	if failures > 0 || len(l.probes[0].settled) != frames*to {
		return fmt.Errorf("%d gaps and losses, %d of %d tickets settled", failures, len(l.probes[0].settled), frames*to)
	}
	return nil
}

// rounding is what rounding to nanoseconds may add up to for each frame.
const rounding = 1.0

// check measures a model and compares it with a data sheet.
func (s *sheet) check(m Model) error {
	return errors.Join(s.checkLatency(m), s.checkRoundTrip(m), s.checkRate(m), s.checkSmall(m), s.checkLarge(m), s.checkFanOut(m))
}

func differ(what string, got, want time.Duration, frames int) error {
	if math.Abs(float64(got-want)) <= rounding*float64(frames) {
		return nil
	}
	return fmt.Errorf("%s: %v, the data sheet implies %v", what, got, want)
}

const small, frameBytes = 256, 32

// checkLatency: how long a small frame takes to the other's handler, and until
// its ack is back.
func (s *sheet) checkLatency(m Model) error {
	l, err := newLab(m)
	if err != nil {
		return err
	}
	if err := l.send(small, 1, 1); err != nil {
		return err
	}
	left := s.leaves(l.at, 0, small+frameBytes, 1)[0]
	ack := s.wire(0)[0]
	back := left + s.delay
	if s.cycle > 0 {
		back = s.open(back, 1, ack)
	}
	return errors.Join(
		differ("one way", l.probes[1].arrived[0]-l.at, left+s.delay+s.receive-l.at, 1),
		differ("ticket", l.probes[0].settled[0]-l.at, back+ack+s.delay-l.at, 2))
}

// checkRoundTrip: the other answers at once with as much.
func (s *sheet) checkRoundTrip(m Model) error {
	l, err := newLab(m)
	if err != nil {
		return err
	}
	l.probes[1].answer = func(f fabric.Frame) {
		if err = l.n.Port(2).Send([]fabric.Outgoing{{To: []fabric.MemberID{1}, Body: f.Body}}); err != nil {
			l.probes[1].failures++
		}
	}
	if err := l.send(small, 1, 1); err != nil {
		return err
	}
	there := s.leaves(l.at, 0, small+frameBytes, 1)[0] + s.delay + s.receive
	back := s.leaves(there, 1, small+frameBytes, 1)[0] + s.delay + s.receive
	if s.cycle > 0 {
		back += s.wire(0)[0] // the ack has waited for the slot, too, and goes first
	}
	return differ("round trip", l.probes[0].arrived[0]-l.at, back-l.at, 2)
}

// checkRate: many frames in a row leave as fast as host and wire can.
func (s *sheet) checkRate(m Model) error {
	l, err := newLab(m)
	if err != nil {
		return err
	}
	const frames, size = 200, 4096
	if err := l.send(size, frames, 1); err != nil {
		return err
	}
	left := s.leaves(l.at, 0, size+frameBytes, frames)
	handled := time.Duration(0)
	for _, end := range left {
		handled = max(handled, end+s.delay) + s.receive
	}
	return differ("200 frames of 4 KiB", l.probes[1].arrived[frames-1]-l.at, handled-l.at, frames)
}

// checkSmall: many small frames in a row, until their acks are back.
func (s *sheet) checkSmall(m Model) error {
	l, err := newLab(m)
	if err != nil {
		return err
	}
	const frames = 200
	if err := l.send(0, frames, 1); err != nil || s.cycle > 0 {
		return err // with slots, acks of several frames share a packet
	}
	left := s.leaves(l.at, 0, frameBytes, frames)[frames-1]
	return differ("200 empty frames", l.probes[0].settled[frames-1]-l.at, left+2*s.delay+s.wire(0)[0]-l.at, frames)
}

// checkLarge: one frame of many packets.
func (s *sheet) checkLarge(m Model) error {
	l, err := newLab(m)
	if err != nil {
		return err
	}
	const size = 48 << 10
	if err := l.send(size-frameBytes, 1, 1); err != nil {
		return err
	}
	return differ("48 KiB", l.probes[1].arrived[0]-l.at, s.leaves(l.at, 0, size, 1)[0]+s.delay+s.receive-l.at, 1)
}

// checkFanOut: the last of four receivers of one frame.
func (s *sheet) checkFanOut(m Model) error {
	l, err := newLab(m)
	if err != nil {
		return err
	}
	const size, to = 8 << 10, 4
	if err := l.send(size, 1, to); err != nil {
		return err
	}
	copies := to
	if s.multicast {
		copies = 1
	}
	want := s.leaves(l.at, 0, size+frameBytes, copies)[copies-1] + s.delay + s.receive
	return differ("8 KiB to four", l.probes[to].arrived[0]-l.at, want-l.at, to)
}

// TestFigures: what is measured in virtual time is what the figures imply.
func TestFigures(t *testing.T) {
	for _, m := range Models() {
		s, ok := sheets[m.Name]
		if !ok {
			t.Errorf("%s has no data sheet here", m.Name)
			continue
		}
		if err := s.check(m); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

// TestWrongFiguresShow is the negative control of TestFigures: a figure that is
// off by a tenth, or a yes that should be a no, is found in every model.
func TestWrongFiguresShow(t *testing.T) {
	tenth := func(v int) int { return v + v/10 + 1 }
	later := func(d time.Duration) time.Duration { return d + d/10 }
	for what, change := range map[string]func(m *Model) (applies bool){
		"Rate":         func(m *Model) bool { m.Medium.Rate = tenth(m.Medium.Rate); return true },
		"PayloadBytes": func(m *Model) bool { m.Medium.PayloadBytes = tenth(m.Medium.PayloadBytes); return true },
		"HeaderBytes":  func(m *Model) bool { m.Medium.HeaderBytes = tenth(m.Medium.HeaderBytes); return true },
		"MinPacket": func(m *Model) bool {
			m.Medium.MinPacket = 2*m.Medium.MinPacket + m.Medium.HeaderBytes + 100
			return true
		},
		"SendCost":    func(m *Model) bool { m.Medium.SendCost = later(m.Medium.SendCost); return true },
		"ReceiveCost": func(m *Model) bool { m.Medium.ReceiveCost = later(m.Medium.ReceiveCost); return true },
		"Delay":       func(m *Model) bool { m.Faults.Delay = later(m.Faults.Delay); return true },
		"Multicast":   func(m *Model) bool { m.Medium.Multicast = !m.Medium.Multicast; return true },
		"Cycle":       func(m *Model) bool { m.Medium.Cycle = later(m.Medium.Cycle); return m.Medium.scheduled() },
		"Slot":        func(m *Model) bool { m.Medium.Slot = later(m.Medium.Slot); return m.Medium.scheduled() },
		"Guard":       func(m *Model) bool { m.Medium.Guard = later(m.Medium.Guard); return m.Medium.scheduled() },
	} {
		for _, m := range Models() {
			s := sheets[m.Name]
			if !change(&m) {
				continue
			}
			if err := s.check(m); err == nil {
				t.Errorf("%s: a wrong %s was not noticed", m.Name, what)
			}
		}
	}
}

// TestPublishedFigures holds the models against what was published of whole
// operations.
func TestPublishedFigures(t *testing.T) {
	within := func(what string, got time.Duration, low, high float64) {
		if us := float64(got) / 1e3; us < low || us > high {
			t.Errorf("%s takes %v, published are %v to %v µs", what, got, low, high)
		}
	}
	oneWay := func(name string, size, to int) time.Duration {
		m, err := ModelByName(name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := newLab(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.send(size, 1, to); err != nil {
			t.Fatal(err)
		}
		return l.probes[to].arrived[0] - l.at
	}
	within("ib-rc: 32 bytes one way (0.83 µs and a switch of 0.09 µs)", oneWay("ib-rc", 32, 1), 0.88, 0.96)
	within("ib-rc: 32 KiB one way (4.57 µs and a switch)", oneWay("ib-rc", 32<<10, 1), 3.4, 5.0)
	within("sharp: 8 bytes to all (allreduce on 128 hosts 2.83 µs)", oneWay("sharp", 8, 4), 2.77, 2.89)
	within("ethernet: half a round trip (11 to 15 µs without a wire)", oneWay("ethernet", 256, 1), 11, 16.5)
	within("wan: one way", oneWay("wan", 256, 1), 35_000, 35_100)
	// 4.4 GB/s of payload.
	within("data-vortex: 440 KB, 100 µs and its latency", oneWay("data-vortex", 440_000, 1), 101, 102)
}
