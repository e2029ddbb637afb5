package udp

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// benchHandler counts, and answers pings.
type benchHandler struct {
	port     *Port
	got      atomic.Int64
	settled  atomic.Int64
	up       atomic.Int64
	credit   chan struct{}
	echo     bool
	answer   chan struct{}
	out      [1]fabric.Outgoing
	to       [1]fabric.MemberID
	lost     atomic.Int64
	deliverN atomic.Int64
}

func newBenchHandler() *benchHandler {
	return &benchHandler{credit: make(chan struct{}, 1), answer: make(chan struct{}, 1)}
}

func (h *benchHandler) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	h.got.Add(int64(len(frames)))
	h.deliverN.Add(1)
	if h.echo {
		h.to[0] = from
		h.out[0] = fabric.Outgoing{To: h.to[:], Lane: frames[0].Lane, Body: frames[0].Body}
		h.port.Send(h.out[:])
	} else if h.answer != nil {
		select {
		case h.answer <- struct{}{}:
		default:
		}
	}
}

func (h *benchHandler) Gap(fabric.MemberID, fabric.Gap) {}
func (h *benchHandler) Row(fabric.MemberID, fabric.Row) {}

func (h *benchHandler) Resolve(s []fabric.Resolution) {
	h.settled.Add(int64(len(s)))
	for i := range s {
		if s[i].Err != nil {
			h.lost.Add(1)
		}
	}
	select {
	case h.credit <- struct{}{}:
	default:
	}
}

func (h *benchHandler) Link(_ fabric.MemberID, s fabric.LinkState) {
	if s.Up {
		h.up.Add(1)
	}
}

// benchStar connects one sender to n receivers.
func benchStar(tb testing.TB, n int, sealed bool, edit func(*Config)) (h *benchHandler, receivers []*benchHandler, ids []fabric.MemberID) {
	open := func(id fabric.MemberID) *benchHandler {
		h := newBenchHandler()
		cfg := Config{Self: id, Listen: "127.0.0.1:0"}
		if edit != nil {
			edit(&cfg)
		}
		p, err := New(cfg, h)
		if err != nil {
			tb.Fatal(err)
		}
		h.port = p
		tb.Cleanup(func() { p.Close() })
		return h
	}
	h = open(1)
	for i := range n {
		id := fabric.MemberID(i + 2)
		r := open(id)
		atA, atB := testKeys(1, id, 1, 1, 0, sealed)
		atA.Addr, atB.Addr = r.port.LocalAddr(), h.port.LocalAddr()
		if err := h.port.Connect(id, atA); err != nil {
			tb.Fatal(err)
		}
		if err := r.port.Connect(1, atB); err != nil {
			tb.Fatal(err)
		}
		receivers, ids = append(receivers, r), append(ids, id)
	}
	for deadline := time.Now().Add(5 * time.Second); h.up.Load() < int64(n); {
		if time.Now().After(deadline) {
			tb.Fatal("links do not come up")
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // the path MTU is found
	return h, receivers, ids
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// benchBuffer stands for a host that does not let the port have its buffers.
var benchBuffer = flag.Int("bench.buffer", 0, "socket buffer in bytes")

func benchConfig(c *Config) { c.SocketBuffer = *benchBuffer }

// BenchmarkThroughput measures one op as one frame at one receiver: a body of
// 256 bytes and a patch of 72, as a MsgApp with one entry has.
func BenchmarkThroughput(b *testing.B) {
	for _, sealed := range []bool{false, true} {
		for _, n := range []int{1, 2, 4, 6} {
			for _, batch := range []int{1, 16} {
				b.Run(fmt.Sprintf("sealed=%v/to=%d/batch=%d", sealed, n, batch), func(b *testing.B) {
					benchThroughput(b, sealed, n, batch)
				})
			}
		}
	}
}

func benchThroughput(b *testing.B, sealed bool, n, batch int) {
	h, receivers, ids := benchStar(b, n, sealed, benchConfig)
	body, patch := make([]byte, 256), make([]byte, 72)
	patches := make([][]byte, n)
	for i := range patches {
		patches[i] = patch
	}
	frames := make([]fabric.Outgoing, batch)
	for i := range frames {
		frames[i] = fabric.Outgoing{To: ids, Patch: patches, Body: body, Lane: fabric.LaneAppend, Ticket: 1}
	}
	// At most so many frames are on their way, as raft's inflight limit has it.
	const most = 4096
	var ms0, ms1 runtime.MemStats
	b.ReportAllocs()
	runtime.ReadMemStats(&ms0)
	cpu, start := cpuTime(), time.Now()
	sent := 0
	b.ResetTimer()
	for sent < b.N {
		for int64(sent)-h.settled.Load() > int64(most*n) {
			<-h.credit
		}
		if err := h.port.Send(frames); err != nil {
			b.Fatal(err)
		}
		sent += batch * n
	}
	for _, r := range receivers {
		for r.got.Load() < int64(sent/n) {
			time.Sleep(50 * time.Microsecond)
		}
	}
	elapsed := time.Since(start)
	cpu = cpuTime() - cpu
	b.StopTimer()
	runtime.ReadMemStats(&ms1)
	b.ReportMetric(float64(sent)/elapsed.Seconds(), "deliveries/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(sent), "cpu-ns/delivery")
	b.ReportMetric(float64(ms1.Mallocs-ms0.Mallocs)/float64(sent), "allocs/delivery")
	s := h.port.Stats(nil)
	dg, rx, rt := uint64(0), uint64(0), uint64(0)
	for _, x := range s {
		dg += x.DatagramsSent
		rx += x.DatagramsReceived
		rt += x.Retransmissions
	}
	b.ReportMetric(float64(sent)/float64(dg), "frames/datagram")
	b.ReportMetric(float64(rt), "retransmissions")
	b.ReportMetric(float64(dg)/float64(rx), "datagrams/ack")
}

// BenchmarkRTT measures one op as one round trip of a frame of 256 bytes.
func BenchmarkRTT(b *testing.B) {
	for _, spin := range []time.Duration{0, 50 * time.Microsecond} {
		for _, sealed := range []bool{false, true} {
			b.Run(fmt.Sprintf("spin=%v/sealed=%v", spin > 0, sealed), func(b *testing.B) {
				h, receivers, ids := benchStar(b, 1, sealed, func(c *Config) { c.Spin = spin })
				receivers[0].echo = true
				frames := []fabric.Outgoing{{To: ids, Body: make([]byte, 256), Lane: fabric.LaneControl, Ticket: 1}}
				b.ReportAllocs()
				cpu := cpuTime()
				for b.Loop() {
					if err := h.port.Send(frames); err != nil {
						b.Fatal(err)
					}
					<-h.answer
				}
				b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
				s := h.port.Stats(nil)[0]
				b.ReportMetric(float64(s.DatagramsSent)/float64(b.N), "datagrams/op")
			})
		}
	}
}

// BenchmarkRTTReference is a round trip of 256 bytes over bare sockets: what
// this machine allows at this moment.
func BenchmarkRTTReference(b *testing.B) {
	b.Run("udp", func(b *testing.B) {
		a, c := listenLoopback(b), listenLoopback(b)
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := c.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				c.WriteToUDPAddrPort(buf[:n], from)
			}
		}()
		to, buf := c.LocalAddr().(*net.UDPAddr).AddrPort(), make([]byte, 2048)
		for b.Loop() {
			a.WriteToUDPAddrPort(buf[:256], to)
			a.ReadFromUDPAddrPort(buf)
		}
	})
	b.Run("udp and a channel", func(b *testing.B) {
		a, c := listenLoopback(b), listenLoopback(b)
		echo := func(c *net.UDPConn, answer func(buf []byte, from netip.AddrPort)) {
			buf := make([]byte, 2048)
			for {
				n, from, err := c.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				answer(buf[:n], from)
			}
		}
		got := make(chan struct{}, 1)
		go echo(c, func(buf []byte, from netip.AddrPort) { c.WriteToUDPAddrPort(buf, from) })
		go echo(a, func([]byte, netip.AddrPort) { got <- struct{}{} })
		to, buf := c.LocalAddr().(*net.UDPAddr).AddrPort(), make([]byte, 2048)
		for b.Loop() {
			a.WriteToUDPAddrPort(buf[:256], to)
			<-got
		}
	})
	b.Run("tcp", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			io.Copy(c, struct{ io.Reader }{c})
		}()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 256)
		for b.Loop() {
			c.Write(buf)
			io.ReadFull(c, buf)
		}
	})
}

func listenLoopback(tb testing.TB) *net.UDPConn {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}
