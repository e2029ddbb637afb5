package simulate

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Table prints the summary as Markdown, for a document: a column for each number
// of members.
func (s *Summary) Table(w io.Writer) {
	sizes := slices.Sorted(maps.Keys(s.sizes))
	row := func(name string, cell func(z *sizeSummary) string) {
		fmt.Fprintf(w, "| %s |", name)
		for _, n := range sizes {
			fmt.Fprintf(w, " %s |", cell(s.sizes[n]))
		}
		fmt.Fprintln(w)
	}
	row("members", func(z *sizeSummary) string { return fmt.Sprint(z.Members) })
	row("---", func(*sizeSummary) string { return "---" })
	row("seeds", func(z *sizeSummary) string { return fmt.Sprint(z.seeds) })
	row("failed", func(z *sizeSummary) string {
		if z.failed == 0 {
			return "0"
		}
		return fmt.Sprintf("%d: %s", z.failed, counts(z.failuresOf))
	})
	row("simulated", func(z *sizeSummary) string { return z.Simulated.Round(time.Minute).String() })
	for _, kind := range s.kinds() {
		row("fault: "+kind, func(z *sizeSummary) string { return fmt.Sprint(z.Faults[kind]) })
	}
	row("restarts, snapshots, configurations", func(z *sizeSummary) string {
		return fmt.Sprintf("%d, %d, %d", z.Restarts, z.Snapshots, z.Reconfigs)
	})
	row("puts, gets answered", func(z *sizeSummary) string { return fmt.Sprintf("%d, %d", z.Acked, z.Reads) })
	row("elections, rounds", func(z *sizeSummary) string { return fmt.Sprintf("%d, %d", z.Elections, z.Rounds) })
	row("inside E1's assumption", func(z *sizeSummary) string { return cell(z.Inside) })
	row("outside", func(z *sizeSummary) string { return cell(z.Outside) })
	row("inside: first sign to leader", func(z *sizeSummary) string { return mean(z.InsideTime, total(z.Inside)).String() })
	row("leader crashed or stopped: times, mean, most", func(z *sizeSummary) string {
		return fmt.Sprintf("%d, %v, %v", z.Failovers, mean(z.FailoverTime, z.Failovers), z.MostFailoverTime.Round(time.Millisecond))
	})
	row("endorsements, messages held", func(z *sizeSummary) string { return fmt.Sprintf("%d, %d", z.Endorsements, z.Held) })
	row("processor time", func(z *sizeSummary) string { return z.Wall.Round(time.Second).String() })
}

// kinds are those of the faults that struck.
func (s *Summary) kinds() []string {
	all := map[string]bool{}
	for _, z := range s.sizes {
		for kind := range z.Faults {
			all[kind] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// cell is counts with a line for each.
func cell(of map[string]int) string {
	return fmt.Sprintf("%d: %s", total(of), strings.ReplaceAll(counts(of), " ×", " × "))
}
