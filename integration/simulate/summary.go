package simulate

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Summary adds up reports, by the number of members.
type Summary struct {
	sizes map[int]*sizeSummary
}

type sizeSummary struct {
	Report         // sums
	seeds, failed  int
	mostRoundsOf   map[int]int // seeds, by the most rounds of one of their elections
	failuresOf     map[string]int
	firstOfFailure map[string]uint64
}

func newSummary() *Summary { return &Summary{sizes: map[int]*sizeSummary{}} }

func total(of map[string]int) (n int) {
	for _, k := range of {
		n += k
	}
	return n
}

// Failed is the number of runs that found something wrong.
func (s *Summary) Failed() (n int) {
	for _, z := range s.sizes {
		n += z.failed
	}
	return n
}

func (s *Summary) add(r *Report) {
	z := s.sizes[r.Members]
	if z == nil {
		z = &sizeSummary{mostRoundsOf: map[int]int{}, failuresOf: map[string]int{}, firstOfFailure: map[string]uint64{}}
		z.Faults, z.Inside, z.Outside, z.OutsideWhy = map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
		z.Members = r.Members
		s.sizes[r.Members] = z
	}
	z.seeds++
	z.Simulated += r.Simulated
	z.Wall += r.Wall
	z.Events += r.Events
	for kind, n := range r.Faults {
		z.Faults[kind] += n
	}
	for _, c := range [][2]map[string]int{{z.Inside, r.Inside}, {z.Outside, r.Outside}, {z.OutsideWhy, r.OutsideWhy}} {
		for what, n := range c[1] {
			c[0][what] += n
		}
	}
	z.InsideTime += r.InsideTime
	z.Failovers += r.Failovers
	z.FailoverTime += r.FailoverTime
	z.MostFailoverTime = max(z.MostFailoverTime, r.MostFailoverTime)
	z.Held += r.Held
	z.Endorsements += r.Endorsements
	z.Views += r.Views
	z.Agreed += r.Agreed
	z.Delivered += r.Delivered
	z.Relayed += r.Relayed
	z.Elections += r.Elections
	z.Rounds += r.Rounds
	z.Acked += r.Acked
	z.Reads += r.Reads
	z.Messages += r.Messages
	z.FromRows += r.FromRows
	z.Snapshots += r.Snapshots
	z.Reconfigs += r.Reconfigs
	z.Restarts += r.Restarts
	z.mostRoundsOf[r.MostRounds]++
	if !r.Failed() {
		return
	}
	z.failed++
	check := r.Failures[0].Check
	if z.failuresOf[check]++; z.failuresOf[check] == 1 {
		z.firstOfFailure[check] = r.Seed
	}
}

// Write prints the summary for a reader.
func (s *Summary) Write(w io.Writer) {
	for _, members := range slices.Sorted(maps.Keys(s.sizes)) {
		z := s.sizes[members]
		fmt.Fprintf(w, "%d members: %d seeds, %d failed; %v simulated in %v\n", members, z.seeds, z.failed, z.Simulated.Round(time.Second), z.Wall.Round(time.Millisecond))
		fmt.Fprintf(w, "  faults      %d:", z.struck())
		for i, kind := range slices.Sorted(maps.Keys(z.Faults)) {
			if i > 0 {
				fmt.Fprint(w, ",")
			}
			fmt.Fprintf(w, " %s %d", kind, z.Faults[kind])
		}
		fmt.Fprintf(w, "\n  elections   %d in %d rounds; seeds by their longest election:", z.Elections, z.Rounds)
		for _, n := range slices.Sorted(maps.Keys(z.mostRoundsOf)) {
			fmt.Fprintf(w, " %d×%d", z.mostRoundsOf[n], n)
		}
		fmt.Fprintf(w, "\n  inside E1's assumption: %s (%v on average); outside: %s (%s)", counts(z.Inside), mean(z.InsideTime, total(z.Inside)), counts(z.Outside), counts(z.OutsideWhy))
		fmt.Fprintf(w, "\n  failovers   %d, %v on average, at most %v; %d endorsements, %d messages held",
			z.Failovers, mean(z.FailoverTime, z.Failovers), z.MostFailoverTime.Round(time.Millisecond), z.Endorsements, z.Held)
		fmt.Fprintf(w, "\n  work        %d puts, %d gets, %d raft messages, %d made of rows; %d restarts, %d snapshots, %d configurations\n",
			z.Acked, z.Reads, z.Messages, z.FromRows, z.Restarts, z.Snapshots, z.Reconfigs)
		if s := z.Wall.Seconds(); s > 0 {
			fmt.Fprintf(w, "  speed       %.2f M fabric events/s, %.0f k raft messages/s\n", float64(z.Events)/s/1e6, float64(z.Messages)/s/1e3)
		}
		for _, check := range slices.Sorted(maps.Keys(z.failuresOf)) {
			fmt.Fprintf(w, "  FAILED      %s: %d seeds, the first is %d\n", check, z.failuresOf[check], z.firstOfFailure[check])
		}
	}
}
