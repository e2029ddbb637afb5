package election

import (
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// beat has the leader's raft send a heartbeat to all, which they answer after a
// round trip.
func (b *table) beat(leader, trip time.Duration, but ...int) {
	l := b.arbs[leader]
	for i := range b.arbs {
		if i != int(leader) {
			l.Sent(b.now, []*raftpb.Message{msg(raftpb.MsgHeartbeat, uint64(leader)+1, uint64(i)+1, 5)})
		}
	}
	b.pass(trip)
	for i := range b.arbs {
		if i != int(leader) && !slices.Contains(but, i) {
			l.Receive(b.now, msg(raftpb.MsgHeartbeatResp, uint64(i)+1, uint64(leader)+1, 5))
		}
	}
	b.exchange()
	b.pass(10 * ms)
}

// The pace is that of the network, as the leader measures it, for all members;
// it is bounded, and comes back after a while.
func TestPace(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	inForce := func(want time.Duration, when string) {
		t.Helper()
		for i, a := range b.arbs {
			if c := a.cfg; c.Patience != want || c.Hold != want*5 || c.Settle != want*3/4 || a.shown.pace != want {
				t.Errorf("%s: %d has Patience %v, Hold %v, Settle %v, says %v; want %v", when, i+1, c.Patience, c.Hold, c.Settle, a.shown.pace, want)
			}
		}
	}
	for range 30 {
		b.beat(0, 5*ms)
	}
	inForce(20*ms, "5ms")
	for range 100 {
		b.beat(0, 30*ms)
	}
	inForce(80*ms, "30ms")
	for range 60 {
		b.beat(0, 400*ms)
	}
	inForce(160*ms, "400ms: at most MaxHold")
	if e, st := b.event(1, EventPace), b.arbs[1].State(); e.Took != 160*ms || st.Patience != 160*ms || st.Hold != 800*ms {
		t.Errorf("told as %+v, shown as %v and %v", e, st.Patience, st.Hold)
	}
	for range 30 {
		b.beat(0, 2*ms)
	}
	inForce(160*ms, "a lull")
	for range 200 {
		b.beat(0, 2*ms)
	}
	inForce(20*ms, "fast again")
}

// One slow or dead member does not slow down a majority.
func TestPaceIsThatOfAMajority(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	for range 30 {
		b.beat(0, 5*ms, 2)
	}
	if p := b.arbs[0].cfg.Patience; p != 20*ms {
		t.Errorf("Patience %v", p)
	}
	for range 30 {
		b.beat(0, 30*ms, 1)
	}
	if p := b.arbs[0].cfg.Patience; p != 20*ms {
		t.Errorf("Patience %v", p)
	}
}

// While words are out they bind for as long as they said.
func TestPaceWaitsForTheElection(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[1].bind(3)
	b.arbs[1].setLevel(2)
	if p := b.arbs[1].cfg.Patience; p != 20*ms {
		t.Errorf("Patience becomes %v", p)
	}
	b.pass(50 * ms)
	b.arbs[1].setLevel(2)
	if p := b.arbs[1].cfg.Patience; p != 80*ms {
		t.Errorf("Patience stays %v", p)
	}
}

// A member that begins anew takes over the pace that is said: the wait after its
// start has to cover words of its last life (E4).
func TestPaceAfterAStart(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[1].setLevel(2)
	b.kill(0)
	fresh, err := New(Config{Self: 3, PreVote: true, CheckQuorum: true}, b.now)
	must(err)
	must(fresh.SetMembers(b.now, voters(1, 2, 3)))
	fresh.SetMode(b.now, On)
	fresh.Position(b.now, 5, 5, 10)
	b.arbs[2], b.lives[2] = fresh, 2
	b.publish(1)
	b.pass(399 * ms)
	if why := fresh.unable(); why != "restarted" || fresh.cfg.Patience != 80*ms {
		t.Errorf("%q with Patience %v", why, fresh.cfg.Patience)
	}
	b.pass(2 * ms)
	if why := fresh.unable(); why == "restarted" {
		t.Error("it waits for longer than five Patiences")
	}
}

func TestMaxHold(t *testing.T) {
	for _, c := range []struct {
		c     Config
		level int
	}{{Config{Self: 1}, 3}, {Config{Self: 1, MaxHold: 100 * ms}, 0}, {Config{Self: 1, MaxHold: 399 * ms}, 1}, {Config{Self: 1, Hold: 200 * ms, MaxHold: 800 * ms}, 2}} {
		a, err := New(c.c, 0)
		must(err)
		must(a.SetMembers(0, voters(1, 2, 3)))
		a.setLevel(10)
		if a.level != c.level || a.cfg.Hold > a.base.MaxHold {
			t.Errorf("%+v: level %d, Hold %v", c.c, a.level, a.cfg.Hold)
		}
	}
	if err := (Config{Self: 1, MaxHold: ms}).Validate(); err == nil {
		t.Error("MaxHold below Hold is taken")
	}
}
