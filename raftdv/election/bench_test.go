package election

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

func benchArbiter(b *testing.B) *table {
	t := newTable(b, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	for i := range t.arbs {
		t.publish(i)
	}
	t.lead(1, 5)
	t.pass(100 * ms)
	b.ReportAllocs()
	return t
}

func BenchmarkReceive(b *testing.B) {
	t := benchArbiter(b)
	m := msg(raftpb.MsgHeartbeat, 1, 2, 5)
	for b.Loop() {
		t.arbs[1].Receive(t.now, m)
	}
}

func BenchmarkSent(b *testing.B) {
	t := benchArbiter(b)
	m := []*raftpb.Message{acceptMsg(2, 1, 5, 10)}
	for b.Loop() {
		t.arbs[1].Sent(t.now, m)
	}
}

func BenchmarkRow(b *testing.B) {
	t := benchArbiter(b)
	row := fabric.Row{Owner: 1, Incarnation: 1, Version: 1 << 40}
	for b.Loop() {
		row.Version++
		t.arbs[0].progress++
		row.Sections = t.arbs[0].AppendSection(row.Sections[:0])
		if err := t.arbs[1].Row(t.now, &row); err != nil {
			b.Fatal(err)
		}
	}
}

// Rows of acks come up to 100,000 times a second: what they cost here must not
// reach the collector.
func TestRowsDoNotAllocate(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	row := fabric.Row{Owner: 1, Incarnation: 1, Version: 1 << 40}
	version := func() {
		row.Version++
		b.arbs[0].progress++
		row.Sections = b.arbs[0].AppendSection(row.Sections[:0])
		must(b.arbs[1].Row(b.now, &row))
	}
	version()
	version() // both of a peer's sections have their room
	if n := testing.AllocsPerRun(100, version); n > 0 {
		t.Errorf("%v allocations for a version of a row", n)
	}
	beat, accept := msg(raftpb.MsgHeartbeat, 1, 2, 5), []*raftpb.Message{acceptMsg(2, 1, 5, 10)}
	if n := testing.AllocsPerRun(100, func() {
		b.arbs[1].Receive(b.now, beat)
		b.arbs[1].Sent(b.now, accept)
	}); n > 0 {
		t.Errorf("%v allocations for a heartbeat and an answer", n)
	}
}

func BenchmarkAppendSection(b *testing.B) {
	t := benchArbiter(b)
	var room []byte
	for b.Loop() {
		room = t.arbs[0].AppendSection(room[:0])
	}
}
