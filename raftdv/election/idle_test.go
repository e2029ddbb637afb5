package election

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// rows counts what member i publishes while d passes; the leader sends
// heartbeats, as raft does.
func (b *table) rows(i int, d time.Duration) (n int) {
	for end := b.now + d; b.now < end; {
		for range 100 {
			b.now += ms
			for j, a := range b.arbs {
				if b.down[j] {
					continue
				}
				a.Advance(b.now)
				if j == i && a.out.Publish {
					n++
				}
			}
			b.exchange()
		}
		b.lead(1, 5)
	}
	return n
}

func idleTable(t *testing.T) (b *table, cfg Config) {
	b = steady(t, On, voters(1, 2, 3), 1, 2, 3)
	cfg = b.arbs[0].cfg
	b.rows(0, cfg.IdleAfter+2*cfg.Rest)
	return b, cfg
}

// A leader with nothing to do beats as the others do, and they know.
func TestIdleLeaderBeatsSeldom(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	cfg := b.arbs[0].cfg
	if n := b.rows(0, time.Second); n < int(time.Second/cfg.Beat)*9/10 {
		t.Errorf("%d rows in the first second", n)
	}
	b.rows(0, cfg.IdleAfter+2*cfg.Rest)
	if n := b.rows(0, time.Second); n > int(time.Second/cfg.IdleBeat)*11/10 {
		t.Errorf("%d rows in a second of idleness", n)
	}
	for _, a := range b.arbs[1:] {
		if p := a.peer(1); p.suspected() || p.Limit != 3*cfg.IdleBeat {
			t.Errorf("%v: the leader is suspected %v, after %v", a.cfg.Self, p.suspected(), p.Limit)
		}
	}
}

// Whatever it has to do ends that at once: in the same input its row goes out.
func TestWorkEndsIdleness(t *testing.T) {
	read := msg(raftpb.MsgHeartbeat, 1, 2, 5)
	read.Context = []byte("12345678")
	for what, m := range map[string]*raftpb.Message{
		"an entry":   appendMsg(1, 2, 5, 5, 10, 5),
		"a read":     read,
		"a snapshot": msg(raftpb.MsgSnap, 1, 2, 5),
	} {
		b, cfg := idleTable(t)
		a := b.arbs[0]
		a.Sent(b.now, []*raftpb.Message{msg(raftpb.MsgHeartbeat, 1, 2, 5), appendMsg(1, 2, 5, 5, 10)})
		if a.out.Publish || !a.shown.is(flagIdle) {
			t.Errorf("%s: a heartbeat and a commit are work", what)
		}
		a.Sent(b.now, []*raftpb.Message{m})
		if !a.out.Publish || a.shown.is(flagIdle) {
			t.Errorf("%s: the row does not go out at once", what)
		}
		b.exchange()
		if p := b.arbs[1].peer(1); p.Limit != cfg.SuspectAfter {
			t.Errorf("%s: suspect-after %v", what, p.Limit)
		}
		if n := b.rows(0, time.Second); n < int(time.Second/cfg.Beat)*9/10 {
			t.Errorf("%s: %d rows in the second after it", what, n)
		}
	}
}

// An idle leader is suspected all the same: by silence later, by a closed
// connection as soon as ever.
func TestIdleLeaderIsReplaced(t *testing.T) {
	b, cfg := idleTable(t)
	b.down[0] = true
	began := b.now
	for b.out[1].Inject == nil && b.now < began+time.Second {
		b.pass(ms)
	}
	if took := b.now - began; took < 2*cfg.IdleBeat || took > 3*cfg.IdleBeat+10*ms {
		t.Errorf("after %v of silence its successor is told to campaign", took)
	}
	b, _ = idleTable(t)
	b.kill(0)
	b.pass(2 * ms)
	if b.out[1].Inject == nil {
		t.Error("its connection was closed and nobody campaigns")
	}
}

// A claim that began just now is not idle, whatever was before it.
func TestNewLeaderIsNotIdle(t *testing.T) {
	b, cfg := idleTable(t)
	b.kill(0)
	b.pass(2 * ms)
	b.lead(2, 6)
	b.pass(cfg.Rest)
	if b.arbs[1].shown.is(flagIdle) {
		t.Error("a leader is idle a second after its election")
	}
}
