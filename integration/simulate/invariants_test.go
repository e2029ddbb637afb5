package simulate

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/raftdv/dv/raftdv/election"
)

var (
	testSeeds = flag.Int("seeds", 2, "seeds for each number of members")
	elections = flag.String("elections", "on", "arbiters of the seeds' members: off, observe or on")
	firstSeed = flag.Uint64("first-seed", 1, "the first of them")
)

var testMembers = sizes(3, 5, 7)

// sizes are those of clusters to test with: under the race detector the first.
func sizes(members ...int) []int {
	if raced {
		return members[:1]
	}
	return members
}

// run is Run for tests.
func run(t testing.TB, cfg Config) *Report {
	t.Helper()
	r, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// invariants are what make invariants prints a line for: the id, and how the
// names of its checks begin.
var invariants = []string{"F1", "F2", "F3", "R1", "E1", "E2", "E3", "E4", "B1", "B2", "O1", "O2", "O3", "V1", "V2", "raft", "linearizable"}

func of(check, id string) bool { return check == id || strings.HasPrefix(check, id+":") }

// evidence is what of the runs had to do with an invariant.
func (s *Summary) evidence(id string) (what string, ok bool) {
	var all Report
	inside, outside := 0, 0
	for _, z := range s.sizes {
		inside, outside = inside+total(z.Inside), outside+total(z.Outside)
		all.Elections += z.Elections
		all.Held += z.Held
		all.Endorsements += z.Endorsements
		all.Views += z.Views
		all.Agreed += z.Agreed
		all.Delivered += z.Delivered
		all.Relayed += z.Relayed
	}
	switch id {
	case "E1":
		return fmt.Sprintf("%d elections inside its assumption and %d outside", inside, outside), true
	case "E2":
		return fmt.Sprintf("%d elections", all.Elections), true
	case "E3":
		return fmt.Sprintf("%d messages held", all.Held), true
	case "E4":
		return fmt.Sprintf("%d endorsements", all.Endorsements), true
	case "B1", "V1", "V2":
		return fmt.Sprintf("%d views installed", all.Views), true
	case "B2", "O1", "O2", "O3":
		return fmt.Sprintf("%d deliveries of %d frames", all.Delivered, all.Agreed), true
	}
	return "", false
}

// TestInvariants runs seeds that must keep every invariant, and runs with a
// planted bug that must not keep theirs. Its last lines sum that up.
func TestInvariants(t *testing.T) {
	mode, err := election.ParseMode(*elections)
	if err != nil {
		t.Fatal(err)
	}
	broken := map[string]int{}
	seeds, sum := 0, newSummary()
	t.Run("seeds", func(t *testing.T) {
		for _, members := range testMembers {
			for i := range *testSeeds {
				r := run(t, Config{Seed: *firstSeed + uint64(i), Members: members, Elections: mode, Failovers: 2, Views: true})
				seeds++
				sum.add(r)
				if r.Failed() {
					r.Write(os.Stdout)
					t.Errorf("%v: replay with: %s", r.Failures[0], r.Replay())
				}
				for _, f := range r.Failures {
					broken[f.Check]++
				}
			}
		}
	})
	caught, planted := map[string]int{}, map[string]int{}
	for _, p := range plants {
		t.Run("planted/"+p.check+"/"+p.name, func(t *testing.T) {
			id, _, _ := strings.Cut(p.check, ":")
			planted[id]++
			if r := p.run(t); r == nil {
				t.Errorf("not noticed by %q", p.check)
			} else {
				caught[id]++
				t.Logf("%+v", r.Failures[0])
			}
		})
	}
	for _, id := range invariants {
		line := fmt.Sprintf("%s holds", id)
		for check, n := range broken {
			if of(check, id) {
				line = fmt.Sprintf("%s IS BROKEN in %d", id, n)
			}
		}
		line += fmt.Sprintf(" in %d seeds (n = %s), ", seeds, strings.Trim(strings.ReplaceAll(fmt.Sprint(testMembers), " ", ", "), "[]"))
		if evidence, ok := sum.evidence(id); ok {
			line += evidence + ", "
			if seeds > 0 && mode == election.On && strings.HasPrefix(evidence, "0 ") {
				t.Errorf("%s: %s: it was not exercised", id, evidence)
			}
		}
		switch {
		case planted[id] == 0:
			line += "NO BUG WAS PLANTED"
			t.Errorf("no bug is planted for %s", id)
		case caught[id] < planted[id]:
			line += fmt.Sprintf("PLANTED BUG NOT CAUGHT (%d of %d)", caught[id], planted[id])
		default:
			line += fmt.Sprintf("planted bug caught (%d of %d)", caught[id], planted[id])
		}
		fmt.Println(line)
	}
}
