package ordered

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/sim"
)

// settled is a cluster in its first view.
func settled(t *testing.T, n int, cfg EndpointConfig) *cluster {
	c := newCluster(t, n, sim.Config{Seed: 1, Faults: sim.Faults{Delay: 200 * time.Microsecond}}, cfg)
	if !c.until(2*time.Second, c.whole) || c.err != nil {
		t.Fatalf("no view: %v", c.err)
	}
	return c
}

// TestAheadOfTheClock: "a stamp more than the clock error beyond Now is refused
// before it is merged: one bad stamp must not poison all clocks" (protocol §4). Who
// gave it is suspected.
func TestAheadOfTheClock(t *testing.T) {
	for _, logical := range []bool{true, false} {
		c := settled(t, 3, EndpointConfig{})
		m := c.members[0]
		e := m.station.endpoint
		now := m.now()
		now.Clock.Logical, now.Clock.Error = logical, time.Millisecond
		most := map[bool]time.Duration{true: time.Hour, false: 2 * time.Millisecond}[logical]
		l := letter{from: e.core.view.Members[1], view: e.core.id, seq: 1, class: fabric.ClassAgreed, stamp: fabric.Stamp{Time: now.Clock.Nanos + int64(most) + 1}}
		f := fabric.Frame{Header: fabric.Header{Class: l.class, Stream: l.seq, Stamp: l.stamp, Has: fabric.HasStamp}, Body: appendLetter(nil, &l, 2)}
		if err := e.Frame(now, 2, &f, true); !errors.Is(err, ErrAhead) {
			t.Errorf("logical %v: %v", logical, err)
		}
		a := e.Take(now)
		if len(a.Faults) != 1 || a.Faults[0].Member != 2 || !slices.Equal(e.suspects, []fabric.MemberID{2}) {
			t.Errorf("logical %v: faults %v, suspects %v", logical, a.Faults, e.suspects)
		}
		if b := e.core.Barrier().Barrier(); b.Time > now.Clock.Nanos {
			t.Errorf("logical %v: the barrier is %v ahead", logical, time.Duration(b.Time-now.Clock.Nanos))
		}
		l.stamp.Time--
		f.Stamp, f.Body = l.stamp, appendLetter(nil, &l, 2)
		if err := e.Frame(now, 2, &f, true); err != nil {
			t.Errorf("logical %v: just not ahead: %v", logical, err)
		}
	}
}

// TestTurns: of several voters that want a new view the first proposes it, and if
// it cannot, the next one.
func TestTurns(t *testing.T) {
	for _, first := range []int{0, 1} {
		c := settled(t, 5, EndpointConfig{})
		c.net.Kill(5)
		if first == 1 {
			c.net.Kill(1)
		}
		rest := c.members[first:4]
		ok := c.until(time.Second, func() bool {
			for _, m := range rest {
				if len(m.core.view.Members) != len(rest) {
					return false
				}
			}
			return true
		})
		if !ok {
			t.Fatalf("no view without the dead: %s", c.dump())
		}
		for i, m := range rest {
			if tries := m.station.endpoint.turns.proposals; (tries > 0) != (i == 0) {
				t.Errorf("first %d: member %v proposed %d times", first+1, m.id, tries)
			}
		}
	}
}

// TestIdle: who has nothing to do publishes its row seldom, and often again as soon
// as something is sent.
func TestIdle(t *testing.T) {
	c := settled(t, 3, EndpointConfig{})
	published := func(length time.Duration) uint64 {
		was := c.members[2].station.version
		c.net.Advance(length)
		return c.members[2].station.version - was
	}
	c.net.Advance(1500 * time.Millisecond)
	if n := published(time.Second); n < 9 || n > 12 {
		t.Errorf("%d rows in an idle second, want 10", n)
	}
	if err := c.members[0].send(fabric.ClassAgreed, 1); err != nil {
		t.Fatal(err)
	}
	if n := published(500 * time.Millisecond); n < 45 || n > 60 {
		t.Errorf("%d rows in half a second after a message, want 50", n)
	}
	if n := c.members[2].core.b.Self(); n.Generation != 1 || c.err != nil {
		t.Errorf("%v, %v", n, c.err)
	}
}

// TestStrangers: rows and links of members of no configuration change nothing.
func TestStrangers(t *testing.T) {
	c := settled(t, 3, EndpointConfig{})
	e := c.members[0].station.endpoint
	now := c.members[0].now()
	if newer, err := e.Row(now, &fabric.Row{Owner: 9, Incarnation: 1, Version: 1}, true); newer || err != nil {
		t.Errorf("%v, %v", newer, err)
	}
	e.Link(now, 9, true)
	e.Lost(now, 9, Send{})
	if err := e.SetConfig(now, barrier.Config{}); !errors.Is(err, barrier.ErrConfig) {
		t.Error(err)
	}
	if a := e.Take(now); len(a.Faults) > 0 || len(a.Sends) > 0 {
		t.Errorf("%+v", a)
	}
}

// TestLeavingVotersAreNeeded: who is no voter in the newest configuration is heard,
// and its rows are in order, until a view with that is in force.
func TestLeavingVotersAreNeeded(t *testing.T) {
	c := settled(t, 4, EndpointConfig{})
	m := c.members[0]
	e := m.station.endpoint
	c.epoch = 1
	if err := e.SetConfig(m.now(), barrier.Config{Epoch: 2, Voters: []fabric.MemberID{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	version := e.peer(4).version
	row := fabric.Row{Owner: 4, Incarnation: c.members[3].port.Incarnation(), Version: version}
	if e.Take(m.now()); e.peer(4) == nil || e.peer(4).version != version {
		t.Fatal("the member that leaves is forgotten before it has left")
	}
	if newer, _ := e.Row(m.now(), &row, false); newer {
		t.Error("an old row of it is new")
	}
	c.configure([]int{0, 1, 2})
	if !c.until(time.Second, func() bool { return len(m.core.view.Members) == 3 && e.peer(4) == nil }) {
		t.Errorf("it has not left: %s", c.dump())
	}
}

// TestSuspectedStaysOut: who is suspected, and knows better, does not come back for
// as long as it is.
func TestSuspectedStaysOut(t *testing.T) {
	c := settled(t, 3, EndpointConfig{StallAfter: 4 * time.Second})
	for _, m := range c.members[:2] {
		m.station.endpoint.distrust(m.station.endpoint.peer(3))
		m.act()
	}
	c.net.Advance(3 * time.Second)
	if v := c.members[0].core.view; v.Number != 2 || len(v.Members) != 2 {
		t.Errorf("view %d has %d members, want the second one to have two", v.Number, len(v.Members))
	}
	if !c.until(3*time.Second, c.whole) {
		t.Errorf("it does not come back: %s", c.dump())
	}
}
