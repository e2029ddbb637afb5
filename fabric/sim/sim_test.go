package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/raftdv/dv/fabric"
)

// everything is all faults at once.
var everything = Faults{
	Delay: 200 * time.Microsecond, Jitter: 300 * time.Microsecond, Loss: 0.05, Duplicate: 0.05, Corrupt: 0.02, Reorder: 0.05,
	Handling: time.Microsecond, ClockError: time.Millisecond, Bandwidth: 50 << 20,
	CutEvery: 150 * time.Millisecond, CutFor: 100 * time.Millisecond,
	PauseEvery: 400 * time.Millisecond, PauseFor: 60 * time.Millisecond,
	StallEvery: 200 * time.Millisecond, StallFor: 50 * time.Millisecond,
	KillEvery: 500 * time.Millisecond, KillFor: 100 * time.Millisecond,
}

// TestContractUnderAllFaults: F1, F2 and P5 hold whatever the network does.
func TestContractUnderAllFaults(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 3
	}
	base := Seed(t, 1)
	for i := range uint64(seeds) {
		t.Run(fmt.Sprintf("seed %#x", base+i), func(t *testing.T) {
			w := newWorld(t, 3+int(i)%4, Config{
				Seed: base + i, Faults: everything, Wire: i%2 == 0, LinkTimeout: 50 * time.Millisecond, TicketTimeout: 300 * time.Millisecond,
				QueueBytes: 64 << 10, MaxFrame: 4 << 10,
			})
			w.n.Run(1500 * time.Millisecond)
			w.settle(t)
			if w.delivered == 0 || w.gapped == 0 || w.acked == 0 || w.lost == 0 || w.refused == 0 || w.rows == 0 {
				t.Errorf("something never happened: %d delivered, %d missing, %d acked, %d lost, %d refused, %d rows", w.delivered, w.gapped, w.acked, w.lost, w.refused, w.rows)
			}
		})
	}
}

func runOnce(tb testing.TB, seed uint64) *Network {
	w := newWorld(tb, 5, Config{Seed: seed, Faults: everything, Wire: seed%2 == 0, LinkTimeout: 50 * time.Millisecond, MaxFrame: 4 << 10})
	w.n.Run(400 * time.Millisecond)
	return w.n
}

// TestDeterminism: the same seed gives the same run, another one another.
func TestDeterminism(t *testing.T) {
	seen := map[uint64]uint64{}
	for seed := range uint64(4) {
		first, second := runOnce(t, seed), runOnce(t, seed)
		if first.Hash() != second.Hash() || first.Events() != second.Events() {
			t.Errorf("seed %d: hash %#x after %d events, then %#x after %d", seed, first.Hash(), first.Events(), second.Hash(), second.Events())
		}
		if other, ok := seen[first.Hash()]; ok {
			t.Errorf("seeds %d and %d have the same hash", seed, other)
		}
		seen[first.Hash()] = seed
	}
}

const childVariable = "SIM_TEST_PRINT_HASH"

// TestDeterminismAcrossProcesses: nothing comes from addresses, maps or the
// environment.
func TestDeterminismAcrossProcesses(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		fmt.Printf("hash=%#x\n", runOnce(t, 77).Hash())
		return
	}
	want := fmt.Sprintf("hash=%#x", runOnce(t, 77).Hash())
	for range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDeterminismAcrossProcesses$")
		cmd.Env = append(os.Environ(), childVariable+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("another process: %v, want %s in:\n%s", err, want, out)
		}
	}
}

// TestHashSeesEverything is the hash's negative control: runs that differ in
// one thing have different hashes.
func TestHashSeesEverything(t *testing.T) {
	run := func(change func(p *Port, o *fabric.Outgoing)) uint64 {
		n, h := pair(t, Config{Seed: 5, Faults: Faults{Delay: time.Millisecond}})
		_ = h
		o := fabric.Outgoing{To: []fabric.MemberID{2}, Body: []byte("abc"), Stream: 9, Ticket: 4}
		change(n.Port(1), &o)
		if err := n.Port(1).Send([]fabric.Outgoing{o}); err != nil {
			t.Fatal(err)
		}
		n.Advance(time.Second)
		return n.Hash()
	}
	seen := map[uint64]string{}
	for what, change := range map[string]func(*Port, *fabric.Outgoing){
		"nothing": func(*Port, *fabric.Outgoing) {},
		"lane":    func(_ *Port, o *fabric.Outgoing) { o.Lane = fabric.LaneBulk },
		"stream":  func(_ *Port, o *fabric.Outgoing) { o.Stream++ },
		"ticket":  func(_ *Port, o *fabric.Outgoing) { o.Ticket++ },
		"length":  func(_ *Port, o *fabric.Outgoing) { o.Body = o.Body[1:] },
		"void":    func(_ *Port, o *fabric.Outgoing) { o.Kind, o.Body = fabric.KindVoid, fabric.VoidBody() },
		"time":    func(p *Port, _ *fabric.Outgoing) { p.n.Advance(1) },
	} {
		hash := run(change)
		if other, ok := seen[hash]; ok {
			t.Errorf("%q and %q have the same hash", what, other)
		}
		seen[hash] = what
	}
}

// recorder is a handler that notes everything.
type recorder struct {
	n       *Network
	frames  []fabric.Frame
	at      []time.Duration
	gaps    []fabric.Gap
	rows    []fabric.Row
	settled []fabric.Resolution
	links   []fabric.LinkState
}

func (r *recorder) Deliver(_ fabric.MemberID, frames []fabric.Frame) {
	for _, f := range frames {
		r.frames = append(r.frames, f)
		r.at = append(r.at, r.n.Now())
	}
}
func (r *recorder) Gap(_ fabric.MemberID, g fabric.Gap)        { r.gaps = append(r.gaps, g) }
func (r *recorder) Row(_ fabric.MemberID, row fabric.Row)      { r.rows = append(r.rows, row) }
func (r *recorder) Resolve(settled []fabric.Resolution)        { r.settled = append(r.settled, settled...) }
func (r *recorder) Link(_ fabric.MemberID, s fabric.LinkState) { r.links = append(r.links, s) }

// pair makes members 1 and 2, connected.
func pair(tb testing.TB, cfg Config) (*Network, map[fabric.MemberID]*recorder) {
	tb.Helper()
	n, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	n.LogSeed(tb)
	rs := map[fabric.MemberID]*recorder{1: {n: n}, 2: {n: n}}
	for id := fabric.MemberID(1); id <= 2; id++ {
		if _, err := n.Join(id, rs[id]); err != nil {
			tb.Fatal(err)
		}
	}
	for !n.Port(1).out[1].isUp() || !n.Port(2).out[0].isUp() {
		if n.Now() > 10*time.Second {
			tb.Fatal("links do not come up")
		}
		n.Advance(time.Millisecond)
	}
	return n, rs
}

func (l *link) isUp() bool { return l != nil && l.up }

func sendN(tb testing.TB, n *Network, count int, lane fabric.Lane, size int) {
	tb.Helper()
	for i := range count {
		o := fabric.Outgoing{To: []fabric.MemberID{2}, Lane: lane, Body: make([]byte, size), Ticket: uint64(i) + 1, Stream: uint64(i) + 1}
		if err := n.Port(1).Send([]fabric.Outgoing{o}); err != nil {
			tb.Fatal(err)
		}
	}
}

func stats(n *Network, id fabric.MemberID) fabric.LinkStats { return n.Port(id).Stats(nil)[0] }

// TestFaultsShow: each fault of the struct does what it says, and a network
// without it does not.
func TestFaultsShow(t *testing.T) {
	const frames = 400
	run := func(f Faults) (a, b fabric.LinkStats, r *recorder) {
		n, rs := pair(t, Config{Seed: Seed(t, 3), Faults: f, Wire: true})
		sendN(t, n, frames, fabric.LaneAppend, 100)
		n.Advance(30 * time.Second)
		if len(rs[2].frames) != frames || len(rs[1].settled) != frames {
			t.Fatalf("%+v: %d frames delivered, %d tickets resolved, of %d", f, len(rs[2].frames), len(rs[1].settled), frames)
		}
		return stats(n, 1), stats(n, 2), rs[2]
	}
	base := Faults{Delay: time.Millisecond}
	a, b, clean := run(base)
	if a.Retransmissions != 0 || b.Refused != 0 || b.DatagramsReceived != frames {
		t.Errorf("without faults: %d retransmissions, %d refused, %d packets for %d frames", a.Retransmissions, b.Refused, b.DatagramsReceived, frames)
	}
	with := func(change func(*Faults)) Faults { f := base; change(&f); return f }
	if a, _, _ := run(with(func(f *Faults) { f.Loss = 0.2 })); a.Retransmissions == 0 {
		t.Error("Loss: nothing was retransmitted")
	}
	if _, b, _ := run(with(func(f *Faults) { f.Duplicate = 0.5 })); b.DatagramsReceived < frames*5/4 {
		t.Errorf("Duplicate: %d packets for %d frames", b.DatagramsReceived, frames)
	}
	if a, b, _ := run(with(func(f *Faults) { f.Corrupt = 0.2 })); b.Refused == 0 || a.Retransmissions == 0 {
		t.Errorf("Corrupt: %d refused, %d retransmissions", b.Refused, a.Retransmissions)
	}
	if _, _, r := run(with(func(f *Faults) { f.Handling = 10 * time.Millisecond })); r.at[frames-1] < 9*10*time.Millisecond*frames/10-time.Second {
		t.Errorf("Handling of 10 ms: %d frames after %v", frames, r.at[frames-1])
	}
	if _, _, r := run(with(func(f *Faults) { f.Bandwidth = 13200 })); r.at[frames-1] < 3*time.Second || clean.at[frames-1] > time.Second {
		t.Errorf("Bandwidth of 100 frames/s: %d frames after %v, without it after %v", frames, r.at[frames-1], clean.at[frames-1])
	}
	if _, _, r := run(with(func(f *Faults) { f.Jitter = 5 * time.Millisecond })); slices.Max(r.at) <= slices.Max(clean.at) {
		t.Errorf("Jitter: last frame after %v, without it after %v", slices.Max(r.at), slices.Max(clean.at))
	}
}

// TestReorderAcrossLanes: with Reorder, frames of different lanes overtake each
// other; those of one lane never do.
func TestReorderAcrossLanes(t *testing.T) {
	overtaken := func(reorder float64) (n int) {
		net, rs := pair(t, Config{Seed: Seed(t, 4), Faults: Faults{Delay: time.Millisecond, Reorder: reorder}})
		for i := range 300 {
			sendN(t, net, 1, fabric.Lane(i%3), i)
			net.Advance(10 * time.Microsecond)
		}
		net.Advance(time.Second)
		last := map[fabric.Lane]uint32{}
		highest := uint32(0)
		for _, f := range rs[2].frames {
			if f.BodyLen < last[f.Lane] {
				t.Errorf("F1: %v is out of order", f.Lane)
			}
			if f.BodyLen < highest {
				n++
			}
			last[f.Lane], highest = f.BodyLen, max(highest, f.BodyLen)
		}
		return n
	}
	if n := overtaken(0); n != 0 {
		t.Errorf("%d frames were overtaken without Reorder", n)
	}
	if n := overtaken(0.2); n == 0 {
		t.Error("Reorder: no frame was overtaken by another lane's")
	}
}

func TestPauseStallKill(t *testing.T) {
	cfg := Config{Seed: Seed(t, 6), Faults: Faults{Delay: time.Millisecond}, LinkTimeout: 40 * time.Millisecond}
	t.Run("stalled members ack", func(t *testing.T) {
		n, rs := pair(t, cfg)
		n.Stall(2)
		sendN(t, n, 5, 0, 10)
		n.Advance(200 * time.Millisecond)
		if len(rs[2].frames) != 0 || len(rs[1].settled) != 5 || rs[1].settled[0].Err != nil {
			t.Errorf("stalled: %d delivered, tickets %+v", len(rs[2].frames), rs[1].settled)
		}
		n.Unstall(2)
		if len(rs[2].frames) != 5 {
			t.Errorf("%d of 5 delivered after Unstall", len(rs[2].frames))
		}
	})
	t.Run("paused members are silent and then catch up", func(t *testing.T) {
		n, rs := pair(t, cfg)
		fired := time.Duration(0)
		n.Port(2).After(10*time.Millisecond, func() { fired = n.Now() })
		n.Pause(2)
		sendN(t, n, 5, 0, 10)
		start := n.Now()
		n.Advance(20 * time.Millisecond)
		if len(rs[1].settled) != 0 || fired != 0 {
			t.Errorf("paused: tickets %+v, timer at %v", rs[1].settled, fired)
		}
		n.Resume(2)
		n.Advance(20 * time.Millisecond)
		if len(rs[2].frames) != 5 || len(rs[1].settled) != 5 || fired < start+20*time.Millisecond {
			t.Errorf("resumed: %d delivered, tickets %+v, timer at %v", len(rs[2].frames), rs[1].settled, fired)
		}
		if len(rs[1].links) != 1 {
			t.Errorf("a short pause took the link down: %+v", rs[1].links)
		}
		n.Pause(2)
		n.Advance(100 * time.Millisecond)
		if s := rs[1].links; len(s) != 2 || s[1].Up {
			t.Errorf("a long pause: links %+v, want it down", s)
		}
		n.Resume(2)
		n.Advance(100 * time.Millisecond)
		if s := rs[1].links; len(s) != 3 || !s[2].Up {
			t.Errorf("after a long pause: links %+v, want it up", s)
		}
	})
	t.Run("what waits for a paused member is bounded", func(t *testing.T) {
		cfg := cfg
		cfg.PauseBuffer, cfg.LinkTimeout = 3, time.Hour
		n, rs := pair(t, cfg)
		n.Pause(2)
		sendN(t, n, 50, 0, 10)
		n.Advance(500 * time.Millisecond)
		if p := n.Port(2); p.heldPackets != 3 {
			t.Errorf("%d packets wait, want 3", p.heldPackets)
		}
		n.Resume(2)
		n.Advance(500 * time.Millisecond)
		if len(rs[2].frames) != 50 {
			t.Errorf("%d of 50 frames delivered", len(rs[2].frames))
		}
	})
	t.Run("killed members are gone", func(t *testing.T) {
		n, rs := pair(t, cfg)
		n.Port(2).After(time.Millisecond, func() { t.Error("a timer of a dead member fired") })
		n.Kill(2)
		sendN(t, n, 5, 0, 10)
		n.Advance(300 * time.Millisecond)
		if len(rs[2].frames) != 0 || len(rs[1].settled) != 5 || !errors.Is(rs[1].settled[0].Err, fabric.ErrLinkDown) {
			t.Errorf("dead: %d delivered, tickets %+v", len(rs[2].frames), rs[1].settled)
		}
		if _, err := n.Join(1, &recorder{}); err == nil {
			t.Error("a live member joined again")
		}
		p, err := n.Join(2, &recorder{n: n})
		if err != nil || p.Incarnation() != 2 || p.ID() != 2 {
			t.Errorf("restart: %v, %+v", err, p)
		}
	})
}

// TestCutIsOneWay: what flows the other way goes on.
func TestCutIsOneWay(t *testing.T) {
	n, rs := pair(t, Config{Seed: 1, Faults: Faults{Delay: time.Millisecond}, LinkTimeout: time.Hour, TicketTimeout: 50 * time.Millisecond})
	n.Cut(2, 1)
	sendN(t, n, 3, 0, 10)
	n.Advance(100 * time.Millisecond)
	if len(rs[2].frames) != 3 || len(rs[1].settled) != 3 || rs[1].settled[0].Err == nil {
		t.Errorf("acks cut: %d delivered, tickets %+v", len(rs[2].frames), rs[1].settled)
	}
	n.Mend(2, 1)
	n.Mend(2, 1) // does nothing
	n.Cut(1, 2)
	sendN(t, n, 3, 0, 10)
	n.Advance(100 * time.Millisecond)
	n.Mend(1, 2)
	n.Advance(100 * time.Millisecond)
	if len(rs[2].frames) != 3 || len(rs[2].gaps) != 1 || rs[2].gaps[0] != (fabric.Gap{First: 4, Count: 3}) {
		t.Errorf("frames cut: %d delivered, gaps %+v", len(rs[2].frames), rs[2].gaps)
	}
}

// TestSetLink: one link's faults are its own.
func TestSetLink(t *testing.T) {
	n, rs := pair(t, Config{Seed: 1})
	if err := n.SetLink(1, 2, Faults{Loss: 2}); err == nil {
		t.Error("a loss of 200% was accepted")
	}
	if err := n.SetLink(1, 2, Faults{Delay: time.Second}); err != nil {
		t.Fatal(err)
	}
	start := n.Now()
	sendN(t, n, 1, 0, 10)
	n.Advance(3 * time.Second)
	if got := rs[2].at[0] - start; got != time.Second {
		t.Errorf("a link with a delay of 1 s took %v", got)
	}
}

func TestClocks(t *testing.T) {
	n, _ := pair(t, Config{Seed: 9, Faults: Faults{ClockError: time.Millisecond}})
	a, b := n.Port(1).Now(), n.Port(2).Now()
	if a == b || a.Error != time.Millisecond || a.Logical || time.Duration(max(a.Nanos-b.Nanos, b.Nanos-a.Nanos)) > 2*time.Millisecond {
		t.Errorf("clocks %+v and %+v", a, b)
	}
	n.SetClock(1, time.Hour, 0.5)
	n.Advance(2 * time.Second)
	if got := time.Duration(n.Port(1).Now().Nanos) - n.Now(); got < time.Hour+time.Second {
		t.Errorf("a clock that is an hour ahead and half as fast again is %v ahead", got)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := (&Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	bad := Config{
		MaxFrame: -1, QueueBytes: -1, TicketTimeout: -1, RetransmitAfter: -1, RowInterval: -1, LinkTimeout: -1, PauseBuffer: -1,
		Faults: Faults{Loss: -1, Duplicate: 2, Corrupt: 3, Reorder: 4, Delay: -1, Jitter: -1, ReorderBy: -1, Handling: -1, ClockError: -1, Bandwidth: -1,
			CutEvery: -1, CutFor: -1, PauseEvery: -1, PauseFor: -1, StallEvery: -1, StallFor: -1, KillEvery: -1, KillFor: -1},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("a config full of mistakes is valid")
	}
	for field := range strings.FieldsSeq(`MaxFrame QueueBytes TicketTimeout RetransmitAfter RowInterval LinkTimeout PauseBuffer Loss Duplicate
		Corrupt Reorder Delay Jitter ReorderBy Handling ClockError Bandwidth CutEvery CutFor PauseEvery PauseFor StallEvery StallFor KillEvery KillFor`) {
		if !strings.Contains(err.Error(), field+" is ") {
			t.Errorf("%s is not named in:\n%v", field, err)
		}
	}
	if _, err := New(bad); err == nil {
		t.Error("New takes a bad config")
	}
	if err := (&Config{MaxFrame: 2 << 20, QueueBytes: 1 << 20}).Validate(); err == nil {
		t.Error("a queue that holds no frame is valid")
	}
}

// TestQueue: events come out by time, then in the order in which they went in.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var model sorted
		for i := range uint64(rapid.IntRange(1, 400).Draw(t, "ops")) {
			if len(model) == 0 || rapid.IntRange(0, 2).Draw(t, "op") > 0 {
				at := int64(rapid.IntRange(0, 20).Draw(t, "at"))
				q.push(at).lo = i
				heap.Push(&model, key{at, i})
				continue
			}
			at, ev := q.pop()
			want := heap.Pop(&model).(key)
			if at != want.at || ev.lo != want.ord {
				t.Fatalf("got %d at %d, want %d at %d", ev.lo, at, want.ord, want.at)
			}
		}
		if len(q.keys) != len(model) || len(q.free)+len(q.keys) != len(q.slots) {
			t.Fatalf("%d keys, %d free of %d slots; want %d keys", len(q.keys), len(q.free), len(q.slots), len(model))
		}
	})
}

type sorted []key

func (s sorted) Len() int           { return len(s) }
func (s sorted) Less(i, j int) bool { return s[i].before(s[j]) }
func (s sorted) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *sorted) Push(x any)        { *s = append(*s, x.(key)) }
func (s *sorted) Pop() any {
	x := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return x
}

// TestLaneMemory: what lanes hold is bounded however long a receiver is cut off
// while its link is up (F3).
func TestLaneMemory(t *testing.T) {
	n, _ := pair(t, Config{Seed: 1, LinkTimeout: time.Hour, TicketTimeout: 10 * time.Millisecond, QueueBytes: 64 << 10, MaxFrame: 1 << 10})
	n.Cut(1, 2)
	for i := range 20_000 {
		n.Port(1).Send([]fabric.Outgoing{{To: []fabric.MemberID{2}, Body: make([]byte, 500), Ticket: uint64(i)}})
		n.Advance(100 * time.Microsecond)
	}
	ln := &n.Port(1).out[1].lanes[0]
	if ln.held > heldFactor*64<<10 || ln.bytes > 64<<10 {
		t.Errorf("the lane holds %d bytes, %d of them not resolved", ln.held, ln.bytes)
	}
	n.Mend(1, 2)
	n.Advance(time.Second)
	if ln.held != 0 || ln.bytes != 0 {
		t.Errorf("after the cut the lane holds %d bytes, %d of them not resolved", ln.held, ln.bytes)
	}
}

// TestTrace: a line for each event, and none without.
func TestTrace(t *testing.T) {
	var lines []string
	n, _ := pair(t, Config{Seed: 1, Faults: Faults{Delay: time.Millisecond, Corrupt: 0.3}, Trace: func(e Event) { lines = append(lines, e.String()) }})
	sendN(t, n, 20, fabric.LaneAppend, 10)
	n.Advance(time.Second)
	all := strings.Join(lines, "\n")
	for _, want := range []string{"frames    1 → 2 append 1+1", "ack       1 → 2", "corrupt", "up        2 → 1"} {
		if !strings.Contains(all, want) {
			t.Errorf("the trace does not have %q:\n%s", want, all)
		}
	}
	if uint64(len(lines)) != n.Events() {
		t.Errorf("%d lines for %d events", len(lines), n.Events())
	}
}

// BenchmarkEvents: members exchange 256-byte frames in batches of 1 and 16; an
// operation is one event of the network.
func BenchmarkEvents(b *testing.B) {
	for _, bench := range []struct {
		name    string
		members int
		batch   int
		cfg     Config
	}{
		{"3 members", 3, 1, Config{Faults: Faults{Delay: 50 * time.Microsecond, Jitter: 10 * time.Microsecond}}},
		{"7 members", 7, 1, Config{Faults: Faults{Delay: 50 * time.Microsecond, Jitter: 10 * time.Microsecond}}},
		{"3 members batch 16", 3, 16, Config{Faults: Faults{Delay: 50 * time.Microsecond, Jitter: 10 * time.Microsecond}}},
		{"3 members lossy", 3, 1, Config{Faults: Faults{Delay: 50 * time.Microsecond, Jitter: 10 * time.Microsecond, Loss: 0.05, Duplicate: 0.01, Reorder: 0.01}}},
		{"3 members wire", 3, 1, Config{Wire: true, Faults: Faults{Delay: 50 * time.Microsecond, Jitter: 10 * time.Microsecond}}},
	} {
		b.Run(bench.name, func(b *testing.B) { benchmarkEvents(b, bench.members, bench.batch, bench.cfg) })
	}
}

// echo answers each ticket with the next frame, so that a window is always full.
type echo struct {
	p     *Port
	batch []fabric.Outgoing
	seen  int
}

func (e *echo) Deliver(_ fabric.MemberID, frames []fabric.Frame) { e.seen += len(frames) }
func (e *echo) Gap(fabric.MemberID, fabric.Gap)                  {}
func (e *echo) Row(fabric.MemberID, fabric.Row)                  {}
func (e *echo) Link(fabric.MemberID, fabric.LinkState)           {}
func (e *echo) Resolve(settled []fabric.Resolution) {
	for i := range settled {
		settled[i].Ticket++
		for k := range e.batch {
			e.batch[k].To[0] = settled[i].To
			e.batch[k].Ticket = 0
		}
		e.batch[len(e.batch)-1].Ticket = settled[i].Ticket
		e.p.Send(e.batch)
	}
}

func benchmarkEvents(b *testing.B, members, size int, cfg Config) {
	n, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	echoes := make([]*echo, members)
	for i := range echoes {
		e := &echo{}
		for range size {
			e.batch = append(e.batch, fabric.Outgoing{To: make([]fabric.MemberID, 1), Lane: fabric.LaneAppend, Body: make([]byte, 256)})
		}
		echoes[i] = e
		if e.p, err = n.Join(fabric.MemberID(i+1), e); err != nil {
			b.Fatal(err)
		}
	}
	n.Advance(time.Second)
	const window = 8
	for i, e := range echoes {
		for k := range members {
			for w := range window {
				if k != i {
					e.Resolve([]fabric.Resolution{{To: fabric.MemberID(k + 1), Ticket: uint64(w + 1)}})
				}
			}
		}
	}
	start := n.Events()
	b.ReportAllocs()
	for b.Loop() {
		if !n.Step() {
			b.Fatal("the network ran dry")
		}
	}
	seen := 0
	for _, e := range echoes {
		seen += e.seen
	}
	b.ReportMetric(float64(seen)/float64(n.Events()-start), "frames/op")
}
