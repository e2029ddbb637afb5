package storm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/raftdv/dv/integration/simulate"
)

// TestMain is a worker when it is told to be one.
func TestMain(m *testing.M) {
	if os.Getenv("STORM_WORKER") == "" {
		os.Exit(m.Run())
	}
	s, err := Parse("worker", []byte(os.Getenv("STORM_WORKER")))
	if err == nil && os.Getenv("STORM_BREAKS") != "" {
		err = fmt.Errorf("something broke")
	}
	if err == nil {
		err = s.Work(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestFaultsAreSimulated: all that the catalog has, and no others.
func TestFaultsAreSimulated(t *testing.T) {
	names := FaultNames()
	slices.Sort(names)
	if got := simulate.LabFaults(); !slices.Equal(got, names) {
		t.Errorf("the simulator has %v, the catalog %v", got, names)
	}
}

const elections = `
name: elections
claim: x
matrix: {transport: [stock, stock-lan, dv, dv-no-arbiter, dv-no-retransmission, dv-no-relays, dv-no-row-acks], loss: [0, 0.01], skew: [0, 20]}
seeds: {count: 2}
warm_up: 300ms
duration: 2s
baseline: stock
expect:
  - rounds.max <= 3 where transport = dv
  - time_to_leader.p50 < 0.2 * baseline where transport = dv
`

// TestWorkers: trials in processes of their own have the results of those in this one,
// whatever the transport.
func TestWorkers(t *testing.T) {
	s, err := Parse("elections.yaml", []byte(elections))
	if err != nil {
		t.Fatal(err)
	}
	here, there := t.TempDir(), t.TempDir()
	if err := s.Run(t.Context(), RunConfig{Dir: here, New: func() (Trier, error) { return tryFunc(s.Simulate), nil }}); err != nil {
		t.Fatal(err)
	}
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process := func(env ...string) func() (Trier, error) {
		return func() (Trier, error) {
			cmd := exec.Command(me)
			cmd.Env = append(append(os.Environ(), "STORM_WORKER="+elections), env...)
			return s.NewWorker(cmd)
		}
	}
	if err := s.Run(t.Context(), RunConfig{Dir: there, Jobs: 2, New: process()}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(results(t, here), results(t, there)) {
		t.Errorf("%s\n%s", results(t, here), results(t, there))
	}
	sum, _, err := s.Summarize(here)
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.SplitSeq(string(results(t, here)), "\n") {
		if strings.Contains(row, ",1,nobody leads") && !strings.Contains(row, "dv-no-retransmission") {
			t.Error(row)
		}
	}
	for _, v := range sum.Verdicts {
		if !v.Holds {
			t.Error(v.String())
		}
	}
	broken := t.TempDir()
	if err := s.Run(t.Context(), RunConfig{Dir: broken, New: process("STORM_BREAKS=1")}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(results(t, broken)), "process broke: exit status 1: something broke"); uint64(n) != s.Trials() {
		t.Errorf("%d of %d trials say what broke", n, s.Trials())
	}
}
