package netns

import (
	"testing"
	"time"
)

// TestLinks: a link that is cut carries nothing in that direction, and all others do.
func TestLinks(t *testing.T) {
	l := links(t, 3)
	e, number := newEchoes(t, l), byte(0)
	for _, c := range []struct {
		cut  []Link
		want map[Link]bool // whether a datagram is answered
	}{
		{nil, map[Link]bool{{0, 1}: true, {1, 0}: true, {0, 2}: true}},
		{[]Link{{0, 1}}, map[Link]bool{{0, 1}: false, {1, 0}: false, {0, 2}: true, {1, 2}: true}},
		{nil, map[Link]bool{{0, 1}: true}},
	} {
		if err := l.Only(c.cut); err != nil {
			t.Fatal(err)
		}
		for k, want := range c.want {
			if got := waitFor(func() bool { number++; return e.ask(k, number, 100) == want }); !got {
				t.Errorf("with %v cut: a datagram over %v is answered: %v", c.cut, k, !want)
			}
		}
	}
}

// waitFor tries a few times: commands of a batch take effect a moment later.
func waitFor(ok func() bool) bool {
	for range 20 {
		if ok() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}
