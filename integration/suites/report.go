package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// A row is a suite's line of the table.
type row struct {
	suite    string
	counts   map[kind]*counts
	verdicts map[verdict]int
	groups   map[string]*[2]int // of dv: passed, run
}

type counts struct {
	pass, skip, fail int
	subSkip          int
	seconds          float64
}

// A finding is a test about which there is something to say.
type finding struct {
	test    string
	verdict verdict
	detail  string
}

// A summary is what is known of the selected tests.
type summary struct {
	rows     []*row
	findings []finding
	missing  int
	bad      int
}

// summarize counts. single is set where only one kind was asked for: the
// other may then be missing.
func summarize(tests []test, known func(test, kind) history, kinds []kind, reruns int) *summary {
	sum := &summary{}
	rows := map[string]*row{}
	for _, t := range tests {
		r := rows[t.suite.name]
		if r == nil {
			r = &row{t.suite.name, map[kind]*counts{stock: {}, dv: {}}, map[verdict]int{}, map[string]*[2]int{}}
			rows[t.suite.name] = r
			sum.rows = append(sum.rows, r)
		}
		s, d := known(t, stock), known(t, dv)
		r.counts[stock].add(s, reruns)
		r.counts[dv].add(d, reruns)
		r.addGroup(t.group, d, reruns)
		sum.note(r, t, s, d, kinds, reruns)
	}
	return sum
}

func (c *counts) add(h history, reruns int) {
	switch {
	case h.first == nil:
		return
	case h.first.Outcome == skipped:
		c.skip++
	case h.settled(reruns):
		c.pass++
	default:
		c.fail++
	}
	c.subSkip += len(h.first.Skips)
	c.seconds += h.first.Seconds
}

func (r *row) addGroup(name string, h history, reruns int) {
	if name == "" || h.first == nil {
		return
	}
	g := r.groups[name]
	if g == nil {
		g = &[2]int{}
		r.groups[name] = g
	}
	g[1]++
	if h.settled(reruns) {
		g[0]++
	}
}

func (sum *summary) note(r *row, t test, s, d history, kinds []kind, reruns int) {
	v := compare(s, d, reruns)
	if v == notRun && len(kinds) == 1 {
		v = alone(kinds[0], map[kind]history{stock: s, dv: d}[kinds[0]], reruns)
	}
	r.verdicts[v]++
	if v.bad() {
		sum.bad++
	}
	switch v {
	case same:
	case notRun:
		sum.missing++
	default:
		sum.findings = append(sum.findings, finding{t.id(), v, detail(s, d)})
	}
}

// alone judges a test of which only one kind was asked for and the other is
// unknown: whether it is the transport's fault cannot be told.
func alone(k kind, h history, reruns int) verdict {
	switch {
	case h.first == nil:
		return notRun
	case h.first.Outcome != failed:
		return same
	case h.settled(reruns):
		return flaky
	case !h.resolved(reruns):
		return unresolved
	case k == dv:
		return unmatched
	}
	return stockFails
}

func detail(s, d history) string {
	var parts []string
	for _, side := range []struct {
		k kind
		h history
	}{{stock, s}, {dv, d}} {
		if side.h.first == nil {
			continue
		}
		text := fmt.Sprintf("%s: %s", side.k, side.h.first.Outcome)
		if n := len(side.h.reruns); n > 0 {
			text += fmt.Sprintf(", alone %d of %d failed", side.h.failures(), n)
		}
		if last := side.h.lastFailure(); last != nil {
			text += fmt.Sprintf("\n      %s\n      %s", last.Reason, last.Log)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "\n    ")
}

func (h history) lastFailure() *result {
	for i := len(h.reruns) - 1; i >= 0; i-- {
		if h.reruns[i].Outcome == failed {
			return &h.reruns[i]
		}
	}
	if h.first != nil && h.first.Outcome == failed {
		return h.first
	}
	return nil
}

// print writes the table and what is to be said of single tests.
func (sum *summary) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\tstock\t\t\tdv\t\t\tdv\tdv\tfails\t\tnot\tseconds\t")
	fmt.Fprintln(tw, "suite\tpass\tskip\tfail\tpass\tskip\tfail\tworse\tskips\tboth\tflaky\trun\tstock/dv\t")
	for _, r := range sum.rows {
		s, d := r.counts[stock], r.counts[dv]
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f/%.0f\t\n", r.suite,
			s.pass, s.skip, s.fail, d.pass, d.skip, d.fail,
			r.verdicts[worse]+r.verdicts[unresolved]+r.verdicts[unmatched], r.verdicts[skipsMore], r.verdicts[failsBoth],
			r.verdicts[flaky]+r.verdicts[stockOnly], r.verdicts[notRun], s.seconds, d.seconds)
	}
	tw.Flush()
	for _, r := range sum.rows {
		if s, d := r.counts[stock].subSkip, r.counts[dv].subSkip; s+d > 0 {
			fmt.Fprintf(w, "%s: subtests skipped within tests that passed: stock %d, dv %d\n", r.suite, s, d)
		}
	}
	for _, r := range sum.rows {
		for _, name := range slices.Sorted(maps.Keys(r.groups)) {
			fmt.Fprintf(w, "%s %s: dv %d of %d passed\n", r.suite, name, r.groups[name][0], r.groups[name][1])
		}
	}
	for _, f := range sum.findings {
		fmt.Fprintf(w, "\n%s: %s\n    %s\n", f.verdict, f.test, f.detail)
	}
}
