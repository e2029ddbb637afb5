package raftdv

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestAlarm: it rings in time for each deadline that stands, and not for those that
// have moved, but for such as moved too often.
func TestAlarm(t *testing.T) {
	const ms = time.Millisecond
	type move struct{ at, due time.Duration }
	for _, c := range []struct {
		name  string
		moves []move
		want  []time.Duration // when it rings, until a second has passed
	}{
		{"it stays", []move{{0, 20 * ms}}, []time.Duration{20 * ms}},
		{"it moves to an earlier time", []move{{0, 200 * ms}, {10 * ms, 50 * ms}}, []time.Duration{50 * ms}},
		{"it moves to a later time", []move{{0, 20 * ms}, {10 * ms, 500 * ms}}, []time.Duration{500 * ms}},
		{"twice", []move{{0, 20 * ms}, {10 * ms, 200 * ms}, {100 * ms, 500 * ms}}, []time.Duration{500 * ms}},
		{"too soon after", []move{{0, 20 * ms}, {10 * ms, 30 * ms}, {12 * ms, 500 * ms}}, []time.Duration{30 * ms, 500 * ms}},
		{"there and back", []move{{0, 20 * ms}, {10 * ms, 500 * ms}, {11 * ms, 40 * ms}}, []time.Duration{40 * ms}},
		{"it is over", []move{{0, 20 * ms}, {10 * ms, 5 * ms}}, []time.Duration{10 * ms}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				now := func() time.Duration { return time.Since(begin) }
				a := newAlarm()
				defer a.stop()
				<-a.C
				a.rang()
				due := time.Hour
				var rung []time.Duration
				next := 0
				for now() < time.Second {
					wait := time.Second - now()
					if next < len(c.moves) {
						wait = c.moves[next].at - now()
					}
					select {
					case <-time.After(wait):
						if next < len(c.moves) {
							due = c.moves[next].due
							next++
							a.set(due, now())
						}
					case <-a.C:
						rung = append(rung, now())
						if a.rang(); now() >= due {
							due = time.Hour
						}
						a.set(due, now())
					}
				}
				if len(rung) != len(c.want) {
					t.Fatalf("it rings at %v, want %v", rung, c.want)
				}
				for i := range rung {
					if rung[i] != c.want[i] {
						t.Errorf("it rings at %v, want %v", rung, c.want)
					}
				}
			})
		})
	}
}
