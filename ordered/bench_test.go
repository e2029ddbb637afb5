package ordered

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// echo answers every frame of member 1, and tells member 1 of answers.
type echo struct {
	port  fabric.Port
	came  chan struct{}
	ready chan struct{}
	once  sync.Once
}

func (e *echo) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	for range frames {
		if from == 1 {
			_ = e.port.Send([]fabric.Outgoing{{To: []fabric.MemberID{1}, Body: []byte("x"), Lane: fabric.LaneAppend}})
		} else {
			e.came <- struct{}{}
		}
	}
}
func (e *echo) Gap(fabric.MemberID, fabric.Gap) {}
func (e *echo) Row(fabric.MemberID, fabric.Row) {}
func (e *echo) Resolve([]fabric.Resolution)     {}
func (e *echo) Link(_ fabric.MemberID, s fabric.LinkState) {
	if s.Up {
		e.once.Do(func() { close(e.ready) })
	}
}

// pinger returns what measures one round trip of the fabric's own ports.
func pinger(b *testing.B, name string) func() time.Duration {
	p := newParty(b, name, 2)
	var es []*echo
	for _, id := range p.voters {
		e := &echo{came: make(chan struct{}, 1), ready: make(chan struct{})}
		port, err := p.attach(id)(e, uint64(time.Now().UnixMicro()))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { port.Close() })
		e.port = port
		es = append(es, e)
	}
	for _, e := range es {
		<-e.ready
	}
	return func() time.Duration {
		start := time.Now()
		if err := es[0].port.Send([]fabric.Outgoing{{To: []fabric.MemberID{2}, Body: []byte("x"), Lane: fabric.LaneAppend}}); err != nil {
			b.Fatal(err)
		}
		<-es[0].came
		return time.Since(start)
	}
}

// BenchmarkLatency: how long an agreed and a safe message take to be delivered at
// their sender, and a round trip of the same ports beside it, one of each in turn.
func BenchmarkLatency(b *testing.B) {
	for _, name := range fabrics() {
		for _, n := range []int{3, 5} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				ping := pinger(b, name)
				p := newParty(b, name, n)
				gs := p.openAll()
				ctx, cancel := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				defer wg.Wait()
				defer cancel()
				for _, g := range gs {
					members(b, g, n)
					wg.Go(func() {
						for ctx.Err() == nil {
							_, _ = g.Receive(ctx)
						}
					})
				}
				var times [3][]time.Duration
				for b.Loop() {
					times[0] = append(times[0], ping())
					for _, class := range []fabric.Class{fabric.ClassAgreed, fabric.ClassSafe} {
						start := time.Now()
						ticket, err := gs[0].Send(class, []byte("x"))
						if err == nil {
							err = ticket.Wait(ctx)
						}
						if err != nil {
							b.Fatal(err)
						}
						times[class-fabric.ClassFIFO] = append(times[class-fabric.ClassFIFO], time.Since(start))
					}
				}
				var p50 [3]time.Duration
				for i := range times {
					slices.Sort(times[i])
					p50[i] = times[i][len(times[i])/2]
				}
				b.ReportMetric(float64(p50[0])/1e3, "rtt-µs")
				b.ReportMetric(float64(p50[1])/1e3, "agreed-µs")
				b.ReportMetric(float64(p50[2])/1e3, "safe-µs")
				b.ReportMetric(float64(p50[1])/float64(p50[0]), "agreed/rtt")
				b.ReportMetric(float64(p50[2])/float64(p50[0]), "safe/rtt")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkThroughput: all members send agreed messages of 256 bytes as fast as
// they can; counted is what each of them delivers.
func BenchmarkThroughput(b *testing.B) {
	for _, name := range fabrics() {
		b.Run(name+"/3", func(b *testing.B) {
			const n = 3
			p := newParty(b, name, n)
			gs := p.openAll()
			for _, g := range gs {
				members(b, g, n)
			}
			body := make([]byte, 256)
			ctx := context.Background()
			var wg sync.WaitGroup
			b.ResetTimer()
			for i, g := range gs {
				each := b.N / n
				if i == 0 {
					each = b.N - each*(n-1)
				}
				wg.Go(func() {
					for k := 0; k < each; {
						if _, err := g.Send(fabric.ClassAgreed, body); err != nil {
							time.Sleep(50 * time.Microsecond)
							continue
						}
						k++
					}
				})
				wg.Go(func() {
					for got := 0; got < b.N; {
						e, err := g.Receive(ctx)
						if err != nil {
							b.Error(err)
							return
						}
						if e.View == nil {
							got++
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
