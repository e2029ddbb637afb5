package bench

import (
	"testing"
	"time"
)

func TestETA(t *testing.T) {
	e := newETA(4, time.Minute)
	at := e.begin
	e.now = func() time.Time { return at }
	for i, want := range []string{"about 1m0s left", "about 30s left", "about 18s left", "about 9s left"} {
		if got := e.next(); got != want {
			t.Errorf("before part %d: %q, want %q", i+1, got, want)
		}
		at = at.Add(10 * time.Second)
		if i == 1 {
			at = at.Add(-2 * time.Second)
		}
	}
}
