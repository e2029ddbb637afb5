package simulate

import (
	"testing"
	"time"
)

// A history in which each letter is a moment: see the cases.
type step struct {
	begin, end int64
	put        bool
	value      uint64 // of a put its number
	key        uint8
}

func historyOf(t *testing.T, steps []step) *clients {
	c, _, _ := bench(t)
	cs := c.clients
	for i, s := range steps {
		call := &call{cs: cs, number: s.value, key: s.key, put: s.put, client: i, begun: s.begin, end: s.end, got: s.value}
		if s.put {
			call.got = 0
		}
		cs.calls = append(cs.calls, call)
	}
	return cs
}

func TestLinearizable(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		good  bool
	}{
		{"empty", nil, true},
		{"put, then get", []step{{1, 2, true, 7, 0}, {3, 4, false, 7, 0}}, true},
		{"get of the time before", []step{{1, 2, true, 7, 0}, {3, 4, false, 0, 0}}, false},
		{"get beside the put, old", []step{{1, 4, true, 7, 0}, {2, 3, false, 0, 0}}, true},
		{"get beside the put, new", []step{{1, 4, true, 7, 0}, {2, 3, false, 7, 0}}, true},
		{"new, then old", []step{{1, 6, true, 7, 0}, {2, 3, false, 7, 0}, {4, 5, false, 0, 0}}, false},
		{"another register", []step{{1, 2, true, 7, 0}, {3, 4, false, 0, 1}}, true},
		{"a value of nobody", []step{{1, 2, false, 9, 0}}, false},
		{"unknown and seen", []step{{1, 0, true, 7, 0}, {8, 9, false, 7, 0}}, true},
		{"unknown, seen and gone again", []step{{1, 0, true, 7, 0}, {8, 9, false, 7, 0}, {10, 11, false, 0, 0}}, false},
		{"unknown and never seen", []step{{1, 0, true, 7, 0}, {8, 9, false, 0, 0}}, true},
		{"unknown, seen before it began", []step{{2, 3, false, 7, 0}, {5, 0, true, 7, 0}}, false},
		{"a get without an answer", []step{{1, 2, true, 7, 0}, {3, 0, false, 99, 0}}, true},
		{"overwritten, then back", []step{{1, 2, true, 7, 0}, {3, 4, true, 8, 0}, {5, 6, false, 7, 0}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cs := historyOf(t, c.steps)
			cs.linearizable()
			if good := len(cs.c.report.Failures) == 0; good != c.good {
				t.Errorf("linearizable: %v, want %v", good, c.good)
			}
		})
	}
}

// TestHistoryLeavesOut what has no bearing, and nothing else: with hundreds of
// puts of unknown outcome the check is quick.
func TestHistoryLeavesOut(t *testing.T) {
	var steps []step
	for i := range int64(400) {
		steps = append(steps, step{1 + i, 0, true, uint64(1000 + i), 0})
	}
	steps = append(steps, step{500, 501, false, 1200, 0}, step{502, 503, true, 5, 0}, step{504, 505, false, 5, 0})
	cs := historyOf(t, steps)
	if n := len(cs.history()); n != 4 {
		t.Errorf("%d calls are left, want one put that was seen and those with answers", n)
	}
	started := time.Now()
	if cs.linearizable(); len(cs.c.report.Failures) > 0 {
		t.Error(cs.c.report.Failures)
	}
	if took := time.Since(started); took > porcupineTimeout/2 {
		t.Errorf("it took %v", took)
	}
}

// TestCallsEndOnce: an answer after the timeout changes nothing.
func TestCallsEndOnce(t *testing.T) {
	c, _, _ := bench(t)
	call := &call{cs: c.clients, put: true, number: 3}
	call.over = true
	call.done(0)
	if call.end != 0 || c.report.Acked != 0 {
		t.Errorf("%+v, %d acknowledged", call, c.report.Acked)
	}
	call.over = false
	call.done(0)
	end := call.end
	call.done(0)
	if end == 0 || call.end != end || c.report.Acked != 1 {
		t.Errorf("%+v, %d acknowledged", call, c.report.Acked)
	}
	if got := callNumber(call.context()); got != 3 || callNumber([]byte{1}) != 0 {
		t.Errorf("the context gives %d", got)
	}
}

func TestStateRoundTrip(t *testing.T) {
	var a, b state
	if a.digest() != b.digest() || a.digest() == 0 {
		t.Error("equal states, other digests")
	}
	for i := range uint64(20) {
		cmd, err := decodeCommand((&command{100 + i, uint8(i % keys)}).encode(64))
		if err != nil || cmd.number != 100+i {
			t.Fatal(cmd, err)
		}
		a.apply(cmd)
	}
	if a.digest() == b.digest() {
		t.Error("other states, equal digests")
	}
	if err := b.decode(a.encode()); err != nil || a != b {
		t.Errorf("%v: %v, want %v", err, b, a)
	}
	if b.decode([]byte{1}) == nil {
		t.Error("a short snapshot is taken")
	}
	for _, bad := range [][]byte{nil, make([]byte, 8), {0, 0, 0, 0, 0, 0, 0, 0, keys}} {
		if _, err := decodeCommand(bad); err == nil {
			t.Errorf("%v is taken for a command", bad)
		}
	}
}
