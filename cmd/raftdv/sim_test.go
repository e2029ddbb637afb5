package main

import (
	"bytes"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// simulated runs raftdv sim and returns what it prints.
func simulated(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	cmd := newRootCmd()
	var stdout, stderr bytes.Buffer
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(append([]string{"sim"}, args...))
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), err
}

var wall = regexp.MustCompile(` simulated in .*`)

// TestSimHash: the last line is the hash; the same seed prints the same, but for
// the time that it took.
func TestSimHash(t *testing.T) {
	args := []string{"--seed", "3", "--members", "3", "--duration", "20s", "--only", "0,2", "--hash"}
	a, err := simulated(t, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, a)
	}
	lines := strings.Split(strings.TrimSuffix(a, "\n"), "\n")
	if last := lines[len(lines)-1]; !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(last) {
		t.Errorf("the last line is %q", last)
	}
	b, _ := simulated(t, args...)
	if wall.ReplaceAllString(a, "") != wall.ReplaceAllString(b, "") {
		t.Errorf("twice the same seed:\n%s\n%s", a, b)
	}
	args[1] = "4"
	if c, _ := simulated(t, args...); strings.HasSuffix(c, lines[len(lines)-1]+"\n") {
		t.Error("another seed has the same hash")
	}
}

// TestSimFailure: a seed that shows too little fails; what it prints says how to
// run it again, and how much of its schedule that takes.
func TestSimFailure(t *testing.T) {
	out, err := simulated(t, "--seed", "5", "--duration", "11s", "--elections=off")
	if err == nil || !strings.Contains(err.Error(), "1 of 1 runs failed") {
		t.Errorf("a run too short for five faults: %v\n%s", err, out)
	}
	for _, want := range []string{"FAILED      exercised", "faults struck, want 5", "replay with: raftdv sim --seed 5 --members 3 --hash --elections=off --failovers=0 --views=true --duration=11s\n", "the smallest schedule that fails has 0 of 0 faults"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out, _ := simulated(t, "--seed", "5", "--duration", "11s", "--elections=off", "--shrink=false"); strings.Contains(out, "smallest") {
		t.Errorf("shrunk all the same:\n%s", out)
	}
}

func TestSimSeveral(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	args := []string{"--seeds", "2", "--members", "3,5", "--duration", "14s", "--only", "none", "--results", file}
	a, err := simulated(t, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, a)
	}
	if !strings.Contains(a, "3 members: 2 seeds, 0 failed") || !strings.Contains(a, "5 members: 2 seeds, 0 failed") {
		t.Errorf("the summary is\n%s", a)
	}
	b, err := simulated(t, args...)
	if err != nil || a != b {
		t.Errorf("all from the file: %v\n%s\nwant\n%s", err, b, a)
	}
}

// TestSimElections: arbiters are on unless somebody says otherwise, and come with
// failovers; the command to run again names both.
func TestSimElections(t *testing.T) {
	on, err := simulated(t, "--seed", "5", "--duration", "11s", "--shrink=false")
	if err == nil || !strings.Contains(on, " endorsements") || !strings.Contains(on, "--elections=on --failovers=2") {
		t.Errorf("the default: %v\n%s", err, on)
	}
	off, err := simulated(t, "--seed", "5", "--duration", "11s", "--shrink=false", "--elections=off")
	if err == nil || strings.Contains(off, " endorsements") || !strings.Contains(off, "--elections=off --failovers=0") {
		t.Errorf("off: %v\n%s", err, off)
	}
	if _, err := simulated(t, "--elections=maybe"); err == nil || !strings.Contains(err.Error(), "use off, observe or on") {
		t.Errorf("maybe: %v", err)
	}
	if _, err := simulated(t, "--failovers", "99"); err == nil || !strings.Contains(err.Error(), "Failovers is 99, want 0 to 16") {
		t.Errorf("99 failovers: %v", err)
	}
}

// TestSimSummary: the table of a file, without running anything.
func TestSimSummary(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	if _, err := simulated(t, "--seeds", "2", "--duration", "14s", "--only", "none", "--results", file); err != nil {
		t.Fatal(err)
	}
	out, err := simulated(t, "--results", file, "--summary")
	if err != nil || !strings.Contains(out, "elections on, 2 failovers, views true\n\n| members | 3 |") || !strings.Contains(out, "| seeds | 2 |") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := simulated(t, "--summary"); err == nil || !strings.Contains(err.Error(), "no --results") {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := simulated(t, "--summary", "--results", file+"no"); err == nil {
		t.Error("of a file that is not there")
	}
}

func TestSimTrace(t *testing.T) {
	out, err := simulated(t, "--duration", "14s", "--only", "none", "--trace")
	if err != nil || !regexp.MustCompile(`(?m)^ +\d\S+s  \d leads term 2$`).MatchString(out) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestParseOnly(t *testing.T) {
	for s, want := range map[string][]int{"": nil, "none": {}, "3": {3}, "0, 7,12": {0, 7, 12}} {
		got, err := parseOnly(s)
		if err != nil || !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"x", "1,,2", "-1", "1;2"} {
		if got, err := parseOnly(s); err == nil || !strings.Contains(err.Error(), "want numbers of the schedule") {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	if _, err := simulated(t, "--only", "x"); err == nil {
		t.Error("--only=x is taken")
	}
	if _, err := simulated(t, "--members", "99"); err == nil || !strings.Contains(err.Error(), "Members holds 99") {
		t.Errorf("99 members: %v", err)
	}
}
