package udp

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// rowTimer notes when rows come.
type rowTimer struct {
	*benchHandler
	at chan time.Time
}

func (h *rowTimer) Row(fabric.MemberID, fabric.Row) { h.at <- time.Now() }

// BenchmarkRowAfterPause measures what an election consists of: one op is a row
// to n peers that nothing was sent to for a while, until the last of them has it.
func BenchmarkRowAfterPause(b *testing.B) {
	const pause = 3 * time.Millisecond
	for _, n := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("to=%d", n), func(b *testing.B) {
			rows := make(chan time.Time, n)
			h := newBenchHandler()
			center := mustPort(b, Config{Self: 1, Listen: "127.0.0.1:0"}, h, nil)
			defer center.Close()
			var ids []fabric.MemberID
			for i := range n {
				id := fabric.MemberID(i + 2)
				r := &rowTimer{newBenchHandler(), rows}
				p := mustPort(b, Config{Self: id, Listen: "127.0.0.1:0"}, r, nil)
				defer p.Close()
				at, there := testKeys(1, id, 1, 1, 0, false)
				at.Addr, there.Addr = p.LocalAddr(), center.LocalAddr()
				if err := center.Connect(id, at); err != nil {
					b.Fatal(err)
				}
				if err := p.Connect(1, there); err != nil {
					b.Fatal(err)
				}
				ids = append(ids, id)
			}
			for h.up.Load() < int64(n) {
				time.Sleep(time.Millisecond)
			}
			row := fabric.Row{Owner: 1, Incarnation: 1, Sections: fabric.AppendSection(nil, fabric.Section{ID: fabric.SectionArbiter, Version: 1, Value: make([]byte, 180)})}
			var took []time.Duration
			cpu := cpuTime()
			for b.Loop() {
				time.Sleep(pause)
				row.Version++
				start := time.Now()
				if err := center.Publish(row, ids); err != nil {
					b.Fatal(err)
				}
				for range n {
					took = append(took, (<-rows).Sub(start))
				}
			}
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
			slices.Sort(took)
			for _, q := range []int{50, 99} {
				b.ReportMetric(float64(took[len(took)*q/100].Nanoseconds())/1000, fmt.Sprintf("p%d-us", q))
			}
		})
	}
}
