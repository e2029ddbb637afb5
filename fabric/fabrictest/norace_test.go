//go:build !race

package fabrictest

import "testing"

const raceEnabled = false

// TestNoRacePlanted: bugs that are data races are found by what they do, too.
func TestNoRacePlanted(t *testing.T) {
	found := map[string]bool{}
	for i := range planted {
		if p := &planted[i]; races[p.bug] {
			found[p.bug] = true
			t.Run(p.bug+" - "+p.name, p.find)
		}
	}
	for bug := range races {
		if _, ok := playSays[bug]; ok {
			t.Run("played: "+bug, func(t *testing.T) { findByPlay(t, bug) })
		}
		if !found[bug] {
			t.Errorf("no case is to find that %q", bug)
		}
	}
}
