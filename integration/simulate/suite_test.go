package simulate

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/raftdv/election"
)

func smallSuite(results string) *Suite {
	return &Suite{First: 10, Seeds: 3, Members: []int{1, 3}, Results: results, Version: "v1", Config: Config{
		Duration: 6 * time.Second, Proposals: 1, Only: []int{},
	}}
}

func (s *Suite) mustRun(t *testing.T) (sum *Summary, fresh, old int) {
	t.Helper()
	s.Done = func(_ *Report, isOld bool) {
		if isOld {
			old++
		} else {
			fresh++
		}
	}
	sum, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sum, fresh, old
}

// TestSuiteGoesOn: what is in the results file is not run again, a line that was
// cut off is, and the sums are those of one run.
func TestSuiteGoesOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	whole, fresh, old := smallSuite(file).mustRun(t)
	if fresh != 6 || old != 0 {
		t.Fatalf("%d runs, %d from the file", fresh, old)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	if len(lines) != 8 { // a header, six reports, nothing
		t.Fatalf("%d lines:\n%s", len(lines), text)
	}
	cut := strings.Join(lines[:4], "") + lines[4][:len(lines[4])/2]
	if err := os.WriteFile(file, []byte(cut), 0o644); err != nil {
		t.Fatal(err)
	}
	again, fresh, old := smallSuite(file).mustRun(t)
	if fresh != 3 || old != 3 {
		t.Errorf("%d runs, %d from the file, want 3 and 3", fresh, old)
	}
	for n, z := range whole.sizes {
		if a := again.sizes[n]; a.Events != z.Events || a.seeds != 3 || a.Acked != z.Acked {
			t.Errorf("%d members: %+v, want %+v", n, a, z)
		}
	}
	if _, fresh, old = smallSuite(file).mustRun(t); fresh != 0 || old != 6 {
		t.Errorf("%d runs, %d from the file, want all from the file", fresh, old)
	}
}

func TestSuiteRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	s := smallSuite(file)
	s.Seeds = 1
	s.mustRun(t)
	other := smallSuite(file)
	other.Version = "v2"
	if _, err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `version "v1", this is "v2"`) {
		t.Errorf("another version: %v", err)
	}
	if err := os.WriteFile(file, []byte("{}x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file of something else: %v", err)
	}
	bad := Suite{Seeds: -1, Members: []int{0, 99}, Config: Config{Members: -3, Duration: -1, Proposals: -1, Only: []int{-2}}}
	_, err := bad.Run(t.Context())
	if err == nil {
		t.Fatal("all wrong, and no error")
	}
	for _, want := range []string{"Seeds is -1", "holds 0", "holds 99", "Members is -3", "Duration is", "Proposals is -1", "Only holds -2"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if _, err := Run(Config{Members: -1}); err == nil {
		t.Error("Run takes what Validate refuses")
	}
}

// TestResultsAreOfOneMode: a file is continued by runs of the same mode only, and
// files of before there were modes are of stock raft.
func TestResultsAreOfOneMode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	s := smallSuite(file)
	s.Seeds, s.Members = 1, []int{3}
	s.Config.Elections, s.Config.Failovers = election.On, 1
	s.mustRun(t)
	other := smallSuite(file)
	if _, err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "elections on, 1 failovers and views false, this has off, 0 and false") {
		t.Errorf("another mode: %v", err)
	}
	other = smallSuite(file)
	other.Config.Elections, other.Config.Failovers, other.Config.Views = election.On, 1, true
	if _, err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "views false, this has on, 1 and true") {
		t.Errorf("another mode: %v", err)
	}
	if err := os.WriteFile(file, []byte(`{"version":"v1"}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := smallSuite(file).Run(t.Context()); err != nil {
		t.Errorf("a file of before: %v", err)
	}
}

// TestSummarize: a file gives the table that its runs give, and stays as it is,
// a line that is cut off included.
func TestSummarize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results")
	s := smallSuite(file)
	s.Config.Elections, s.Config.Failovers = election.On, 1
	s.Config.Only = []int{mostFaults} // the failover alone
	ran, _, _ := s.mustRun(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, []byte(`{"seed":9`)...)
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	sum, about, err := Summarize(file)
	if err != nil || about != "version v1, elections on, 1 failovers, views false" {
		t.Fatalf("%q, %v", about, err)
	}
	var want, got strings.Builder
	ran.Table(&want)
	sum.Table(&got)
	if got.String() != want.String() {
		t.Errorf("\n%s\nwant\n%s", got.String(), want.String())
	}
	for _, line := range []string{"| members | 1 | 3 |\n| --- | --- | --- |\n| seeds | 3 | 3 |\n| failed | 0 | 0 |", "| fault: failover | 0 | 3 |", "0 failed, 1 rounds × "} {
		if !strings.Contains(got.String(), line) {
			t.Errorf("%q is not in\n%s", line, got.String())
		}
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(text) {
		t.Errorf("the file changed: %v", err)
	}
	for _, wrong := range []string{file + "no", os.Args[0]} {
		if _, _, err := Summarize(wrong); err == nil {
			t.Errorf("%s is no file of results", wrong)
		}
	}
}

func TestSuiteEndsEarly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := smallSuite("")
	n := 0
	s.Done = func(*Report, bool) {
		n++
		cancel()
	}
	if _, err := s.Run(ctx); err != context.Canceled || n != 1 {
		t.Errorf("%v after %d runs", err, n)
	}
}

// TestSummary: failures are counted by their check, with the first seed.
func TestSummary(t *testing.T) {
	s := newSummary()
	for seed := range uint64(4) {
		r := &Report{Seed: seed, Members: 3, Wall: time.Second, Events: 1e6, Messages: 5e4, MostRounds: int(seed % 2), Faults: map[string]int{"crash": 2}}
		if seed >= 2 {
			r.Failures = []Failure{{Check: checkLinear}}
		}
		s.add(r)
	}
	var b strings.Builder
	s.Write(&b)
	for _, want := range []string{
		"3 members: 4 seeds, 2 failed", "faults      8: crash 8", "2×0 2×1", "1.00 M fabric events/s, 50 k raft messages/s", "FAILED      linearizable: 2 seeds, the first is 2",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if s.Failed() != 2 {
		t.Errorf("%d failed, want 2", s.Failed())
	}
}
