package election

import (
	"errors"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Each planted bug is done to an arbiter after every input, or to what drives
// it, and has to be caught by the check that is there for it.
var plantedBugs = []struct {
	name   string
	how    error
	voters int
	plant  func(*kill)
}{
	{"endorses by its lower bound only, and takes others' upper bounds for settled", errE1, 5, func(k *kill) {
		k.unequal, k.plan = true, nil
		k.setup.tamper = func(a *Arbiter) {
			a.pos.lower = entry{a.pos.lower.term, 5}
			a.pos.upper, a.pos.handed, a.pos.spill = a.pos.lower, nil, entry{}
		}
	}},
	{"does not check whether the nominee is behind", errE1, 5, func(k *kill) {
		k.unequal, k.plan = true, nil
		k.setup.tamper = forgetLogs
	}},
	{"endorses twice in an attempt", errE4, 5, func(k *kill) {
		k.setup.tamper = func(a *Arbiter) {
			if a.open && a.endorses.nominee != a.cfg.Self {
				a.open, a.excluded = false, append(a.excluded, a.endorses.nominee)
				a.endorses.attempt--
			}
		}
	}},
	{"endorses right after a restart", errE4, 4, func(k *kill) {
		k.plan = []crash{{at: atEndorsed}, {at: atEndorsed}}
		k.revival = time.Millisecond
		k.setup.tamper = func(a *Arbiter) { a.born = -time.Hour }
	}},
	{"is nominated by itself alone", errE1, 5, func(k *kill) {
		k.plan = nil
		k.setup.tamper = func(a *Arbiter) {
			if a.sealed {
				a.members.Voters = []fabric.MemberID{a.cfg.Self}
			}
		}
	}},
	{"gives up its nominee at once", errE1, 5, func(k *kill) {
		k.plan = nil
		k.setup.tamper = func(a *Arbiter) { a.cfg.Patience = time.Millisecond }
	}},
	{"endorses anew while its last word is out", errE1, 7, func(k *kill) {
		k.plan, k.setup.lossy = nil, true
		k.setup.tamper = forgetWord
	}},
	{"takes its word back as soon as anything happens", errAttempts, 5, func(k *kill) {
		k.setup.tamper = func(a *Arbiter) { a.open = false }
	}},
	{"holds without bound", errE3, 3, func(k *kill) {
		k.plan, k.slow, k.setup.together = nil, true, true
		k.setup.tamper = func(a *Arbiter) {
			for i := range a.held {
				a.held[i].until = endless
			}
		}
	}},
	{"restarts with an empty disk", errE2, 3, func(k *kill) {
		k.setup.forget, k.outside = true, true
		k.plan = []crash{{at: atFirstGrant}}
	}},
	{"lets every pre-vote pass", errE1, 7, func(k *kill) {
		k.slow, k.plan, k.setup.deaf, k.setup.together = true, nil, true, true
		k.setup.tamper = func(a *Arbiter) { a.bound, a.rival = 0, rival{} }
	}},
}

// forgetWord is a bug: a member endorses anew while its last word is out.
func forgetWord(a *Arbiter) {
	if a.open && a.now > a.endorseAt+time.Millisecond {
		a.open, a.excluded = false, append(a.excluded, a.endorses.nominee)
	}
}

// forgetLogs is a bug: all logs look the same.
func forgetLogs(a *Arbiter) {
	for _, p := range a.peers {
		p.row.lower, p.row.upper = entry{}, entry{}
	}
	a.pos.lower, a.pos.upper, a.pos.handed, a.pos.spill = entry{}, entry{}, nil, entry{}
}

// TestPlantedBugs: every check can fail.
func TestPlantedBugs(t *testing.T) {
	const most = 1500
	for _, b := range plantedBugs {
		t.Run(b.name, func(t *testing.T) {
			for seed := range uint64(most) {
				k := scenario(seed, b.voters, On)
				b.plant(&k)
				if _, err := k.run(); errors.Is(err, b.how) {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Errorf("not caught as %v in %d elections", b.how, most)
		})
	}
}
