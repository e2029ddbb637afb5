package simulate

import (
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric/sim"
	"github.com/raftdv/dv/raftdv/election"
)

func labOf(t testing.TB, fault string) Lab {
	m, err := sim.ModelByName("ethernet")
	if err != nil {
		t.Fatal(err)
	}
	return Lab{Link: m, Heartbeat: 100 * time.Millisecond, Election: time.Second, PreVote: true, CheckQuorum: true, RowAcks: true, Retransmit: true,
		Fault: fault, Crashes: 1, WarmUp: 2 * time.Second, Rate: 100, Size: 64}
}

func runLab(t testing.TB, seed uint64, members int, dv bool, lab Lab) *LabResult {
	cfg := Config{Seed: seed, Members: members, Duration: 5 * time.Second}
	if dv {
		cfg.Elections, cfg.Views = election.On, true
	} else {
		lab.RowAcks = false
	}
	r, err := RunLab(cfg, lab)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLabFaults: each fault strikes clusters of both kinds, nothing breaks, and the
// same seed does the same.
func TestLabFaults(t *testing.T) {
	for _, fault := range LabFaults() {
		for _, dv := range []bool{false, true} {
			for seed := uint64(1); seed <= 2; seed++ {
				l := labOf(t, fault)
				l.Crashes = 2
				r := runLab(t, seed, 5, dv, l)
				t.Logf("%-26s dv %-5v seed %d: %+v", fault, dv, seed, *r)
				if len(r.Failures) > 0 {
					t.Errorf("%s, dv %v, seed %d: %+v", fault, dv, seed, r.Failures)
				}
				if seed == 1 {
					if again := runLab(t, seed, 5, dv, l); again.Hash != r.Hash || again.Bytes != r.Bytes {
						t.Errorf("%s, dv %v: %+v, then %+v", fault, dv, *r, *again)
					}
				}
			}
		}
	}
}

func TestLabValidate(t *testing.T) {
	l := labOf(t, "nonsense")
	l.Election, l.Loss, l.Rate = 150*time.Millisecond, 2, 0
	err := l.Validate()
	for _, want := range []string{"nonsense", "multiple of Heartbeat", "Loss", "Rate"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func BenchmarkLab(b *testing.B) {
	l := labOf(b, "crash-leader")
	l.Rate, l.WarmUp = 40, 300*time.Millisecond
	for seed := uint64(0); b.Loop(); seed++ {
		cfg := Config{Seed: seed, Members: 5, Duration: 500 * time.Millisecond, Elections: election.On, Views: true}
		if _, err := RunLab(cfg, l); err != nil {
			b.Fatal(err)
		}
	}
}
