package doctor

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Write prints a report for people: what each fabric is good for, then every
// finding, then the remedies.
func (r *Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "kernel %s\n\nFABRIC\tSTATE\tMISSING\tWOULD HELP\n", r.Kernel)
	for _, v := range r.Verdicts {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", v.Fabric, v.State, list(v.Missing), list(v.Wanting))
	}
	fmt.Fprint(t, "\nPROBE\tANSWER\tABOUT\tSEEN\n")
	remedies := 0
	for _, f := range r.Findings {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Name, f.Answer, f.About, cmp.Or(f.Detail, "–"))
		if f.Remedy != "" {
			remedies++
		}
	}
	if remedies > 0 {
		fmt.Fprint(t, "\nPROBE\tWHAT MENDS IT\n")
	}
	for _, f := range r.Findings {
		if f.Remedy != "" {
			fmt.Fprintf(t, "%s\t%s\n", f.Name, f.Remedy)
		}
	}
	return t.Flush()
}

func list(names []string) string { return cmp.Or(strings.Join(names, ", "), "–") }
