package sim

import (
	"testing"

	"github.com/raftdv/dv/fabric"
)

// TestWorldSeesBreaches is the negative control of the checks that
// TestContractUnderAllFaults relies on.
func TestWorldSeesBreaches(t *testing.T) {
	frame := func(stream, link uint64) []fabric.Frame {
		return []fabric.Frame{{Header: fabric.Header{Stream: stream, Link: link, Lane: fabric.LaneAppend}}}
	}
	for name, breach := range map[string]func(w *world, a, b *actor){
		"unknown frame": func(_ *world, a, b *actor) { b.Deliver(a.id, frame(99, 1)) },
		"twice": func(_ *world, a, b *actor) {
			b.Deliver(a.id, frame(1, 1))
			b.Deliver(a.id, frame(1, 2))
		},
		"out of order":     func(_ *world, a, b *actor) { b.Deliver(a.id, frame(1, 2)) },
		"wrong sender":     func(_ *world, _, b *actor) { b.Deliver(b.id, frame(1, 1)) },
		"wrong gap":        func(_ *world, a, b *actor) { b.Gap(a.id, fabric.Gap{First: 2, Count: 1}) },
		"old incarnation":  func(_ *world, a, b *actor) { b.of[a.id] = 5; b.Deliver(a.id, frame(1, 1)) },
		"row again":        func(_ *world, a, b *actor) { b.Row(a.id, fabric.Row{Owner: a.id}) },
		"unknown ticket":   func(_ *world, a, _ *actor) { a.Resolve([]fabric.Resolution{{Ticket: 99}}) },
		"resolved twice":   func(_ *world, a, _ *actor) { a.Resolve([]fabric.Resolution{{Ticket: 1}, {Ticket: 1}}) },
		"somebody else's":  func(_ *world, _, b *actor) { b.Resolve([]fabric.Resolution{{Ticket: 1}}) },
		"never resolved":   func(w *world, _, _ *actor) { w.check() },
		"acked, not there": func(w *world, a, _ *actor) { a.Resolve([]fabric.Resolution{{Ticket: 1}}); w.check() },
		"row is missing":   func(w *world, a, _ *actor) { a.version = 3; delete(w.sent, 1); w.check() },
	} {
		w := newWorld(t, 2, Config{Seed: 1})
		a, b := w.peers[w.ids[0]], w.peers[w.ids[1]]
		w.sent[1] = &sending{from: a, to: b, lane: fabric.LaneAppend}
		if breach(w, a, b); len(w.wrong) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
	w := newWorld(t, 2, Config{Seed: 1})
	a, b := w.peers[w.ids[0]], w.peers[w.ids[1]]
	w.sent[1] = &sending{from: a, to: b, lane: fabric.LaneAppend}
	b.Deliver(a.id, frame(1, 1))
	a.Resolve([]fabric.Resolution{{Ticket: 1}})
	if w.check(); len(w.wrong) > 0 {
		t.Errorf("a clean run: %q", w.wrong)
	}
}
