package fabrictest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// TestScript: a script does everything that it promises, the same each time.
func TestScript(t *testing.T) {
	s := NewScript(1, 400)
	batches, rows, stalls, pauses := s.kinds()
	frames, bytes := s.frames()
	t.Logf("%d batches of %d frames and %d bytes, %d rows, %d stalls, %d pauses", batches, frames, bytes, rows, stalls, pauses)
	if batches < 200 || rows < 30 || stalls < 5 || pauses < 5 || frames < 3000 || bytes < 5<<20 {
		t.Error("something hardly ever happens")
	}
	var sizes []int
	lanes, multicast, patched, long := map[fabric.Lane]int{}, 0, 0, 0
	for _, st := range s.steps {
		if len(st.batch) > 20 {
			long++
		}
		for _, f := range st.batch {
			sizes = append(sizes, f.size)
			lanes[f.lane]++
			if len(f.to) > 1 {
				multicast++
			}
			if len(f.patches) > 1 {
				patched++
			}
		}
	}
	if slices.Min(sizes) != 1 || slices.Max(sizes) != scriptMaxFrame || len(lanes) != fabric.Lanes || multicast < 500 || patched < 200 || long < 10 {
		t.Errorf("sizes %d to %d, lanes %v, %d multicast, %d of them with patches, %d long batches", slices.Min(sizes), slices.Max(sizes), lanes, multicast, patched, long)
	}
	if d := NewScript(1, 400).Expected().Diff(s.Expected()); d != nil {
		t.Errorf("the same seed: %q", d)
	}
	if d := NewScript(2, 400).Expected().Diff(s.Expected()); d == nil {
		t.Error("another seed gives the same script")
	}
}

func TestPlayOnTheReference(t *testing.T) {
	s := NewScript(3, 150)
	if d := Play(t, refFactory(""), s).Diff(s.Expected()); d != nil {
		t.Errorf("%s", strings.Join(d, "\n"))
	}
}

// playSays is what Diff says of planted bugs.
var playSays = map[string]string{
	"frames change places": "are missing", "a frame arrives twice": "delivered ", "large frames are cut short": "delivered ",
	"all destinations get the first one's patch": "delivered ", "the stamp is dropped": "delivered ", "link sequences start at 0": "delivered ",
	"keeps the caller's bytes": "delivered ", "the sender is taken from elsewhere": "delivered ", "acked and dropped": "are missing",
	"a ticket resolves twice": "is settled twice", "a ticket is forgotten": "everything settles: not within",
	"a resolution names the wrong lane": `: "acked in control", want`, "an old row comes back": "is handed row",
}

// TestPlayFindsPlantedBugs is the negative control of Play and Diff.
func TestPlayFindsPlantedBugs(t *testing.T) {
	for bug := range playSays {
		if raceEnabled && races[bug] {
			continue // TestNoRacePlanted has it
		}
		t.Run(bug, func(t *testing.T) {
			t.Parallel() // what waits for something that does not come
			findByPlay(t, bug)
		})
	}
}

func findByPlay(t *testing.T, bug string) {
	s := NewScript(3, 150)
	s.patience = 2 * time.Second
	r := &recorder{TB: t, name: bug}
	var found []string
	r.do(func() { found = Play(r, refFactory(bug), s).Diff(s.Expected()) })
	if found = append(found, r.messages...); !strings.Contains(strings.Join(found, "\n"), playSays[bug]) {
		t.Errorf("want %q, found:\n%s", playSays[bug], strings.Join(found, "\n"))
	}
}

// TestDiffSeesEverything: each part of an outcome counts.
func TestDiffSeesEverything(t *testing.T) {
	a, b := memberIDs(2)[0], memberIDs(2)[1]
	whole := func() *Outcome {
		o := newOutcome()
		o.arrive(a, b, arrival{link: 1, stream: 5, size: 3, digest: 9})
		o.arrive(a, b, arrival{link: 2, stream: 6, size: 3, digest: 9})
		o.settle(a, fabric.Resolution{To: b, Ticket: 5})
		o.row(a, b, fabric.Row{Owner: a, Incarnation: 1, Version: 4, Sections: []byte{1}})
		return o
	}
	if d := whole().Diff(whole()); d != nil {
		t.Fatalf("equal outcomes: %q", d)
	}
	lanes := func(o *Outcome) []arrival { return o.lanes[[2]fabric.MemberID{a, b}][0] }
	for what, change := range map[string]func(o *Outcome){
		"order":      func(o *Outcome) { l := lanes(o); l[0], l[1] = l[1], l[0] },
		"size":       func(o *Outcome) { lanes(o)[0].size++ },
		"bytes":      func(o *Outcome) { lanes(o)[0].digest++ },
		"class":      func(o *Outcome) { lanes(o)[0].class++ },
		"stamp":      func(o *Outcome) { lanes(o)[0].stamp.Time++ },
		"sequence":   func(o *Outcome) { lanes(o)[1].link++ },
		"one more":   func(o *Outcome) { o.arrive(a, b, arrival{}) },
		"lane":       func(o *Outcome) { o.arrive(b, a, arrival{lane: 2}) },
		"lost":       func(o *Outcome) { o.tickets[ticketAt{a, b, 5}] = "lost" },
		"twice":      func(o *Outcome) { o.settle(a, fabric.Resolution{To: b, Ticket: 5}) },
		"never":      func(o *Outcome) { clear(o.tickets) },
		"row":        func(o *Outcome) { o.row(a, b, fabric.Row{Owner: a, Incarnation: 1, Version: 4, Sections: []byte{2}}) },
		"no row":     func(o *Outcome) { clear(o.rows) },
		"any breach": func(o *Outcome) { o.fault("a gap") },
	} {
		o := whole()
		change(o)
		if o.Diff(whole()) == nil || whole().Diff(o) == nil {
			t.Errorf("%s: not seen", what)
		}
	}
}
