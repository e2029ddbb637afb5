//go:build linux

package shm

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// benchHandler counts, and answers.
type benchHandler struct {
	port *Port
	echo bool
	// rally: the last answer of a rally is poked about and not echoed.
	rally   bool
	left    atomic.Int64
	got     atomic.Int64
	settled atomic.Int64
	up      chan struct{}
	answer  chan struct{}
	credit  chan struct{}
	out     [1]fabric.Outgoing
	to      [1]fabric.MemberID
	waited  int64
}

func newBenchHandler(echo bool) *benchHandler {
	return &benchHandler{echo: echo, up: make(chan struct{}, 1), answer: make(chan struct{}, 1), credit: make(chan struct{}, 1)}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (h *benchHandler) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	h.got.Add(int64(len(frames)))
	if !h.echo || h.rally && h.left.Add(-1) == 0 {
		poke(h.answer)
		return
	}
	h.to[0] = from
	h.out[0] = fabric.Outgoing{To: h.to[:], Lane: frames[0].Lane, Body: frames[0].Body}
	_ = h.port.Send(h.out[:])
}

func (h *benchHandler) Gap(fabric.MemberID, fabric.Gap)        {}
func (h *benchHandler) Row(fabric.MemberID, fabric.Row)        {}
func (h *benchHandler) Link(fabric.MemberID, fabric.LinkState) { poke(h.up) }
func (h *benchHandler) Resolve(s []fabric.Resolution) {
	h.settled.Add(int64(len(s)))
	poke(h.credit)
}

// await waits until so many more tickets are settled.
func (h *benchHandler) await(n int) {
	for h.waited += int64(n); h.settled.Load() < h.waited; {
		<-h.credit
	}
}

// benchPair connects two ports and returns the first one.
func benchPair(tb testing.TB, a, b *benchHandler, edit func(*Config)) *Port {
	cfg := Config{Dir: testDir(tb), Incarnation: 1}
	if edit != nil {
		edit(&cfg)
	}
	for h, id := range map[*benchHandler][2]fabric.MemberID{a: {mate, self}, b: {self, mate}} {
		cfg.Self = id[0]
		h.port = mustPort(tb, cfg, h)
		if err := h.port.Connect(id[1], Session{PeerIncarnation: 1}); err != nil {
			tb.Fatal(err)
		}
	}
	<-a.up
	<-b.up
	return a.port
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// spins are the two ways to wait: for as long as it takes, and not at all.
var spins = map[string]time.Duration{"spinning": time.Second, "blocking": -1}

// BenchmarkRTT measures one op as one round trip of a frame of 256 bytes.
// "spinning" means the readers: the caller waits at a channel, which their
// goroutine closes the circle to.
func BenchmarkRTT(b *testing.B) {
	for _, name := range []string{"spinning", "blocking"} {
		b.Run(name, func(b *testing.B) {
			h := newBenchHandler(false)
			p := benchPair(b, h, newBenchHandler(true), func(c *Config) { c.Spin = spins[name] })
			batch := testBatch(1, 256, 0)
			batch[0].Lane, batch[0].Patch = fabric.LaneControl, nil
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				if err := p.Send(batch); err != nil {
					b.Fatal(err)
				}
				<-h.answer
			}
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// BenchmarkOneWay measures one op as one frame at the receiver: a body of 256
// bytes and a patch of 72, as a MsgApp with one entry has; or a large one.
func BenchmarkOneWay(b *testing.B) {
	for _, c := range []struct{ batch, body int }{{1, 256}, {16, 256}, {1, 1 << 20}} {
		b.Run(fmt.Sprintf("batch=%d/body=%d", c.batch, c.body), func(b *testing.B) {
			h, r := newBenchHandler(false), newBenchHandler(false)
			p := benchPair(b, h, r, nil)
			batch := testBatch(c.batch, c.body, 72)
			var ms0, ms1 runtime.MemStats
			runtime.ReadMemStats(&ms0)
			cpu, sent := cpuTime(), 0
			b.SetBytes(int64(c.body + 72))
			b.ResetTimer()
			for sent < b.N {
				if err := p.Send(batch); err != nil {
					// Some may have been accepted: what was not is sent again.
					sent += c.batch - len(err.(*fabric.SendError).Refused)
					<-h.credit
					continue
				}
				sent += c.batch
			}
			for h.settled.Load() < int64(sent) {
				<-h.credit
			}
			b.StopTimer()
			runtime.ReadMemStats(&ms1)
			b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "frames/s")
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(sent), "cpu-ns/frame")
			b.ReportMetric(float64(ms1.Mallocs-ms0.Mallocs)/float64(sent), "allocs/frame")
		})
	}
}

// bareEnd is one end of two bare rings: what this machine allows at this moment.
type bareEnd struct {
	out  ringWriter
	in   ringReader
	bell *bell
	far  ringer
	buf  []byte
	seen uint32
}

func barePair(b *testing.B) (x, y *bareEnd) {
	const slots = 256
	m, err := newMemory("dv-bare", 2*slots*DefaultSlotSize)
	if err != nil {
		b.Fatal(err)
	}
	ends := [2]*bareEnd{{}, {}}
	for i := range ends {
		bl, err := newBell()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(bl.release)
		ends[i].bell = bl
		ends[1-i].far.attach(bl.mem, bl.event)
		half := m.b[i*slots*DefaultSlotSize:][:slots*DefaultSlotSize]
		ends[i].out, ends[1-i].in = newRingWriter(half, DefaultSlotSize), newRingReader(half, DefaultSlotSize)
	}
	b.Cleanup(m.release)
	return ends[0], ends[1]
}

// take waits for one content.
func (e *bareEnd) take(spin bool, stop *atomic.Bool) []byte {
	for {
		e.seen = e.bell.value()
		var content []byte
		var err error
		if e.buf, content, err = e.in.take(e.buf[:0]); err == nil {
			return content
		}
		if stop.Load() {
			return nil
		}
		if spin {
			runtime.Gosched()
		} else {
			e.bell.sleep(e.seen)
		}
	}
}

func (e *bareEnd) put(content []byte) {
	e.out.taken = e.out.head // one is on its way, at most
	e.out.put(content)
	e.far.ring()
}

// Of BenchmarkRTTByBareRing: round trips before each measurement, in which the
// readers of the other side fall asleep, and those that count.
const (
	sideWarm  = 200
	sideTrips = 1000
	// sideSpin is far longer than a round trip and far shorter than sideWarm
	// of them.
	sideSpin = 100 * time.Microsecond
)

// BenchmarkRTTByBareRing measures the port's round trips and a bare ring's in
// turn: what a port makes of what this machine allows at this moment. The
// handlers answer each other, as the ends of the ring do. One op is a pair of measurements; x-bare is the median of their ratios, and lies between
// x-lo and x-hi with 95% confidence.
func BenchmarkRTTByBareRing(b *testing.B) {
	for _, name := range []string{"spinning", "blocking"} {
		b.Run(name, func(b *testing.B) {
			spin := min(spins[name], sideSpin)
			h := newBenchHandler(true)
			h.rally = true
			p := benchPair(b, h, newBenchHandler(true), func(c *Config) { c.Spin = spin })
			batch := testBatch(1, 256, 0)
			batch[0].Lane, batch[0].Patch = fabric.LaneControl, nil
			x, y := barePair(b)
			sides := [2]func(n int){
				func(n int) {
					h.left.Store(int64(n))
					if err := p.Send(batch); err != nil {
						b.Error(err)
						return
					}
					<-h.answer
				},
				func(n int) { bareTrips(x, y, spin > 0, n) },
			}
			var took [2][]float64
			for i := 0; b.Loop() && !b.Failed(); i++ {
				for j := range sides {
					side := (i + j) % len(sides)
					sides[side](sideWarm)
					begin := time.Now()
					sides[side](sideTrips)
					took[side] = append(took[side], float64(time.Since(begin).Nanoseconds())/sideTrips)
				}
			}
			reportSides(b, took[0], took[1])
		})
	}
}

// bareTrips makes n round trips from x to y and back; nobody waits afterwards.
func bareTrips(x, y *bareEnd, spin bool, n int) {
	var stop atomic.Bool // never
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			y.put(y.take(spin, &stop))
		}
	}()
	body := make([]byte, 256)
	for range n {
		x.put(body)
		x.take(spin, &stop)
	}
	<-done
}

// reportSides reports medians; the bounds are those ranks between which the
// true median lies with 95% confidence.
func reportSides(b *testing.B, ours, bare []float64) {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / bare[i]
	}
	for _, v := range [][]float64{ours, bare, ratios} {
		slices.Sort(v)
	}
	n := len(ratios)
	off := int(math.Ceil(0.98 * math.Sqrt(float64(n))))
	b.ReportMetric(0, "ns/op") // of both together: says nothing
	b.ReportMetric(ours[n/2], "port-ns")
	b.ReportMetric(bare[n/2], "bare-ns")
	b.ReportMetric(ratios[n/2], "x-bare")
	b.ReportMetric(ratios[max(n/2-off, 0)], "x-lo")
	b.ReportMetric(ratios[min(n/2+off, n-1)], "x-hi")
}

// BenchmarkBareRing is the same round trip without a port.
func BenchmarkBareRing(b *testing.B) {
	for _, name := range []string{"spinning", "blocking"} {
		b.Run("rtt/"+name, func(b *testing.B) {
			x, y := barePair(b)
			spin := spins[name] > 0
			var stop atomic.Bool
			done := make(chan struct{})
			go func() {
				defer close(done)
				for !stop.Load() {
					if c := y.take(spin, &stop); c != nil {
						y.put(c)
					}
				}
			}()
			body := make([]byte, 256)
			for b.Loop() {
				x.put(body)
				x.take(spin, &stop)
			}
			stop.Store(true)
			x.far.ring()
			<-done
		})
	}
	b.Run("oneway", func(b *testing.B) {
		x, y := barePair(b)
		var stop atomic.Bool
		var taken atomic.Uint64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for y.take(true, &stop) != nil {
				taken.Store(y.in.tail)
			}
		}()
		body := make([]byte, 256+72+prelude)
		for b.Loop() {
			for x.out.free() == 0 {
				x.out.taken = taken.Load()
			}
			x.out.put(body)
		}
		for taken.Load() < x.out.head {
			runtime.Gosched()
		}
		stop.Store(true)
		<-done
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
	})
}

func testBatch(n, body, patch int) []fabric.Outgoing {
	batch := make([]fabric.Outgoing, n)
	for i := range batch {
		batch[i] = fabric.Outgoing{To: []fabric.MemberID{self}, Patch: [][]byte{make([]byte, patch)}, Body: make([]byte, body), Lane: fabric.LaneAppend, Ticket: 1}
	}
	return batch
}
