package raftdv

import (
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// suspects reports whether a member suspects another one.
func (n *node) suspects(id fabric.MemberID) bool {
	e := &n.dv.elections
	e.mu.Lock()
	defer e.mu.Unlock()
	e.arbiter.Advance(e.now())
	e.take()
	for _, p := range e.arbiter.State().Peers {
		if p.ID == id {
			return p.Suspected
		}
	}
	return false
}

// TestYoung: a member that has just started takes nobody's silence for anything, and
// later it does. The control is one that is not young.
func TestYoung(t *testing.T) {
	for _, young := range []bool{false, true} {
		n := lonelyAt(t, election.On, young)
		lead(t, &n.dv.elections)
		if !young {
			eventually(t, "the silent leader is suspected", func() bool { return n.suspects(2) })
			if age := time.Since(n.dv.started); age > youth {
				t.Logf("after %v: this machine is too slow for the control to tell", age)
			}
			continue
		}
		for time.Since(n.dv.started) < youth-100*time.Millisecond {
			if n.suspects(2) && time.Since(n.dv.started) < youth {
				t.Fatalf("suspected %v after the start", time.Since(n.dv.started))
			}
			time.Sleep(10 * time.Millisecond)
		}
		eventually(t, "the silent leader is suspected when it is grown", func() bool { return n.suspects(2) })
	}
}
