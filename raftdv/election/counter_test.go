package election

import (
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// Counterexamples: interleavings that once broke E1 in a campaign, each kept as
// small as it can be told. Members are of steady: 1 leads term 5, all logs end
// at (5, 10).

func preVote(from, to, term uint64) *raftpb.Message {
	m := msg(raftpb.MsgPreVote, from, to, term)
	m.LogTerm, m.Index = new(uint64(5)), new(uint64(10))
	return m
}

// A majority that knows its positions is not there: raft is on its own, and two
// members' timers fire together. A third one grants both, and both campaign.
//
//	2 > 4 MsgPreVote 6    granted
//	3 > 4 MsgPreVote 6    granted as well: 2 and 3 campaign, 4 can vote for one only
func TestOnePreCandidateAlsoWithoutAMajority(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4), 1, 2, 3, 4)
	b.arbs[3].pos = position{} // 4 has begun anew
	b.pass(10 * ms)
	b.kill(0)
	b.pass(2 * ms)
	if b.out[1].Inject != nil || b.event(1, EventAbstained).Reason != "majority unknown" {
		t.Fatalf("2 is told %v", b.out[1].Inject)
	}
	if v := b.arbs[3].Receive(b.now, preVote(2, 4, 6)); v != Pass {
		t.Fatalf("2's pre-vote: %v", v)
	}
	second := preVote(3, 4, 6)
	if v := b.arbs[3].Receive(b.now, second); v != Hold {
		t.Errorf("3's pre-vote beside it: %v", v)
	}
	b.pass(150 * ms)
	if slices.Contains(b.out[3].Release, second) {
		t.Error("3's pre-vote is released later")
	}
}

// A pre-vote from before an election comes to raft after it.
//
//	4 > 3 MsgPreVote 6    held: 3 does not suspect the leader yet
//	4 > 2 MsgPreVote 6    granted
//	all suspect 1; 2, 3 and 4 endorse 2, its vote requests for 6 leave, it dies
//	without it no majority is left: 3 releases 4's pre-vote and grants it
//	4 campaigns for 6 as well, in which 3 votes for 2: nobody wins
func TestEndorsementOutrunsPreVotes(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4), 1, 2, 3, 4)
	early := preVote(4, 3, 6)
	b.arbs[3].Sent(b.now, []*raftpb.Message{early})
	if v := b.arbs[2].Receive(b.now, early); v != Hold {
		t.Fatalf("4's pre-vote against a leader that works: %v", v)
	}
	b.kill(0)
	b.pass(30 * ms)
	if b.out[1].Inject == nil || b.arbs[3].endorses.nominee != 2 || b.arbs[2].endorses.nominee != 2 {
		t.Fatalf("3 endorses %v, 4 %v", b.arbs[2].endorses, b.arbs[3].endorses)
	}
	b.kill(1)
	b.pass(10 * ms)
	if slices.Contains(b.out[2].Release, early) {
		t.Error("4's pre-vote is released after the election")
	}
	if v := b.arbs[3].Receive(b.now, msg(raftpb.MsgPreVoteResp, 3, 4, 6)); v != Discard {
		t.Errorf("a grant of it: %v", v)
	}
}

// A vote request that is still under way when its candidate is dead and another
// pre-vote has been granted would keep that one from winning.
//
//	no majority endorses; 2 > 3 MsgPreVote 6   granted
//	4's MsgVote 6 comes, 4 is dead: 3 votes for it, and refuses 2
func TestTiedMemberDoesNotVoteForTheDead(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4), 1, 2, 3, 4)
	b.kill(0)
	b.kill(3)
	b.pass(2 * ms)
	if v := b.arbs[2].Receive(b.now, preVote(2, 3, 6)); v != Pass {
		t.Fatalf("2's pre-vote: %v", v)
	}
	late := msg(raftpb.MsgVote, 4, 3, 6)
	if v := b.arbs[2].Receive(b.now, late); v != Hold {
		t.Errorf("the dead candidate's request: %v", v)
	}
	b.pass(150 * ms)
	if slices.Contains(b.out[2].Release, late) {
		t.Error("it is released later")
	}
}
