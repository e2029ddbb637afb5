package raftdv

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

func (rp *rowPublisher) versions() uint64 {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	return rp.version
}

// TestRepeats: accepts that say nothing new wait for company, and arrive.
func TestRepeats(t *testing.T) {
	options := nodeOptions{config: Config{Fabrics: []string{FabricStream}}}
	nodes := startNodes(t, options, options)
	onPath(t, FabricStream, nodes...)
	a, b := nodes[0], nodes[1]
	accepts := func() (n int, last uint64) {
		b.raft.mu.Lock()
		defer b.raft.mu.Unlock()
		for _, m := range b.raft.got {
			if m.GetType() == raftpb.MsgAppResp {
				n, last = n+1, m.GetIndex()
			}
		}
		return n, last
	}
	send := func(index uint64) { a.tr.Send([]*raftpb.Message{accept(uint64(a.id), uint64(b.id), 5, index)}) }
	send(10)
	eventually(t, "the accept arrives", func() bool { n, last := accepts(); return n == 1 && last == 10 })
	if got := a.dv.rows.versions(); got != 1 {
		t.Errorf("%d versions for an accept", got)
	}
	begin := time.Now()
	for range 100 {
		send(10)
	}
	most := uint64(time.Since(begin)/RepeatDelay) + 2
	eventually(t, "that it was repeated arrives", func() bool { n, _ := accepts(); return n > 1 })
	if got := a.dv.rows.versions() - 1; got > most {
		t.Errorf("%d versions for a hundred repeats, want %d at most", got, most)
	}
	send(10)
	send(11) // takes the one before with it
	eventually(t, "the next accept arrives", func() bool { _, last := accepts(); return last == 11 })
	a.dv.rows.mu.Lock()
	late := a.dv.rows.anyLate()
	a.dv.rows.mu.Unlock()
	if late {
		t.Error("who has the row waits for it")
	}
}

func TestRowWriterRepeats(t *testing.T) {
	w := NewRowWriter(3)
	if w.Repeats(accept(3, 1, 5, 10)) {
		t.Error("the first accept repeats one")
	}
	w.Note(accept(3, 1, 5, 10))
	for _, c := range []struct {
		why  string
		m    *raftpb.Message
		want bool
	}{
		{"equal", accept(3, 1, 5, 10), true},
		{"of less", accept(3, 1, 5, 9), true},
		{"of more", accept(3, 1, 5, 11), false},
		{"of a newer term", accept(3, 1, 6, 10), false},
		{"to somebody else", accept(3, 2, 5, 10), false},
		{"no accept", beat(3, 1, 5, nil), false},
	} {
		if got := w.Repeats(c.m); got != c.want {
			t.Errorf("%s: %v", c.why, got)
		}
	}
}
