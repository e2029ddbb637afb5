package stream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// The frames of a benchmark: an append of one entry of 256 bytes, with a patch
// of 72 bytes for each destination.
const (
	benchBody  = 256
	benchPatch = 72
)

var benchNetworks = []network{
	{name: "tcp", family: "tcp"},
	{name: "unix", family: "unix"},
	{name: "tls", family: "tcp", tls: true},
	{name: "tcp-writer", family: "tcp", writer: true},
}

// counter counts deliveries.
type counter struct {
	quiet
	n    atomic.Int64
	want atomic.Int64
	done chan struct{}
}

func (c *counter) Deliver(_ fabric.MemberID, frames []fabric.Frame) {
	if c.n.Add(int64(len(frames))) == c.want.Load() {
		c.done <- struct{}{}
	}
}

// quiet is a handler that does nothing.
type quiet struct{}

func (quiet) Deliver(fabric.MemberID, []fabric.Frame) {}
func (quiet) Gap(fabric.MemberID, fabric.Gap)         {}
func (quiet) Row(fabric.MemberID, fabric.Row)         {}
func (quiet) Resolve([]fabric.Resolution)             {}
func (quiet) Link(fabric.MemberID, fabric.LinkState)  {}

func benchIDs(n int) (ids []fabric.MemberID) {
	for i := range n {
		ids = append(ids, fabric.MemberID(i+1))
	}
	return ids
}

func benchBatch(to []fabric.MemberID, n int) []fabric.Outgoing {
	batch := make([]fabric.Outgoing, n)
	for i := range batch {
		o := &batch[i]
		o.To, o.Lane, o.Body, o.Ticket = to, fabric.LaneAppend, make([]byte, benchBody), uint64(i+1)
		for range to {
			o.Patch = append(o.Patch, make([]byte, benchPatch))
		}
	}
	return batch
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkThroughput(b *testing.B) {
	for _, n := range benchNetworks {
		for _, receivers := range []int{1, 2, 4, 6} {
			for _, batch := range []int{1, 16} {
				b.Run(fmt.Sprintf("%s/to=%d/batch=%d", n.name, receivers, batch), func(b *testing.B) {
					benchThroughput(b, n, receivers, batch)
				})
			}
		}
	}
}

// benchThroughput counts one delivery at one receiver as an operation.
func benchThroughput(b *testing.B, n network, receivers, size int) {
	ids := benchIDs(receivers + 1)
	handlers := map[fabric.MemberID]fabric.Handler{ids[0]: quiet{}}
	count := &counter{done: make(chan struct{}, 1)}
	for _, id := range ids[1:] {
		handlers[id] = count
	}
	w := newWorld(b, n, Config{}, ids, handlers)
	p, batch := w.port(ids[0]), benchBatch(ids[1:], size)
	rounds := (b.N + receivers*size - 1) / (receivers * size)
	count.want.Store(int64(rounds * receivers * size))
	b.ReportAllocs()
	b.ResetTimer()
	before, start := cpu(), time.Now()
	for range rounds {
		sendAll(b, p, batch)
	}
	<-count.done
	b.StopTimer()
	total := float64(rounds * receivers * size)
	b.ReportMetric(total/time.Since(start).Seconds(), "deliveries/s")
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/1000/total, "cpu-µs/op")
	w.close()
}

// sendAll sends a batch, what is refused for want of credit again.
func sendAll(b *testing.B, p *Port, batch []fabric.Outgoing) {
	err := p.Send(batch)
	for err != nil {
		var se *fabric.SendError
		if !errors.As(err, &se) {
			b.Fatal(err)
		}
		again := make([]fabric.Outgoing, 0, len(se.Refused))
		for _, r := range se.Refused {
			if !errors.Is(r.Err, fabric.ErrNoCredit) {
				b.Fatal(r.Err)
			}
			o := batch[r.Index]
			o.To, o.Patch = []fabric.MemberID{r.To}, o.Patch[:1]
			again = append(again, o)
		}
		runtime.Gosched()
		time.Sleep(50 * time.Microsecond)
		batch = again
		err = p.Send(batch)
	}
}

// pinger sends a frame back as long as there are any left.
type pinger struct {
	quiet
	port  func() *Port
	batch []fabric.Outgoing
	left  atomic.Int64
	done  chan struct{}
}

func (h *pinger) Deliver(fabric.MemberID, []fabric.Frame) {
	if h.left.Add(-1) < 0 {
		close(h.done)
		return
	}
	if err := h.port().Send(h.batch); err != nil {
		panic(err)
	}
}

// BenchmarkRTT is a frame there and one back; an operation is one round trip.
func BenchmarkRTT(b *testing.B) {
	for _, n := range benchNetworks {
		b.Run(n.name, func(b *testing.B) {
			ids := benchIDs(2)
			var w *world
			pings := map[fabric.MemberID]*pinger{}
			handlers := map[fabric.MemberID]fabric.Handler{}
			for i, id := range ids {
				pings[id] = &pinger{batch: benchBatch(ids[1-i:2-i], 1), done: make(chan struct{}), port: func() *Port { return w.port(id) }}
				handlers[id] = pings[id]
			}
			pings[ids[0]].left.Store(int64(b.N))
			pings[ids[1]].left.Store(1 << 60)
			w = newWorld(b, n, Config{}, ids, handlers)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			pings[ids[0]].Deliver(0, nil)
			<-pings[ids[0]].done
			b.StopTimer()
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
			w.close()
		})
	}
}

// BenchmarkRawRTT is what the sockets alone take.
func BenchmarkRawRTT(b *testing.B) {
	for _, n := range benchNetworks {
		b.Run(n.name, func(b *testing.B) {
			near, far := socketPair(b, n)
			size := fabric.FrameSize(&fabric.Header{}, make([]byte, benchPatch), make([]byte, benchBody))
			go func() {
				buf := make([]byte, size)
				for {
					if _, err := io.ReadFull(far, buf); err != nil {
						return
					}
					if _, err := far.Write(buf); err != nil {
						return
					}
				}
			}()
			buf := make([]byte, size)
			b.ResetTimer()
			before := cpu()
			for range b.N {
				if _, err := near.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(near, buf); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
		})
	}
}

// socketPair returns two ends of a connection.
func socketPair(tb testing.TB, n network) (near, far net.Conn) {
	tb.Helper()
	addr := "127.0.0.1:0"
	if n.family == "unix" {
		addr = tb.TempDir() + "/s"
	}
	l, err := net.Listen(n.family, addr)
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	c, err := net.Dial(n.family, l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	near, far = n.client(c), n.server(<-accepted)
	tb.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}
