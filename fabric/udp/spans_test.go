package udp

import (
	"testing"

	"pgregory.net/rapid"
)

// TestSpans compares a set of spans with a set of numbers.
func TestSpans(t *testing.T) {
	const world = 64
	rapid.Check(t, func(t *rapid.T) {
		var s, other spans
		var model, otherModel [world]bool
		draw := func(name string) (uint64, uint64) {
			lo := rapid.Uint64Range(0, world-1).Draw(t, name)
			return lo, rapid.Uint64Range(lo, world).Draw(t, name+" end")
		}
		fill := func(m *[world]bool, lo, hi uint64, v bool) {
			for i := lo; i < hi; i++ {
				m[i] = v
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				lo, hi := draw("add")
				s.add(lo, hi)
				fill(&model, lo, hi, true)
			case 1:
				lo, hi := draw("remove")
				s.remove(lo, hi)
				fill(&model, lo, hi, false)
			case 2:
				lo, hi := draw("other")
				other.add(lo, hi)
				fill(&otherModel, lo, hi, true)
			case 3:
				lo, hi := draw("without")
				s.addWithout(lo, hi, other)
				for i := lo; i < hi; i++ {
					model[i] = model[i] || !otherModel[i]
				}
			case 4:
				x, _ := draw("join")
				got, want := s.join(x), x
				for want < world && model[want] {
					want++
				}
				fill(&model, 0, want, false)
				if got != want {
					t.Fatalf("join(%d) = %d, want %d", x, got, want)
				}
			}
			if err := s.check(0, world); err != nil {
				t.Fatal(err)
			}
			for i, want := range model {
				if got := s.has(uint64(i)); got != want {
					t.Fatalf("%v has %d: %v, want %v", s, i, got, want)
				}
			}
		}
	})
}

func (s spans) has(x uint64) bool {
	for _, e := range s {
		if e.lo <= x && x < e.hi {
			return true
		}
	}
	return false
}

func TestFIFO(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f fifo[int]
		var model []int
		for i := range rapid.IntRange(0, 300).Draw(t, "steps") {
			switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
			case what < 6:
				f.push(i)
				model = append(model, i)
			case what < 9 && len(model) > 0:
				f.pop()
				model = model[1:]
			case what == 9:
				f.clear()
				model = nil
			}
			if f.len() != len(model) {
				t.Fatalf("len %d, want %d", f.len(), len(model))
			}
			for k, want := range model {
				if *f.at(k) != want {
					t.Fatalf("at %d: %d, want %d", k, *f.at(k), want)
				}
			}
		}
	})
}
