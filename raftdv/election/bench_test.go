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
