package main

import (
	"regexp"
	"slices"
	"strings"
)

// An outcome is what became of a test.
type outcome string

const (
	passed  outcome = "pass"
	skipped outcome = "skip"
	failed  outcome = "fail"
)

// A tally is what a test program printed about one test and its subtests.
type tally struct {
	top     outcome // "" if the program says nothing of the test
	passes  int     // subtests
	skips   []string
	fails   []string
	problem string // what looks like the reason
}

// With -test.v=test2json the testing package puts a control character before
// what it writes itself, so that it is found after any unfinished line of a
// server's log.
var (
	resultLine = regexp.MustCompile(`(?m)(?:^|\x16)[ \t]*--- (PASS|SKIP|FAIL): (\S+) \(`)
	crashLine  = regexp.MustCompile(`(?m)^.*(?:panic: |fatal error: |WARNING: DATA RACE).*$`)
	assertLine = regexp.MustCompile(`(?m)^\s+Error:\s+(.*\n.*)$`)
	errorLine  = regexp.MustCompile(`(?m)^\s+\S+_test\.go:\d+: .*$`)
)

// readOutput finds the results of a test and its subtests.
func readOutput(text []byte, name string) tally {
	var t tally
	for _, m := range resultLine.FindAllSubmatch(text, -1) {
		result, of := string(m[1]), string(m[2])
		switch {
		case of == name:
			t.top = outcome(strings.ToLower(result))
		case !strings.HasPrefix(of, name+"/"):
		case result == "PASS":
			t.passes++
		case result == "SKIP":
			t.skips = append(t.skips, of)
		case result == "FAIL":
			t.fails = append(t.fails, of)
		}
	}
	slices.Sort(t.skips)
	slices.Sort(t.fails)
	t.problem = problem(text)
	return t
}

// problemBytes of a line are shown.
const problemBytes = 200

// problem finds a crash, or else the first failed assertion, or else the last
// line that the test itself logged.
func problem(text []byte) string {
	line := crashLine.Find(text)
	if m := assertLine.FindSubmatch(text); line == nil && m != nil {
		line = m[1]
	}
	if all := errorLine.FindAll(text, -1); line == nil && len(all) > 0 {
		line = all[len(all)-1]
	}
	words := strings.Join(strings.Fields(strings.Trim(string(line), "\x16")), " ")
	return words[:min(len(words), problemBytes)]
}

// judgeRun turns the end of a test's process and its output into a result.
// Exit status 0 alone proves nothing: a pattern that matches no test exits
// with 0 too.
//
// A test that passed and whose program then complains of goroutines counts as
// failed where the server is part of the program. Elsewhere it counts as
// passed: that check is meant for the end of a whole package, when processes
// that earlier tests told to stop have had the time.
func judgeRun(e ending, t tally, one test) (outcome, string) {
	linked := one.suite.linked
	switch {
	case e.TimedOut:
		return failed, "took too long"
	case e.Exit != 0 && t.top == passed && !linked:
		return passed, "its program failed after the test had passed"
	case e.Exit != 0 && t.top == passed:
		return failed, "passed, but its process failed (a leak?): " + t.problem
	case e.Exit != 0:
		return failed, t.problem
	case t.top == "", t.top == passed && strings.Contains(one.run, "/") && t.passes == 0:
		return failed, "the test program did not run it"
	}
	return t.top, ""
}
