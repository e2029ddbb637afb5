package storm

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Explain says what a specification is about, for people.
func (s *Spec) Explain(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s\n\n", s.Name, s.Claim)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for d := range dimensions {
		var values []string
		for i := range s.Cells {
			if v := s.Cells[i].values[d]; !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", dimensions[d].name, strings.Join(values, ", "), dimensions[d].about)
	}
	fmt.Fprintf(t, "\ncells\t%d\tcombinations, but for what is excluded\n", len(s.Cells))
	fmt.Fprintf(t, "seeds\t%d to %d\tof each cell\n", s.First, s.First+s.Seeds-1)
	fmt.Fprintf(t, "trials\t%d\t%v, then the fault, then %v, in %s\n", s.Trials(), s.WarmUp, s.Duration, s.clock())
	fmt.Fprintf(t, "workload\t%d/s\twrites of %d bytes at members drawn at random\n", s.Rate, s.Size)
	if s.Baseline != "" {
		fmt.Fprintf(t, "baseline\t%s\t%s\n", s.Baseline, transportOf(s.Baseline).About)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	s.used(w, "transport", "Transports", func(name string) string { return transportOf(name).About })
	s.used(w, "fault", "Faults", func(name string) string {
		f := faultOf(name)
		return f.About + " (" + f.Source + ")"
	})
	fmt.Fprint(w, "\nExpected\n")
	for _, e := range s.Expect {
		fmt.Fprintf(w, "  %s\n", e.Text)
	}
	return nil
}

// used lists the values of a dimension, and what each is.
func (s *Spec) used(w io.Writer, dimension, title string, about func(string) string) {
	fmt.Fprintf(w, "\n%s\n", title)
	var seen []string
	for i := range s.Cells {
		if v := s.Cells[i].Value(dimension); !slices.Contains(seen, v) {
			seen = append(seen, v)
			fmt.Fprintf(w, "  %s: %s\n", v, about(v))
		}
	}
}

// Sample tries trials from all over the specification for a while, and says how long a
// trial takes on average; at least one of each transport and size is among them if there
// is time.
func (s *Spec) Sample(t Trier, budget time.Duration) (each time.Duration, tried int, err error) {
	begun := time.Now()
	const most = 256
	for k := range uint64(most) {
		// In the order of a sequence without gaps: 1/2, 1/4, 3/4, 1/8...
		at, bit := 0.0, 0.5
		for x := k + 1; x > 0; x >>= 1 {
			at += float64(x&1) * bit
			bit /= 2
		}
		if _, err := t.Try(min(uint64(at*float64(s.Trials())), s.Trials()-1)); err != nil {
			return 0, tried, err
		}
		tried++
		if time.Since(begun) > budget {
			break
		}
	}
	return time.Since(begun) / time.Duration(tried), tried, nil
}
