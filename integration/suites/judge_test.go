package main

import (
	"slices"
	"strings"
	"testing"
)

// hist makes a history of letters: the first run, then reruns.
func hist(letters string) history {
	var all []result
	for i, c := range letters {
		all = append(all, result{Rerun: i, Outcome: map[rune]outcome{'p': passed, 's': skipped, 'f': failed}[c]})
	}
	return newHistory(all)
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		stock, dv string
		want      verdict
		bad       bool
	}{
		{"p", "p", same, false},
		{"s", "s", same, false},
		{"s", "p", same, false},
		{"p", "s", skipsMore, true},
		{"", "p", notRun, false},
		{"p", "", notRun, false},
		{"p", "f", unresolved, true},
		{"p", "ff", unresolved, true},
		{"f", "p", unresolved, true},
		{"pppp", "ffff", worse, true},
		{"pppp", "fpfp", worse, true},
		{"fppp", "pffp", worse, true},
		{"fppp", "fffp", worse, true},
		{"ffpp", "ffff", worse, true},
		{"ffff", "ffff", failsBoth, false},
		{"ffff", "ffpp", failsBoth, false},
		{"ffpp", "ffpp", flaky, false},
		{"pppp", "fppp", flaky, false},
		{"ffpp", "pppp", flaky, false},
		{"ffff", "pppp", stockOnly, false},
		// Stock was not run again: its first run counts.
		{"p", "ffff", worse, true},
		{"p", "fppp", flaky, false},
	} {
		got := compare(hist(c.stock), hist(c.dv), 3)
		if got != c.want || got.bad() != c.bad {
			t.Errorf("stock %q, dv %q: %q (bad %v), want %q (bad %v)", c.stock, c.dv, got, got.bad(), c.want, c.bad)
		}
	}
}

func TestAlone(t *testing.T) {
	for _, c := range []struct {
		kind kind
		runs string
		want verdict
	}{
		{dv, "", notRun}, {dv, "p", same}, {dv, "s", same}, {dv, "f", unresolved},
		{dv, "fppp", flaky}, {dv, "ffff", unmatched}, {dv, "fppf", unmatched}, {stock, "ffff", stockFails},
	} {
		if got := alone(c.kind, hist(c.runs), 3); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.kind, c.runs, got, c.want)
		}
	}
}

// TestHistory: reruns belong to the first run before them.
func TestHistory(t *testing.T) {
	h := newHistory([]result{
		{Rerun: 1, Outcome: passed},
		{Outcome: failed, Seconds: 1}, {Rerun: 1, Outcome: failed},
		{Outcome: failed, Seconds: 2}, {Rerun: 1, Outcome: passed}, {Rerun: 2, Outcome: passed},
	})
	if h.first.Seconds != 2 || len(h.reruns) != 2 || h.failures() != 0 {
		t.Errorf("history %+v", h)
	}
	for runs, want := range map[string]bool{"": false, "p": true, "s": true, "f": false, "fp": false, "fpp": true, "fpf": false} {
		if got := hist(runs).settled(2); got != want {
			t.Errorf("%q settled: %v, want %v", runs, got, want)
		}
	}
}

func TestSkipsCompared(t *testing.T) {
	s := result{Outcome: passed, Skips: []string{"T/a"}}
	for _, c := range []struct {
		skips []string
		want  verdict
	}{
		{nil, same}, {[]string{"T/a"}, same}, {[]string{"T/b"}, skipsMore}, {[]string{"T/a", "T/b"}, skipsMore},
	} {
		if got := compareSkips(s, result{Outcome: passed, Skips: c.skips}); got != c.want {
			t.Errorf("dv skips %q: %q, want %q", c.skips, got, c.want)
		}
	}
}

const output = `some log
2026 text without an end` + "\x16--- PASS: TestA/one (0.00s)\n" +
	"    \x16--- SKIP: TestA/two (0.00s)\n" +
	"    --- FAIL: TestA/three (1.00s)\n" +
	"\x16--- PASS: TestAB (0.00s)\n" +
	`{"msg":"--- PASS: TestA (0.00s)"}` + "\n" +
	"    a_test.go:12: it broke\n" +
	"\x16--- FAIL: TestA (2.00s)\n"

func TestReadOutput(t *testing.T) {
	got := readOutput([]byte(output), "TestA")
	if got.top != failed || got.passes != 1 || !slices.Equal(got.skips, []string{"TestA/two"}) || !slices.Equal(got.fails, []string{"TestA/three"}) {
		t.Errorf("tally %+v", got)
	}
	if got.problem != "a_test.go:12: it broke" {
		t.Errorf("problem %q", got.problem)
	}
	if got := readOutput([]byte(output), "TestB"); got.top != "" {
		t.Errorf("a test that is not there: %+v", got)
	}
}

func TestJudgeRun(t *testing.T) {
	within := test{suite: &suite{linked: true}, run: "^T$"}
	apart := test{suite: &suite{}, run: "^T$"}
	sub := test{suite: &suite{}, run: "^T$/^a$"}
	for _, c := range []struct {
		name string
		e    ending
		t    tally
		test test
		want outcome
	}{
		{"pass", ending{}, tally{top: passed}, within, passed},
		{"skip", ending{}, tally{top: skipped}, within, skipped},
		{"fail", ending{Exit: 1}, tally{top: failed}, within, failed},
		{"crash", ending{Exit: 2}, tally{}, within, failed},
		{"exit 0 without a word", ending{}, tally{}, within, failed},
		{"too slow", ending{TimedOut: true}, tally{top: passed}, within, failed},
		{"leak of a server within", ending{Exit: 1}, tally{top: passed}, within, failed},
		{"leak of the program alone", ending{Exit: 1}, tally{top: passed}, apart, passed},
		{"skip, then a crash", ending{Exit: 1}, tally{top: skipped}, apart, failed},
		{"subtest", ending{}, tally{top: passed, passes: 1}, sub, passed},
		{"no such subtest", ending{}, tally{top: passed}, sub, failed},
	} {
		if got, _ := judgeRun(c.e, c.t, c.test); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestGroups(t *testing.T) {
	tests := robustnessRuns(suiteByName("robustness"), config{runs: 23})
	runs := map[string]string{tests[0].name: "ffff", tests[22].name: ""}
	sum := summarize(tests, func(one test, k kind) history {
		if k == stock {
			return history{}
		}
		if r, ok := runs[one.name]; ok {
			return hist(r)
		}
		return hist("p")
	}, []kind{dv}, 3)
	var out strings.Builder
	sum.print(&out)
	for _, line := range []string{"kill: dv 3 of 4 passed", "delay: dv 4 of 4 passed", "Issue15271: dv 1 of 1 passed"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the summary lacks %q:\n%s", line, out.String())
		}
	}
	if sum.bad != 1 || sum.missing != 1 || strings.Contains(out.String(), "Issue20221:") {
		t.Errorf("bad %d, missing %d; want 1 and 1:\n%s", sum.bad, sum.missing, out.String())
	}
}

func TestSummaryTable(t *testing.T) {
	s := &suite{name: "s", pkgs: []string{"s"}}
	runs := map[string][2]string{"A": {"p", "p"}, "B": {"s", "s"}, "C": {"p", "ffff"}, "D": {"p", ""}}
	var tests []test
	for _, n := range []string{"A", "B", "C", "D"} {
		tests = append(tests, test{suite: s, pkg: "s", name: n})
	}
	sum := summarize(tests, func(one test, k kind) history {
		return hist(runs[one.name][slices.Index(bothKinds, k)])
	}, bothKinds, 3)
	if sum.bad != 1 || sum.missing != 1 {
		t.Errorf("bad %d, missing %d; want 1 and 1", sum.bad, sum.missing)
	}
	var out strings.Builder
	sum.print(&out)
	fields := strings.Fields(strings.Split(out.String(), "\n")[2])
	want := []string{"s", "3", "1", "0", "1", "1", "1", "1", "0", "0", "0", "1", "0/0"}
	if !slices.Equal(fields, want) {
		t.Errorf("row %q, want %q:\n%s", fields, want, out.String())
	}
	if !strings.Contains(out.String(), "fails with dv only: s.C") {
		t.Errorf("the failing test is not named:\n%s", out.String())
	}
}
