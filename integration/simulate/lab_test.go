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
		Fault: fault, Crashes: 1, WarmUp: time.Second, Rate: 60, Size: 64}
}

func runLab(t testing.TB, seed uint64, members int, dv bool, lab Lab) *LabResult {
	cfg := Config{Seed: seed, Members: members, Duration: 3 * time.Second}
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

// TestLabSkew: a minority of followers lags by so many entries when the fault strikes.
func TestLabSkew(t *testing.T) {
	for _, skew := range []int{0, 30} {
		for seed := range uint64(3) {
			l := labOf(t, "crash-leader")
			l.Skew = skew
			lag := make([]int, 5)
			cfg := Config{Seed: seed, Members: 5, Duration: time.Second, hooks: hooks{struck: func(c *cluster) {
				most := uint64(0)
				for i, m := range c.members {
					last := uint64(0)
					if n := len(m.disk.entries); n > 0 {
						last = m.disk.entries[n-1].GetIndex()
					}
					lag[i], most = -int(last), max(most, last)
				}
				for i := range lag {
					lag[i] += int(most)
				}
			}}}
			if r, err := RunLab(cfg, l); err != nil || len(r.Failures) > 0 {
				t.Fatalf("%+v, %v", r, err)
			}
			late := 0
			for _, n := range lag {
				if n >= 30 {
					late++
				}
			}
			if want := min(skew, 2); late != want {
				t.Errorf("skew %d, seed %d: members lag by %v, want two of them by 30 or more: %v", skew, seed, lag, skew > 0)
			}
		}
	}
}

// TestLabPhases: as many members crash as the trial says, one after the other, and
// never so many that no majority is left.
func TestLabPhases(t *testing.T) {
	for _, fault := range []string{"crash-at-suspicion", "crash-at-endorsement", "crash-at-nomination", "crash-at-campaign", "crash-at-victory"} {
		for members, want := range map[int]int{3: 1, 5: 2, 7: 3} {
			for _, dv := range []bool{false, true} {
				l := labOf(t, fault)
				l.Crashes = 3
				var crashed []string
				cfg := Config{Seed: 4, Members: members, Duration: 5 * time.Second, Trace: func(_ time.Duration, what string) {
					if strings.Contains(what, "crash") && what != fault {
						crashed = append(crashed, what)
					}
				}}
				if dv {
					cfg.Elections = election.On
				} else {
					l.RowAcks = false
				}
				r, err := RunLab(cfg, l)
				if err != nil || len(r.Failures) > 0 || !r.Led {
					t.Fatalf("%s, %d members, dv %v: %+v, %v", fault, members, dv, r, err)
				}
				if len(crashed) != want {
					t.Errorf("%s, %d members, dv %v: %q, want %d crashes", fault, members, dv, crashed, want)
				}
			}
		}
	}
}

// TestLabSettings: what a trial varies makes a difference, in the direction in which it
// should.
func TestLabSettings(t *testing.T) {
	sum := func(fault string, edit func(*Lab)) (total LabResult) {
		for seed := range uint64(8) {
			l := labOf(t, fault)
			l.RowAcks = false
			edit(&l)
			r, err := RunLab(Config{Seed: seed, Members: 5, Duration: 4 * time.Second}, l)
			if err != nil || len(r.Failures) > 0 {
				t.Fatalf("%s: %+v, %v", fault, r, err)
			}
			total.Acked += r.Acked
			total.SplitVotes += r.SplitVotes
			total.Unavailable += r.Unavailable
			total.Messages += r.Messages
		}
		return total
	}
	plain := sum("crash-leader", func(*Lab) {})
	if same := sum("synchronised-timeouts", func(*Lab) {}); same.SplitVotes <= plain.SplitVotes {
		t.Errorf("equal timeouts split %d votes, random ones %d", same.SplitVotes, plain.SplitVotes)
	}
	if fast := sum("crash-leader", func(l *Lab) { l.Heartbeat, l.Election = 10*time.Millisecond, 100*time.Millisecond }); fast.Unavailable >= plain.Unavailable/2 {
		t.Errorf("timeouts of a tenth: unavailable for %v, else %v", fast.Unavailable, plain.Unavailable)
	}
	lossy := func(again bool) LabResult {
		return sum("none", func(l *Lab) { l.Loss, l.Retransmit = 0.3, again })
	}
	if with, without := lossy(true), lossy(false); with.Acked <= without.Acked {
		t.Errorf("with losses: %d writes with retransmission, %d without", with.Acked, without.Acked)
	}
	if rare := sum("none", func(l *Lab) { l.Rate = 10 }); rare.Acked >= plain.Acked/2 {
		t.Errorf("a tenth of the writes: %d acknowledged, else %d", rare.Acked, plain.Acked)
	}
}

// TestLabMany: clusters of more voters than arbiters have room for.
func TestLabMany(t *testing.T) {
	l := labOf(t, "crash-leader")
	l.Rate, l.WarmUp = 5, 300*time.Millisecond
	r, err := RunLab(Config{Seed: 1, Members: 35, Duration: 3 * time.Second, Elections: election.On, Views: true}, l)
	if err != nil || len(r.Failures) > 0 || !r.Led || r.Elections != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := RunLab(Config{Members: 102}, l); err == nil || !strings.Contains(err.Error(), "102") {
		t.Errorf("102 members: %v", err)
	}
}

// TestLabEffects: faults whose name promises something keep it.
func TestLabEffects(t *testing.T) {
	total := func(fault string, dv bool, edit func(*Lab)) (sum LabResult) {
		for seed := range uint64(3) {
			l := labOf(t, fault)
			edit(&l)
			r := runLab(t, seed, 5, dv, l)
			if len(r.Failures) > 0 {
				t.Fatalf("%s: %+v", fault, r.Failures)
			}
			sum.Terms += r.Terms
			sum.Elections += r.Elections
			sum.Acked += r.Acked
			sum.SplitVotes += r.SplitVotes
			sum.Bytes += r.Bytes
		}
		return sum
	}
	keep := func(*Lab) {}
	calm := total("none", false, keep)
	if calm.Terms != 0 || calm.Elections != 0 || calm.Acked == 0 {
		t.Errorf("nothing goes wrong: %+v", calm)
	}
	if r := total("rejoin-higher-term", false, func(l *Lab) {
		l.PreVote, l.CheckQuorum, l.Heartbeat, l.Election = false, false, 50*time.Millisecond, 500*time.Millisecond
	}); r.Terms < 3 {
		t.Errorf("who was cut off comes back without a higher term: %+v", r)
	}
	if r := total("rejoin-higher-term", false, keep); r.Terms != 0 {
		t.Errorf("with PreVote its term rises: %+v", r)
	}
	if r := total("term-inflation", false, keep); r.Terms < 3 {
		t.Errorf("nobody campaigns: %+v", r)
	}
	if r := total("simultaneous-start", false, keep); r.Elections < 3 {
		t.Errorf("nobody started again: %+v", r)
	}
	if r := total("asymmetric-delay", false, func(l *Lab) { l.Heartbeat, l.Election = 10*time.Millisecond, 50*time.Millisecond }); r.Acked == 0 || r.Bytes == 0 {
		t.Errorf("%+v", r)
	}
	// Acks of dv travel in rows, and count all the same.
	if r := total("none", true, keep); r.Bytes < calm.Bytes/2 {
		t.Errorf("dv has %d bytes on the network, stock %d", r.Bytes, calm.Bytes)
	}
}
