package election

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// An election that comes to nothing, as the leader lives, is over: State (and
// with it raftdv_election_running) must say so, and the next one begins when it
// begins.
func TestFalseAlarmEnds(t *testing.T) {
	b := steady(t, Observe, voters(1, 2, 3), 1, 2, 3)
	b.down[0] = true
	b.pass(100 * ms)
	b.down[0] = false
	work := func(d time.Duration) { // heartbeats, as raft makes them
		for range d / (100 * ms) {
			b.lead(1, 5)
			b.pass(100 * ms)
		}
	}
	work(time.Second)
	if !b.has(1, EventStarted) || b.arbs[1].State().Suspects {
		t.Fatalf("no false alarm: %+v", b.out[1].Events)
	}
	if b.arbs[1].State().Electing {
		t.Error("the leader was heard for a second, and an election is still said to be on")
	}
	b.out[1].Events = nil
	work(time.Minute)
	b.kill(0)
	b.pass(5 * ms)
	if !b.has(1, EventStarted) {
		t.Error("nobody is told that the second election began")
	}
	b.lead(2, 6)
	if e := b.event(1, EventElected); e.Took > 100*ms || e.Detection == 0 && e.Took == 0 {
		t.Errorf("an election of 5 ms is said to have taken %v, detected in %v", e.Took, e.Detection)
	}
}

// A row that goes out for another reason, to some, must not swallow the news that
// all wait for.
func TestNewsOutlivesAcks(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[1]
	a.Down(b.now, 1)
	a.Take()
	if v := a.Receive(b.now, msg(raftpb.MsgPreVote, 3, 2, 6)); v != Pass {
		t.Fatalf("verdict %v", v)
	}
	if a.Take().Publish { // the word is out: told at once would be as well
		return
	}
	a.AppendSection(nil) // an ack, to the leader of old
	grant := msg(raftpb.MsgPreVoteResp, 2, 3, 6)
	a.Sent(b.now, []*raftpb.Message{grant})
	if !a.shown.is(flagBound) {
		t.Fatal("not bound")
	}
	if !a.Take().Publish {
		t.Error("nobody but the reader of the ack is told that this member's raft has a word out")
	}
}
