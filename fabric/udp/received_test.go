package udp

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// numbers draws packet numbers as they come over a bad path.
func numbers(t *rapid.T) []uint64 {
	var list []uint64
	at := rapid.Uint64Range(0, 3*replayWindow).Draw(t, "start")
	for range rapid.IntRange(1, 200).Draw(t, "packets") {
		switch rapid.IntRange(0, 9).Draw(t, "jump") {
		case 0:
			at += rapid.Uint64Range(0, 70).Draw(t, "far")
		case 1:
			at += rapid.Uint64Range(0, 2*replayWindow).Draw(t, "very far")
		case 2, 3:
			at -= min(at, rapid.Uint64Range(0, 200).Draw(t, "back"))
		default:
			at++
		}
		list = append(list, at)
	}
	return list
}

// TestReplayWindow: "Endpoints MUST discard packets that they have already
// processed" (RFC 9000 §12.3): no number is fresh twice, and every number within
// the window is fresh once.
func TestReplayWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r received
		seen := make(map[uint64]bool)
		largest := uint64(0)
		for _, n := range numbers(t) {
			fresh := r.fresh(n)
			inWindow := len(seen) == 0 || n+replayWindow > largest
			if fresh && seen[n] {
				t.Fatalf("%d is fresh twice", n)
			}
			if !fresh && !seen[n] && inWindow {
				t.Fatalf("%d is refused, largest is %d", n, largest)
			}
			if fresh {
				r.add(n, 0)
				seen[n] = true
				largest = max(largest, n)
			}
		}
	})
}

// TestAckRanges: what an ack chunk says is what was received, from the largest
// downwards.
func TestAckRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r received
		seen := make(map[uint64]bool)
		largest := uint64(0)
		for _, n := range numbers(t) {
			if !r.fresh(n) {
				continue
			}
			r.add(n, 1000)
			seen[n] = true
			largest = max(largest, n)
			b := r.appendAck(nil, 5000)
			if len(b) > maxAckLen {
				t.Fatalf("ack of %d bytes", len(b))
			}
			var c chunk
			rest, err := nextChunk(b, &c)
			if err != nil || len(rest) > 0 || c.typ != chunkAck {
				t.Fatalf("ack %x: %v, rest %x", b, err, rest)
			}
			checkAck(t, c.data, seen, largest)
		}
	})
}

func checkAck(t *rapid.T, b []byte, seen map[uint64]bool, largest uint64) {
	var a ackReader
	a.open(b)
	if a.largest != largest || a.delay > 4 {
		t.Fatalf("largest %d, delay %d; want %d, at most 4", a.largest, a.delay, largest)
	}
	ranges, next := a.left, largest
	for first := true; a.left > 0; first = false {
		lo, hi, ok := a.next()
		if !ok || !first && hi+1 >= next {
			t.Fatalf("range %d..%d after %d (%v)", lo, hi, next, ok)
		}
		for n := hi + 1; n < next; n++ {
			if seen[n] {
				t.Fatalf("%d was received and is not acknowledged", n)
			}
		}
		for n := lo; n <= hi; n++ {
			if !seen[n] {
				t.Fatalf("%d is acknowledged and was not received", n)
			}
		}
		next = lo
	}
	if ranges < maxAckRanges {
		for n := range seen {
			if n < next && n+replayWindow > largest {
				t.Fatalf("%d was received and is not acknowledged, with %d ranges", n, ranges)
			}
		}
	}
}

// TestWantAck: "an endpoint SHOULD generate and send an ACK frame without delay
// when it receives an ack-eliciting packet [...] when the received packet has a
// packet number less than another [...] or when there are missing packets"
// (RFC 9000 §13.2.1).
func TestWantAck(t *testing.T) {
	var r received
	recv := func(n uint64, asked bool) bool {
		r.add(n, 0)
		r.wantAck(n, 0, asked, time.Millisecond)
		due := r.due(0)
		if due {
			r.appendAck(nil, 0)
		}
		return due
	}
	for _, step := range []struct {
		n     uint64
		asked bool
		want  bool
		why   string
	}{
		{0, false, false, "in order"},
		{1, true, true, "asked"},
		{2, false, false, "in order"},
		{4, false, true, "3 is missing"},
		{5, false, true, "second after the hole"},
		{6, false, true, "third after the hole"},
		{7, false, false, "the sender's threshold is reached"},
		{3, false, true, "late"},
		{8, false, false, "in order"},
	} {
		if got := recv(step.n, step.asked); got != step.want {
			t.Errorf("packet %d (%s): ack at once %v, want %v", step.n, step.why, got, step.want)
		}
	}
	if !r.due(int64(time.Millisecond)) {
		t.Error("the delay is over and no ack is due")
	}
	for n := uint64(9); n < 9+ackEvery-2; n++ {
		if recv(n, false) {
			t.Fatalf("packet %d of %d is acknowledged at once", n-8, ackEvery)
		}
	}
	if !recv(9+ackEvery-2, false) {
		t.Errorf("%d packets without an ack", ackEvery)
	}
}
