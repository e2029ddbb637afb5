package main

import (
	"slices"
)

// A history is what is known of one test with one kind: the first run of the
// latest attempt and the reruns that followed it.
type history struct {
	first  *result
	reruns []result
}

// newHistory takes results in the order in which they were stored.
func newHistory(results []result) history {
	var h history
	for _, r := range results {
		if r.Rerun == 0 {
			h = history{first: &r}
		} else if h.first != nil {
			h.reruns = append(h.reruns, r)
		}
	}
	return h
}

// failures counts the reruns that failed.
func (h history) failures() (n int) {
	for _, r := range h.reruns {
		if r.Outcome == failed {
			n++
		}
	}
	return n
}

// resolved says whether a failure, if there was one, was looked at again.
func (h history) resolved(reruns int) bool {
	return h.first.Outcome != failed || len(h.reruns) >= reruns
}

// settled says whether the test need not be run again: it passed or was
// skipped, or it passed each time that it was run alone.
func (h history) settled(reruns int) bool {
	if h.first == nil {
		return false
	}
	return h.first.Outcome != failed || len(h.reruns) >= reruns && h.failures() == 0
}

// A verdict compares the two kinds.
type verdict string

const (
	same       verdict = "same"
	notRun     verdict = "not run"               // with at least one kind
	worse      verdict = "fails with dv only"    // or more often
	skipsMore  verdict = "skips with dv only"    // as a whole or in part
	failsBoth  verdict = "fails with both"       //
	flaky      verdict = "flaky"                 // passes when it runs alone
	stockOnly  verdict = "fails with stock only" //
	unresolved verdict = "failed, not yet run again"
	unmatched  verdict = "fails with dv; stock is not known"
	stockFails verdict = "fails with stock; dv is not known"
)

// bad verdicts make the tool exit with 1.
func (v verdict) bad() bool { return v == worse || v == skipsMore || v == unresolved || v == unmatched }

// compare judges by the reruns alone once something failed: the first run had
// other tests before and beside it.
//
// The rule is strict: a test that fails with dv in any rerun and with stock
// in none is worse, and so is one that always fails with dv and not always
// with stock.
func compare(s, d history, reruns int) verdict {
	if s.first == nil || d.first == nil {
		return notRun
	}
	if s.first.Outcome != failed && d.first.Outcome != failed {
		return compareSkips(*s.first, *d.first)
	}
	if !s.resolved(reruns) || !d.resolved(reruns) {
		return unresolved
	}
	sf, df := s.failures(), d.failures()
	dAlways := df > 0 && df == len(d.reruns)
	sAlways := sf > 0 && sf == len(s.reruns)
	switch {
	case df > 0 && sf == 0, dAlways && !sAlways:
		return worse
	case df == 0 && sAlways:
		return stockOnly
	case sAlways:
		return failsBoth
	}
	return flaky
}

// compareSkips finds what ran with stock and did not run with dv.
func compareSkips(s, d result) verdict {
	if s.Outcome == passed && d.Outcome == skipped {
		return skipsMore
	}
	for _, name := range d.Skips {
		if !slices.Contains(s.Skips, name) {
			return skipsMore
		}
	}
	return same
}
