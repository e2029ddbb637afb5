package ordered

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/sim"
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

// BenchmarkGrowth: latency by the size of the group, in virtual time, on models of
// fabrics (docs/link-models.md): what hosts and wires cost, and how it grows. One
// member sends, a message at a time; the last member to deliver counts, and the
// round trip is that of the same model's frames.
func BenchmarkGrowth(b *testing.B) {
	for _, name := range []string{"ethernet", "ib-rc", "data-vortex", "wan"} {
		model, err := sim.ModelByName(name)
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range []int{3, 5, 9, 16, 32} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				cfg := sim.Config{Seed: 1}
				model.Apply(&cfg)
				var p50, p99 [2]time.Duration
				for b.Loop() {
					c := newCluster(b, n, cfg, EndpointConfig{})
					if !c.until(5*time.Second, c.whole) || c.err != nil {
						b.Fatalf("no view: %v", c.err)
					}
					for i, class := range []fabric.Class{fabric.ClassAgreed, fabric.ClassSafe} {
						times := c.latencies(b, class, 200)
						p50[i], p99[i] = times[len(times)/2], times[len(times)*99/100]
					}
				}
				rtt := roundTrip(b, cfg)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(rtt)/1e3, "rtt-µs")
				b.ReportMetric(float64(p50[0])/1e3, "agreed-p50-µs")
				b.ReportMetric(float64(p99[0])/1e3, "agreed-p99-µs")
				b.ReportMetric(float64(p50[1])/1e3, "safe-p50-µs")
				b.ReportMetric(float64(p50[0])/float64(rtt), "agreed/rtt")
				b.ReportMetric(float64(p50[1])/float64(rtt), "safe/rtt")
			})
		}
	}
}

// latencies are those of messages that the members send in turns, sorted.
func (c *cluster) latencies(b *testing.B, class fabric.Class, n int) (times []time.Duration) {
	got, last := 0, time.Duration(0)
	c.at = func(_ *member, e Event) {
		if e.View == nil {
			got, last = got+1, c.net.Now()
		}
	}
	for k := range n {
		c.net.Advance(1700 * time.Microsecond)
		got = 0
		sent := c.net.Now()
		if err := c.members[k%len(c.members)].send(class, uint64(class)<<32|uint64(k)); err != nil {
			b.Fatal(err)
		}
		for got < len(c.members) && c.net.Now()-sent < time.Second && c.net.Step() {
		}
		times = append(times, last-sent)
	}
	slices.Sort(times)
	return times
}

// roundTrip is the median of a small frame's there and back.
func roundTrip(b *testing.B, cfg sim.Config) time.Duration {
	net, err := sim.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	es := [2]*echo{}
	for i := range es {
		es[i] = &echo{came: make(chan struct{}, 1), ready: make(chan struct{})}
		if es[i].port, err = net.Join(fabric.MemberID(i+1), es[i]); err != nil {
			b.Fatal(err)
		}
	}
	net.Advance(time.Second)
	var times []time.Duration
	for range 200 {
		net.Advance(500 * time.Microsecond)
		sent := net.Now()
		if err := es[0].port.Send([]fabric.Outgoing{{To: []fabric.MemberID{2}, Body: make([]byte, 32), Lane: fabric.LaneAppend}}); err != nil {
			b.Fatal(err)
		}
		for len(es[0].came) == 0 && net.Step() {
		}
		<-es[0].came
		times = append(times, net.Now()-sent)
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// BenchmarkIdle: how much of a core a member takes that has nothing to do.
func BenchmarkIdle(b *testing.B) {
	for _, name := range fabrics() {
		for _, n := range []int{3, 7} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				p := newParty(b, name, n)
				for _, g := range p.openAll() {
					members(b, g, n)
				}
				time.Sleep(2 * time.Second) // until they beat seldom
				b.ResetTimer()
				const length = 5 * time.Second
				before := processorTime(b)
				time.Sleep(length)
				used := processorTime(b) - before
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(100*used.Seconds()/length.Seconds()/float64(n), "%-of-a-core")
			})
		}
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
