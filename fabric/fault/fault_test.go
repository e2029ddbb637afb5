package fault_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
	"github.com/raftdv/dv/fabric/fault"
	"github.com/raftdv/dv/fabric/sim"
)

// notes is a handler that writes everything down.
type notes struct {
	n       *sim.Network
	frames  []uint64 // stream sequences
	at      []time.Duration
	gaps    []fabric.Gap
	rows    []uint64
	settled []fabric.Resolution
	links   []fabric.LinkState
}

func (r *notes) Deliver(_ fabric.MemberID, frames []fabric.Frame) {
	for _, f := range frames {
		r.frames = append(r.frames, f.Stream)
		r.at = append(r.at, r.n.Now())
	}
}
func (r *notes) Gap(_ fabric.MemberID, g fabric.Gap)        { r.gaps = append(r.gaps, g) }
func (r *notes) Row(_ fabric.MemberID, row fabric.Row)      { r.rows = append(r.rows, row.Version) }
func (r *notes) Resolve(settled []fabric.Resolution)        { r.settled = append(r.settled, settled...) }
func (r *notes) Link(_ fabric.MemberID, s fabric.LinkState) { r.links = append(r.links, s) }

// duo is members 1 and 2, wrapped, in virtual time.
type duo struct {
	t    *testing.T
	n    *sim.Network
	c    *fault.Controller
	port [3]fabric.Port
	seen [3]*notes
}

func newDuo(t *testing.T, cfg fault.Config) *duo {
	t.Helper()
	n, err := sim.New(sim.Config{Seed: 1, Faults: sim.Faults{Delay: time.Millisecond}, RowInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Clock = n
	c, err := fault.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d := &duo{t: t, n: n, c: c}
	for id := fabric.MemberID(1); id <= 2; id++ {
		d.seen[id] = &notes{n: n}
		d.port[id], err = c.Wrap(id, d.seen[id], func(h fabric.Handler) (fabric.Port, error) { return n.Join(id, h) })
		if err != nil {
			t.Fatal(err)
		}
	}
	n.Advance(100 * time.Millisecond)
	return d
}

func (d *duo) send(stream uint64, lane fabric.Lane) error {
	return d.port[1].Send([]fabric.Outgoing{{
		To: []fabric.MemberID{2}, Lane: lane, Stream: stream, Ticket: stream, Body: []byte("some bytes"), Patch: [][]byte{{7}},
	}})
}

func (d *duo) mustSend(stream uint64, lane fabric.Lane) {
	d.t.Helper()
	if err := d.send(stream, lane); err != nil {
		d.t.Fatal(err)
	}
}

func (d *duo) rule(r fault.Rule) {
	d.t.Helper()
	if err := d.c.SetRule(1, 2, r); err != nil {
		d.t.Fatal(err)
	}
}

// TestDrop: the ticket says lost and why, the receiver is told which frame is
// missing, in its place; the others arrive.
func TestDrop(t *testing.T) {
	for _, test := range []struct {
		rule fault.Rule
		why  error
	}{{fault.Rule{Drop: 1}, fault.ErrDropped}, {fault.Rule{Corrupt: 1}, fault.ErrCorrupted}} {
		d := newDuo(t, fault.Config{})
		d.mustSend(1, 0)
		d.rule(test.rule)
		d.mustSend(2, 0)
		d.rule(fault.Rule{})
		d.mustSend(3, 0)
		d.n.Advance(time.Second)
		if got := d.seen[2]; !slices.Equal(got.frames, []uint64{1, 3}) || !slices.Equal(got.gaps, []fabric.Gap{{First: 2, Count: 1}}) {
			t.Errorf("%v: frames %v, gaps %v", test.why, got.frames, got.gaps)
		}
		for _, r := range d.seen[1].settled {
			if lost := r.Ticket == 2; lost != (r.Err != nil) || lost && !(errors.Is(r.Err, test.why) && errors.Is(r.Err, fabric.ErrLost)) {
				t.Errorf("%v: ticket %d: %v", test.why, r.Ticket, r.Err)
			}
		}
		if len(d.seen[1].settled) != 3 {
			t.Errorf("%v: tickets %+v", test.why, d.seen[1].settled)
		}
		if c := d.c.Counts(); c.Dropped+c.Corrupted != 1 {
			t.Errorf("counts %+v", c)
		}
		s := d.port[1].(fabric.StatsReporter).Stats(nil)[0].Lane[0]
		if s.Sent != 3 || s.Acked != 2 || s.Lost != 1 || s.Queued != 0 {
			t.Errorf("stats %+v", s)
		}
	}
}

// TestDropWithoutTicket: losses of ticket 0 are reported, acks are not.
func TestDropWithoutTicket(t *testing.T) {
	d := newDuo(t, fault.Config{})
	send := func() {
		if err := d.port[1].Send([]fabric.Outgoing{{To: []fabric.MemberID{2}}}); err != nil {
			t.Fatal(err)
		}
	}
	send()
	d.rule(fault.Rule{Drop: 1})
	send()
	d.n.Advance(time.Second)
	if s := d.seen[1].settled; len(s) != 1 || s[0].Ticket != 0 || !errors.Is(s[0].Err, fault.ErrDropped) {
		t.Errorf("resolved %+v, want one loss", s)
	}
}

// TestCallersMayUseEveryTicket: also those that this package would make.
func TestCallersMayUseEveryTicket(t *testing.T) {
	d := newDuo(t, fault.Config{})
	want := []uint64{1 << 63, 1<<63 + 1, 1<<64 - 1}
	d.rule(fault.Rule{Drop: 0.5})
	for range 20 {
		for _, ticket := range want {
			if err := d.port[1].Send([]fabric.Outgoing{{To: []fabric.MemberID{2}, Ticket: ticket}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.n.Advance(time.Second)
	got := map[uint64]int{}
	for _, r := range d.seen[1].settled {
		got[r.Ticket]++
	}
	for _, ticket := range want {
		if got[ticket] != 20 {
			t.Errorf("ticket %#x resolved %d times, want 20: %v", ticket, got[ticket], got)
		}
	}
}

func TestDelayKeepsOrder(t *testing.T) {
	d := newDuo(t, fault.Config{Seed: 3})
	d.rule(fault.Rule{Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond})
	start := d.n.Now()
	for i := uint64(1); i <= 20; i++ {
		d.mustSend(i, fabric.LaneAppend)
	}
	d.rule(fault.Rule{})
	d.mustSend(21, fabric.LaneAppend) // waits for those before it
	d.mustSend(22, fabric.LaneControl)
	d.n.Advance(2 * time.Second)
	got := d.seen[2]
	if len(got.frames) != 22 || got.frames[0] != 22 || !slices.IsSorted(got.frames[1:]) {
		t.Errorf("delivered %v", got.frames)
	}
	if first, second := got.at[0]-start, got.at[1]-start; first > 5*time.Millisecond || second < 50*time.Millisecond {
		t.Errorf("the frame of another lane took %v, the first that was delayed %v", first, second)
	}
}

// TestReorder: lanes overtake each other, a lane never itself.
func TestReorder(t *testing.T) {
	d := newDuo(t, fault.Config{Seed: 5})
	d.rule(fault.Rule{Reorder: 0.3, ReorderBy: 10 * time.Millisecond})
	for i := uint64(1); i <= 90; i++ {
		d.mustSend(i, fabric.Lane(i%3))
		d.n.Advance(100 * time.Microsecond)
	}
	d.n.Advance(time.Second)
	var lanes [3][]uint64
	for _, s := range d.seen[2].frames {
		lanes[s%3] = append(lanes[s%3], s)
	}
	for _, l := range lanes {
		if len(l) != 30 || !slices.IsSorted(l) {
			t.Errorf("a lane is out of order: %v", l)
		}
	}
	if slices.IsSorted(d.seen[2].frames) || d.c.Counts().Reordered == 0 {
		t.Error("no frame was overtaken by another lane's")
	}
}

// TestCut: a cut looks like a link that is down at both ends; rows stop in the
// direction that is cut only, and the newest arrives after Mend.
func TestCut(t *testing.T) {
	d := newDuo(t, fault.Config{})
	row := func(id fabric.MemberID, version uint64) {
		t.Helper()
		if err := d.port[id].Publish(fabric.Row{Owner: id, Incarnation: 1, Version: version}, []fabric.MemberID{1, 2}); err != nil {
			t.Fatal(err)
		}
	}
	row(1, 1)
	d.mustSend(1, 0)
	d.n.Advance(10 * time.Millisecond)
	d.c.Cut(1, 2)
	d.n.Advance(10 * time.Millisecond)
	for id := 1; id <= 2; id++ {
		if l := d.seen[id].links; len(l) != 2 || l[1].Up || !errors.Is(l[1].Err, fault.ErrCut) {
			t.Errorf("links at %d: %+v", id, l)
		}
	}
	if err := d.send(2, 0); !errors.Is(err, fabric.ErrLinkDown) || !errors.Is(err, fault.ErrCut) {
		t.Errorf("Send on a cut link: %v", err)
	}
	if err := d.port[2].Send([]fabric.Outgoing{{To: []fabric.MemberID{1}, Ticket: 9}}); !errors.Is(err, fabric.ErrLinkDown) {
		t.Errorf("Send against a cut link: %v", err)
	}
	for v := uint64(2); v < 9; v++ {
		row(1, v)
		row(2, v)
		d.n.Advance(10 * time.Millisecond)
	}
	if got := d.seen[2].rows; !slices.Equal(got, []uint64{1}) {
		t.Errorf("rows through the cut: %v", got)
	}
	if got := d.seen[1].rows; len(got) != 7 {
		t.Errorf("rows against the cut: %v", got)
	}
	if s := d.port[1].(fabric.StatsReporter).Stats(nil)[0]; s.Up {
		t.Error("stats call a cut link up")
	}
	d.c.Cut(1, 2)
	d.c.Mend(1, 2)
	d.n.Advance(10 * time.Millisecond)
	if len(d.seen[1].links) != 2 {
		t.Error("one Mend for two Cuts")
	}
	d.c.Mend(1, 2)
	d.c.Mend(1, 2) // does nothing
	d.n.Advance(10 * time.Millisecond)
	if got := d.seen[2]; !slices.Equal(got.rows, []uint64{1, 8}) || !got.links[2].Up || got.links[2].Incarnation != 1 {
		t.Errorf("after Mend: rows %v, links %+v", got.rows, got.links)
	}
	d.mustSend(3, 0)
	d.n.Advance(10 * time.Millisecond)
	if got := d.seen[2]; !slices.Equal(got.frames, []uint64{1, 3}) || len(got.gaps) != 0 {
		t.Errorf("after Mend: frames %v, gaps %v; refused frames take no number", got.frames, got.gaps)
	}
	if c := d.c.Counts(); c.Refused != 2 || c.RowsWithheld == 0 {
		t.Errorf("counts %+v", c)
	}
}

// TestCutWhileHeld: what is held back when the link is cut is lost at once, and
// reported to the receiver when it can be (F1).
func TestCutWhileHeld(t *testing.T) {
	d := newDuo(t, fault.Config{})
	d.rule(fault.Rule{Delay: 5 * time.Millisecond})
	for i := uint64(1); i <= 5; i++ {
		d.mustSend(i, 0)
	}
	d.c.Cut(1, 2)
	d.n.Advance(time.Millisecond)
	if s := d.seen[1].settled; len(s) != 5 || !errors.Is(s[0].Err, fabric.ErrLinkDown) || !errors.Is(s[4].Err, fabric.ErrLinkDown) {
		t.Errorf("tickets %+v", s)
	}
	if err := d.c.Clear(); err != nil {
		t.Fatal(err)
	}
	d.n.Advance(10 * time.Millisecond)
	d.mustSend(6, 0)
	d.n.Advance(time.Second)
	missing := uint64(0)
	for _, g := range d.seen[2].gaps {
		missing += g.Count
	}
	if got := d.seen[2]; missing != 5 || !slices.Equal(got.frames, []uint64{6}) || len(d.seen[1].settled) != 6 {
		t.Errorf("%d reported missing, delivered %v, tickets %+v", missing, got.frames, d.seen[1].settled)
	}
	s := d.port[1].(fabric.StatsReporter).Stats(nil)[0].Lane[0]
	if s.Acked != 1 || s.Lost != 5 || s.Queued != 0 || s.QueuedBytes != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestHeldFramesAreBounded (F3).
func TestHeldFramesAreBounded(t *testing.T) {
	d := newDuo(t, fault.Config{QueueBytes: 1000})
	d.rule(fault.Rule{Delay: 10 * time.Millisecond})
	accepted := 0
	for i := range uint64(1000) {
		if err := d.send(i+1, 0); err == nil {
			accepted++
		} else if !errors.Is(err, fabric.ErrNoCredit) {
			t.Fatal(err)
		}
	}
	if accepted == 0 || accepted > 1000/42 {
		t.Errorf("%d frames of 43 bytes are held in 1000", accepted)
	}
	d.n.Advance(time.Second)
	if len(d.seen[2].frames) != accepted {
		t.Errorf("%d of %d frames delivered", len(d.seen[2].frames), accepted)
	}
	d.mustSend(5000, 0)
}

// TestHeldFramesEnd: a frame that cannot leave within MaxHold is lost, so that
// its ticket resolves in time (F2), and the receiver learns it later (F1).
func TestHeldFramesEnd(t *testing.T) {
	n, err := sim.New(sim.Config{Seed: 1, QueueBytes: 4 << 10, MaxFrame: 2 << 10, TicketTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	c, err := fault.New(fault.Config{Clock: n, MaxHold: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var port [3]fabric.Port
	var seen [3]*notes
	for id := fabric.MemberID(1); id <= 2; id++ {
		seen[id] = &notes{n: n}
		if port[id], err = c.Wrap(id, seen[id], func(h fabric.Handler) (fabric.Port, error) { return n.Join(id, h) }); err != nil {
			t.Fatal(err)
		}
	}
	n.Advance(time.Millisecond)
	if got := port[1].Capabilities().TicketTimeout; got != time.Hour+50*time.Millisecond {
		t.Errorf("ticket timeout %v", got)
	}
	n.Stall(2)
	if err := c.SetRule(1, 2, fault.Rule{Delay: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(12) { // four fit the port's two queues
		o := fabric.Outgoing{To: []fabric.MemberID{2}, Stream: i, Ticket: i + 1, Body: make([]byte, 1<<10)}
		if err := port[1].Send([]fabric.Outgoing{o}); err != nil {
			t.Fatal(err)
		}
	}
	n.Advance(100 * time.Millisecond)
	late := 0
	for _, r := range seen[1].settled {
		if errors.Is(r.Err, fabric.ErrTimeout) {
			late++
		}
	}
	if late == 0 {
		t.Errorf("no frame was given up: %+v", seen[1].settled)
	}
	n.Unstall(2)
	n.Advance(time.Second)
	missing := uint64(0)
	for _, g := range seen[2].gaps {
		missing += g.Count
	}
	if len(seen[1].settled) != 12 || int(missing) != late || len(seen[2].frames)+late != 12 {
		t.Errorf("%d tickets resolved, %d late, %d delivered, %d reported missing", len(seen[1].settled), late, len(seen[2].frames), missing)
	}
}

func TestKill(t *testing.T) {
	d := newDuo(t, fault.Config{})
	d.mustSend(1, 0)
	d.c.Kill(2)
	d.c.Kill(9) // nobody
	d.n.Advance(2 * time.Second)
	if got := d.seen[2]; len(got.frames) != 0 || len(got.links) != 1 {
		t.Errorf("a dead member was told %+v", got)
	}
	if err := d.port[2].Send([]fabric.Outgoing{{To: []fabric.MemberID{1}}}); !errors.Is(err, fabric.ErrClosed) {
		t.Errorf("Send of a dead member: %v", err)
	}
	if err := d.port[2].Publish(fabric.Row{Owner: 2, Incarnation: 1, Version: 1}, nil); !errors.Is(err, fabric.ErrClosed) {
		t.Errorf("Publish of a dead member: %v", err)
	}
	if l := d.seen[1].links; l[len(l)-1].Up {
		t.Error("its peer believes the link to be up")
	}
	if err := d.port[2].Close(); err != nil {
		t.Errorf("Close after Kill: %v", err)
	}
}

// TestRowsDropped: a row that is dropped is late, not lost (P5).
func TestRowsDropped(t *testing.T) {
	d := newDuo(t, fault.Config{Seed: 1, RowRetry: 20 * time.Millisecond})
	d.rule(fault.Rule{Drop: 1})
	if err := d.port[1].Publish(fabric.Row{Owner: 1, Incarnation: 1, Version: 1}, []fabric.MemberID{2}); err != nil {
		t.Fatal(err)
	}
	d.n.Advance(10 * time.Millisecond)
	if len(d.seen[2].rows) != 0 {
		t.Error("the row was not dropped")
	}
	d.n.Advance(50 * time.Millisecond)
	if !slices.Equal(d.seen[2].rows, []uint64{1}) {
		t.Errorf("rows %v", d.seen[2].rows)
	}
}

// TestWireFaults: they reach a port that can, and are refused for one that
// cannot.
func TestWireFaults(t *testing.T) {
	d := newDuo(t, fault.Config{})
	d.rule(fault.Rule{Wire: fault.WireFaults{Loss: 0.5}})
	for i := uint64(1); i <= 50; i++ {
		d.mustSend(i, 0)
	}
	d.n.Advance(5 * time.Second)
	if s := d.port[1].(fabric.StatsReporter).Stats(nil)[0]; s.Retransmissions == 0 || len(d.seen[2].frames) != 50 {
		t.Errorf("%d retransmissions, %d of 50 delivered", s.Retransmissions, len(d.seen[2].frames))
	}
	if err := d.c.Clear(); err != nil {
		t.Fatal(err)
	}
	before := d.port[1].(fabric.StatsReporter).Stats(nil)[0].Retransmissions
	for i := uint64(51); i <= 100; i++ {
		d.mustSend(i, 0)
	}
	d.n.Advance(5 * time.Second)
	if now := d.port[1].(fabric.StatsReporter).Stats(nil)[0].Retransmissions; now != before {
		t.Errorf("%d retransmissions after Clear", now-before)
	}

	c, err := fault.New(fault.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wrap(1, d.seen[1], func(fabric.Handler) (fabric.Port, error) { return plain{d.port[1]}, nil }); err != nil {
		t.Fatal(err)
	}
	err = c.SetRule(1, 2, fault.Rule{Wire: fault.WireFaults{Duplicate: 0.1}})
	if !errors.Is(err, fault.ErrUnsupported) || !strings.Contains(err.Error(), "use Drop") {
		t.Errorf("wire faults of a port that has none: %v", err)
	}
}

// plain hides what else a port can do.
type plain struct{ fabric.Port }

func TestPlainPortsStayPlain(t *testing.T) {
	d := newDuo(t, fault.Config{})
	c, err := fault.New(fault.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Wrap(1, d.seen[1], func(fabric.Handler) (fabric.Port, error) { return plain{d.port[1]}, nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.(fabric.StatsReporter); ok {
		t.Error("a port that does not count has become one that does")
	}
	want := errors.New("no port today")
	if _, err := c.Wrap(2, d.seen[2], func(fabric.Handler) (fabric.Port, error) { return nil, want }); !errors.Is(err, want) {
		t.Errorf("Wrap: %v", err)
	}
}

func TestValidation(t *testing.T) {
	if _, err := fault.New(fault.Config{MaxHold: -1, QueueBytes: -1, RowRetry: -1}); err == nil {
		t.Error("a bad config is taken")
	} else {
		for _, field := range []string{"MaxHold", "QueueBytes", "RowRetry"} {
			if !strings.Contains(err.Error(), field) {
				t.Errorf("%s is not named in: %v", field, err)
			}
		}
	}
	d := newDuo(t, fault.Config{})
	err := d.c.SetRule(1, 2, fault.Rule{
		Drop: -1, Corrupt: 2, Reorder: 3, Delay: time.Hour, Jitter: -1, ReorderBy: -1, Handling: -1, Wire: fault.WireFaults{Loss: 2, Duplicate: 2, Corrupt: 2, Reorder: 2},
	})
	for field := range strings.FieldsSeq("Drop Corrupt Reorder Delay Jitter ReorderBy Handling Wire.Loss Wire.Duplicate Wire.Corrupt Wire.Reorder") {
		if err == nil || !strings.Contains(err.Error(), "Rule."+field+" is ") {
			t.Errorf("%s is not named in: %v", field, err)
		}
	}
	if err := d.c.SetRule(1, 2, fault.Rule{Handling: 1}); !errors.Is(err, fault.ErrUnsupported) {
		t.Errorf("Handling in virtual time: %v", err)
	}
}

// TestRulesOfAll: a rule of one's own goes before one for all.
func TestRulesOfAll(t *testing.T) {
	d := newDuo(t, fault.Config{})
	if err := d.c.SetRule(0, 0, fault.Rule{Drop: 1}); err != nil {
		t.Fatal(err)
	}
	d.mustSend(1, 0)
	if err := d.c.SetRule(1, 0, fault.Rule{Delay: 1}); err != nil {
		t.Fatal(err)
	}
	d.mustSend(2, 0)
	d.n.Advance(time.Second)
	if got := d.seen[2]; !slices.Equal(got.frames, []uint64{2}) {
		t.Errorf("delivered %v, want only what the sender's own rule lets pass", got.frames)
	}
}

// TestSameSeedSameFate: in virtual time a run can be repeated.
func TestSameSeedSameFate(t *testing.T) {
	run := func(seed uint64) string {
		d := newDuo(t, fault.Config{Seed: seed})
		d.rule(fault.Rule{Drop: 0.3, Jitter: time.Millisecond, Reorder: 0.2, ReorderBy: 3 * time.Millisecond})
		for i := uint64(1); i <= 100; i++ {
			d.mustSend(i, fabric.Lane(i%3))
		}
		d.n.Advance(2 * time.Millisecond)
		d.c.Cut(2, 1)
		d.n.Advance(5 * time.Second)
		return fmt.Sprint(d.seen[2].frames, d.seen[2].gaps, d.n.Hash())
	}
	if a, b := run(1), run(1); a != b {
		t.Errorf("the same seed:\n%s\n%s", a, b)
	}
	if a, b := run(1), run(2); a == b {
		t.Error("another seed has the same fate")
	}
}

// TestSlowReceiver: Handling takes the receiver's time, on the wall clock.
func TestSlowReceiver(t *testing.T) {
	f := udpFactory(fault.Rule{Handling: 100 * time.Microsecond})
	for _, v := range fabrictest.Violations(t, f, "tickets/slow receiver", "credit/refused", "rows/latest wins") {
		t.Errorf("%s: %s", v.Case, v.Message)
	}
}

// TestLiveChanges: rules and cuts come and go while members send over sockets;
// the contract holds all the time.
func TestLiveChanges(t *testing.T) {
	base := udpFactory(fault.Rule{Drop: 0.01})
	f := base
	f.New = func(tb testing.TB, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
		cluster := base.New(tb, ids, handlers, opt)
		c := fault.ControllerOf(cluster.Port(ids[0]))
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				a, b := ids[i%len(ids)], ids[(i+1)%len(ids)]
				switch i % 8 {
				case 0:
					c.Cut(a, b)
				case 1:
					c.Clear()
				case 3:
					c.SetRule(a, b, fault.Rule{Delay: time.Millisecond, Drop: 0.2})
				case 5:
					c.SetRule(a, b, fault.Rule{})
				}
			}
		})
		end := cluster.Close
		cluster.Close = func() {
			close(stop)
			wg.Wait()
			end()
		}
		return cluster
	}
	for _, v := range fabrictest.Violations(t, f, "order/mesh", "order/concurrent senders", "tickets/acked", "rows/newest", "handler/serial", "close/under load") {
		t.Errorf("%s: %s", v.Case, v.Message)
	}
}
