package election

import (
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// Counterexamples: interleavings that once broke E1 in a campaign, each kept as
// small as it can be told. Members are of steady: 1 leads term 5, all logs end
// at (5, 10).

func preVote(from, to, term uint64) *raftpb.Message {
	m := msg(raftpb.MsgPreVote, from, to, term)
	m.LogTerm, m.Index = new(uint64(5)), new(uint64(10))
	return m
}

func forcedVote(from, to, term uint64) *raftpb.Message {
	m := preVote(from, to, term)
	m.Type, m.Context = raftpb.MsgVote.Enum(), []byte("CampaignTransfer")
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

// Two members that gave an election up at different times: each begins anew when
// its rest is over, while the other one rests, for ever.
//
//	2 gives up, and rests; 3 stood still, and begins while 2 rests; it gives up
//	2 begins while 3 rests …
func TestMembersMeetAfterTheirRests(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[1].rest = b.now + 60*ms
	b.arbs[2].rest = b.now + 140*ms // longer than an election of 2's would last
	b.pass(10 * ms)
	b.kill(0)
	b.pass(120 * ms)
	if b.has(1, EventEndorsed) || b.arbs[1].sealed {
		t.Error("2 begins while 3 rests")
	}
	b.pass(20 * ms)
	if b.out[1].Inject == nil {
		t.Error("2 is not nominated when both can")
	}
}

// A member stands still for less than suspect-after. What waited for it are the
// words of an attempt that is long over.
//
//	2 stops; 3 endorses 2, then 3, then 2, …
//	2 goes on: it sees itself endorsed by a majority, and campaigns beside 3
func TestWordsThatWaited(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.down[1] = true
	b.kill(0)
	b.arbs[1].Down(b.now, 1)
	s := b.arbs[2].shown
	s.flags |= flagSuspects | flagSealed
	s.endorses = endorsement{5, 1, 2}
	b.now = b.arbs[1].Deadline() + b.arbs[1].cfg.Patience/2 + ms
	must(b.arbs[1].Row(b.now, &fabric.Row{Owner: 3, Incarnation: 1, Version: 1 << 40, Sections: s.append(nil)}))
	if out := b.arbs[1].Take(); out.Inject != nil {
		t.Error("2 is nominated with an old word")
	}
	if why := b.arbs[1].unable(); why != "late" {
		t.Errorf("2 could endorse: %q", why)
	}
	if b.has(1, EventLate) {
		t.Error("half a Patience is reported as a loop that stood still")
	}
}

// A nominee comes to its campaign after it was given up.
//
//	2, 3 and 4 endorse 2; 2 is lifted to term 6, and hangs before its requests for 7 leave
//	3, 4 and 5 endorse 3: it wins term 6
//	2 goes on, and its requests for 7 depose 3
func TestLaterAttemptsAreAbove(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	b.arbs[1].Sent(b.now, []*raftpb.Message{preVote(2, 3, 6)})
	b.kill(0)
	b.pass(25 * ms)
	first := b.out[1].Inject
	if first == nil || first.GetTerm() != 6 {
		t.Fatalf("2 is told %v", first)
	}
	b.pass(25 * ms)
	if second := b.out[2].Inject; second == nil || second.GetTerm()+1 <= first.GetTerm()+1 {
		t.Errorf("2 may campaign for %d, 3 is told %v", first.GetTerm()+1, second)
	}
}

// The same when a campaign has raised the term between the two.
//
//	1 is dead; 2 is nominated, its request for 6 reaches 5, it dies
//	3 is nominated in attempt 2 of term 5, and hangs before its requests for 8 leave
//	the request for 6 makes all begin anew in term 6: 4 wins term 7 in attempt 1
//	3 goes on, and its requests for 8 depose 4
func TestAttemptsAreCountedAcrossTerms(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5, 6, 7), 1, 2, 3, 4, 5, 6, 7)
	b.kill(0)
	b.pass(25 * ms)
	if m := b.out[2].Inject; m == nil || b.arbs[3].endorses != (endorsement{5, 2, 3}) {
		t.Fatalf("3 is told %v, 4 endorses %+v", m, b.arbs[3].endorses)
	}
	reach := b.out[2].Inject.GetTerm() + 1
	b.arbs[4].claimed(claim{6, 2, claimCampaign}) // its raft says so
	b.arbs[4].step()
	b.exchange()
	b.kill(1)
	b.down[2] = true
	b.pass(100 * ms)
	if m := b.out[3].Inject; m == nil || m.GetTerm()+1 <= reach {
		t.Errorf("3 may campaign for %d, 4 is told %v in attempt %+v", reach, m, b.arbs[3].endorses)
	}
}

// A nominee whose disk is slow endorses another one before its own requests leave.
func TestNomineeIsTied(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.kill(0)
	b.pass(2 * ms)
	if b.out[1].Inject == nil || !b.arbs[1].tied() {
		t.Errorf("2 is told %v, tied: %v", b.out[1].Inject, b.arbs[1].tied())
	}
}

// The answer to a leader of an older term displaces that to the newer leader's
// append, since etcd sends the last MsgAppResp of a Ready alone. The position
// then never settles, and who seems to have the longest log is nominated.
func TestAnswerToAnOldLeaderWaits(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[2]
	if v := a.Receive(b.now, appendMsg(2, 3, 6, 5, 20, 6)); v != Pass {
		t.Fatal(v)
	}
	old := msg(raftpb.MsgHeartbeat, 1, 3, 5)
	if v := a.Receive(b.now, old); v != Hold {
		t.Errorf("the old leader's heartbeat: %v", v)
	}
	reject := acceptMsg(3, 2, 6, 20)
	reject.Reject = new(true)
	a.Sent(b.now, []*raftpb.Message{reject})
	if out := a.Take(); !slices.Contains(out.Release, old) || a.pos.high() != (entry{5, 10}) {
		t.Errorf("after the answer: released %v, position %+v", out.Release, a.pos)
	}
}

// A request for a vote in a term that raft has left says nothing to it: it is no
// round.
func TestOvertakenRequest(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[2]
	a.Receive(b.now, msg(raftpb.MsgHeartbeat, 2, 3, 8))
	if v := a.Receive(b.now, msg(raftpb.MsgVote, 1, 3, 7)); v != Discard {
		t.Errorf("a request of an older term: %v", v)
	}
}

// Raft is on its own. The claim on the term is of a campaign that is long over,
// and its candidate lives.
//
//	2 campaigned for 6 and did not win; nobody knows its position
//	4 > 2, 3 MsgPreVote 7   granted
//	2 > 3 MsgPreVote 7      as the claim is 2's, 2 and 3 are not tied for it: granted as well
//	2 and 4 both campaign for 7, and neither wins
func TestCampaignThatIsOverIsNotFavoured(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4), 1, 2, 3, 4)
	b.kill(0)
	for _, a := range b.arbs[1:] {
		a.pos = position{}
		a.claimed(claim{6, 2, claimCampaign})
	}
	if v := b.arbs[2].Receive(b.now, msg(raftpb.MsgVote, 2, 3, 6)); v != Pass {
		t.Fatalf("2's request for the term that it claims: %v", v)
	}
	for _, a := range b.arbs[1:] {
		a.raise(6)
	}
	b.pass(150 * ms)
	for i, to := range []uint64{2, 3} {
		if v := b.arbs[i+1].Receive(b.now, preVote(4, to, 7)); v != Pass {
			t.Fatalf("4's pre-vote to %d: %v", to, v)
		}
	}
	second := preVote(2, 3, 7)
	b.arbs[1].Sent(b.now, []*raftpb.Message{second})
	if v := b.arbs[2].Receive(b.now, second); v != Hold {
		t.Errorf("2's pre-vote beside it: %v", v)
	}
	if v := b.arbs[1].Receive(b.now, msg(raftpb.MsgPreVoteResp, 3, 2, 7)); v != Discard {
		t.Errorf("a grant of it: %v", v)
	}
}

// Two of six are dead, so that all others have to agree. All but 5 give an election up, 5 sees
// that they rest.
//
//	attempts 1, 2, 3: 2, 3 and 4 are endorsed, and do not campaign
//	2, 3, 4 give up and forget it; 5 does not: its election ends as no majority is left
//	after Rest 2, 3 and 4 endorse 2; 5 endorses itself, since the others failed
func TestFailuresAreForgottenByAll(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5, 6), 1, 2, 3, 4, 5, 6)
	b.kill(5)
	b.kill(0)
	b.pass(20 * ms)
	b.arbs[4].sealedAt += 5 * ms
	b.pass(200 * ms)
	if !b.has(1, EventGaveUp) || b.has(4, EventGaveUp) || b.arbs[4].endorses != (endorsement{5, 3, 4}) {
		t.Fatalf("2 gave up: %v, 5: %v, %+v", b.has(1, EventGaveUp), b.has(4, EventGaveUp), b.arbs[4].endorses)
	}
	b.out[1] = Output{}
	b.pass(b.arbs[1].cfg.Rest - 80*ms)
	if want := (endorsement{5, 4, 2}); b.out[1].Inject == nil || b.arbs[4].endorses != want {
		t.Errorf("after the rest 5 endorses %+v, 2 is told %v", b.arbs[4].endorses, b.out[1].Inject)
	}
}

// divided is six members of which two die, and of the others each two know of
// failures of the other two.
func divided(t *testing.T) *table {
	b := steady(t, On, voters(1, 2, 3, 4, 5, 6), 1, 2, 3, 4, 5, 6)
	for i, a := range b.arbs[1:5] {
		a.excluded = [][]fabric.MemberID{{4, 5}, {2, 3}}[i/2]
	}
	b.kill(5)
	b.kill(0)
	return b
}

// The same four, of which each two know of failures that the others do not know of.
//
//	2 and 3 endorse 2; 4 and 5 endorse 4
//	2 and 3 begin attempt 2 without exclusions, with 2
//	4 and 5 see that, move on with theirs, and endorse 4 again
func TestSplitEndsForThoseThatFollow(t *testing.T) {
	b := divided(t)
	b.pass(2 * ms)
	if two, four := b.arbs[2].endorses.nominee, b.arbs[4].endorses.nominee; two != 2 || four != 4 {
		t.Fatalf("3 endorses %d, 5 endorses %d", two, four)
	}
	for _, a := range b.arbs[1:3] {
		a.endorseAt -= 2 * ms
	}
	b.pass(b.arbs[1].cfg.Patience)
	if want := (endorsement{5, 2, 2}); b.out[1].Inject == nil || b.arbs[3].endorses != want {
		t.Errorf("in attempt 2 4 endorses %+v, 2 is told %v", b.arbs[3].endorses, b.out[1].Inject)
	}
}

// A nominee learns of a newer term before it has endorsed itself.
//
//	3 is nominated in attempt 1 of term 5, its request for 7 reaches 4 alone, it dies
//	5, 6, 7, 8 and 9, a majority, endorse 4 in attempt 2 of term 5; 4's raft is at 7
//	4 endorses itself in term 7; the others wait for attempt 2 until their Patience is over, and hold that against 4
func TestNomineeThatHasMovedOn(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5, 6, 7, 8, 9), 1, 2, 3, 4, 5, 6, 7, 8, 9)
	b.kill(1)
	b.kill(0)
	b.pass(2 * ms)
	if b.out[2].Inject == nil {
		t.Fatalf("5 endorses %+v", b.arbs[4].endorses)
	}
	if v := b.arbs[3].Receive(b.now, forcedVote(3, 4, 7)); v != Pass {
		t.Fatalf("3's request: %v", v)
	}
	b.down[2] = true
	for _, a := range b.arbs[4:] { // before 4's row comes
		a.Down(b.now, 3)
		a.endorses = endorsement{5, 2, 4}
		a.open, a.endorseAt = true, b.now
		a.step()
	}
	b.arbs[3].Down(b.now, 3)
	b.exchange()
	b.pass(ms)
	if want := (endorsement{7, 3, 4}); b.out[3].Inject == nil || b.arbs[8].endorses != want {
		t.Errorf("9 endorses %+v, open: %v; 4 endorses %+v, and is told %v", b.arbs[8].endorses, b.arbs[8].open, b.arbs[3].endorses, b.out[3].Inject)
	}
}

// A member that hangs, and is not suspected yet, is waited for.
//
//	1 is dead, 2 was nominated and hangs, which only silence tells
//	3 and 4 endorse 3 in attempt 2, 5 endorses 4, and learns of a newer term
//	3 and 4 wait for the word that 2 might give, until their Patience is over, and hold that against 3
func TestAbsentMembersAreNotWaitedFor(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	b.down[1] = true
	b.kill(0)
	b.pass(b.arbs[3].cfg.IdleBeat + b.arbs[3].cfg.Patience + 2*ms)
	for _, a := range b.arbs[2:4] {
		a.endorses, a.open, a.endorseAt = endorsement{5, 20, 3}, true, b.now
	}
	b.publish(2)
	b.arbs[4].endorses = endorsement{5, 20, 4}
	b.arbs[4].claimed(claim{6, 2, claimCampaign})
	b.publish(4)
	if a := b.arbs[3]; !a.heard(2) || a.hopeful() || a.possible() {
		t.Errorf("2 is heard: %v, 3 may be nominated: %v, may have been: %v", a.heard(2), a.hopeful(), a.possible())
	}
	b.arbs[3].peer(2).Last = b.now // the control: 2 may be about to give its word
	if a := b.arbs[3]; !a.hopeful() || !a.possible() {
		t.Errorf("with 2 at work 3 may be nominated: %v, may have been: %v", a.hopeful(), a.possible())
	}
}

// Nobody is endorsed who would need the word of an absent member: the attempt
// would be over at once, and the next one, as often as anything happens.
func TestAbsentMembersMakeNoAttempts(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[1].bound, b.arbs[1].boundTill = 3, b.now+time.Second // it lives and gives no word
	b.kill(0)
	b.pass(5 * ms)
	b.down[1] = true
	b.pass(55 * ms)
	if a := b.arbs[2]; !a.heard(2) || !a.sealed || a.endorses.attempt > 1 || a.open {
		t.Errorf("2 is heard: %v; 3 is sealed: %v, endorses %+v, open: %v", a.heard(2), a.sealed, a.endorses, a.open)
	}
}

// Raft is on its own, after a campaign for a raised term that reached few.
//
//	3 campaigned for 8, its request reached 5 alone, it died
//	2 > 4, 5 MsgPreVote 6   4 grants it; 5, at 8, rejects it
//	2 campaigns for 6, and follows 5 to term 8 before anybody votes
func TestGrantBelowAClaimWaits(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	b.kill(0)
	b.kill(2)
	a := b.arbs[1]
	a.pos = position{}
	a.rest = b.now + time.Second
	a.claimed(claim{8, 3, claimCampaign})
	a.Sent(b.now, []*raftpb.Message{preVote(2, 4, 6)})
	grant := msg(raftpb.MsgPreVoteResp, 4, 2, 6)
	a.mute, a.rest = false, b.now+time.Second
	if v := a.Receive(b.now, grant); v != Hold {
		t.Fatalf("a grant below the claim: %v", v)
	}
	b.out[1] = Output{}
	b.pass(a.cfg.Patience/2 - 2*ms)
	if slices.Contains(b.out[1].Release, grant) {
		t.Error("released at once")
	}
	b.pass(4 * ms)
	if !slices.Contains(b.out[1].Release, grant) {
		t.Error("not released when nobody objects")
	}
	reject := msg(raftpb.MsgPreVoteResp, 5, 2, 8)
	reject.Reject = new(true)
	if v := a.Receive(b.now, reject); v != Pass || a.term != 8 {
		t.Errorf("a rejection: %v, raft is at %d", v, a.term)
	}
}

// Raft has left the term of an append that comes late, as an answer tells that it was handed.
//
//	5 > 2 MsgPreVoteResp 8, rejected   2's raft is at 8, and says nothing
//	1 > 2 MsgApp 5                     handed over, and dropped
//	all endorse 2, by its upper bound
func TestAnswersTellOfTerms(t *testing.T) {
	for _, typ := range []raftpb.MessageType{raftpb.MsgPreVoteResp, raftpb.MsgVoteResp, raftpb.MsgAppResp, raftpb.MsgHeartbeatResp} {
		b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
		a := b.arbs[1]
		a.Down(b.now, 1) // while it works, it is asked first
		m := msg(typ, 5, 2, 8)
		m.Reject = new(true)
		a.Receive(b.now, m)
		if v := a.Receive(b.now, appendMsg(1, 2, 5, 5, 20, 5)); v != Pass {
			t.Fatalf("the append: %v", v)
		}
		if a.term != 8 || a.pos.high() != (entry{5, 10}) {
			t.Errorf("after %v: at %d, position %+v", typ, a.term, a.pos.high())
		}
	}
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[1]
	a.Down(b.now, 1)
	a.Receive(b.now, msg(raftpb.MsgPreVoteResp, 3, 2, 8)) // granted: says nothing of terms
	a.Receive(b.now, msg(raftpb.MsgAppResp, 9, 2, 8))     // of somebody whom raft does not know
	if a.term != 5 {
		t.Errorf("at %d after a grant and a stranger's answer", a.term)
	}
}

// Two of six are dead. All hold 3's last campaign against it, and 3 has the longest
// log: it endorses nobody else, and nobody else can win without its word.
func TestWhoCannotWinIsNotEndorsed(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5, 6), 1, 2, 3, 4, 5, 6)
	b.arbs[2].pos.set(entry{5, 11})
	b.publish(2)
	for _, a := range b.arbs[1:5] {
		a.excluded = []fabric.MemberID{3}
	}
	b.kill(5)
	b.kill(0)
	b.pass(2 * ms)
	if want := (endorsement{5, 1, 3}); b.out[2].Inject == nil || b.arbs[1].endorses != want || b.arbs[4].endorses != want {
		t.Errorf("2 endorses %+v, 5 %+v, 3 is told %v", b.arbs[1].endorses, b.arbs[4].endorses, b.out[2].Inject)
	}
}

// An append of a leader whose term raft has left is never taken. Where raft's
// answer names no index, the position stays between its bounds, and the shortest log
// seems to be the longest.
//
//	5 > 2 MsgPreVoteResp 6, rejected   2's raft is at 6, which nobody was told
//	4 > 2 MsgApp 5                     handed over, and dropped
//	2 > 4 MsgAppResp 6                 without an index
//	2 > * MsgPreVote 7                 says where its log ends
//	all endorse 2, by its upper bound; its log is too short, and nobody votes for it
func TestAppendOfATermThatIsOverIsForgotten(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	a := b.arbs[1]
	if v := a.Receive(b.now, appendMsg(1, 2, 5, 5, 20, 5)); v != Pass {
		t.Fatalf("the append: %v", v)
	}
	a.Sent(b.now, []*raftpb.Message{msg(raftpb.MsgAppResp, 2, 1, 6)})
	if a.pos.high() != (entry{5, 21}) {
		t.Errorf("before the pre-vote: %+v", a.pos.high())
	}
	a.Sent(b.now, []*raftpb.Message{preVote(2, 3, 6)}) // raft is at 5: it may still take it
	if a.pos.high() != (entry{5, 21}) {
		t.Errorf("after a pre-vote from the append's own term: %+v", a.pos.high())
	}
	a.Sent(b.now, []*raftpb.Message{preVote(2, 3, 7)})
	if a.pos.high() != (entry{5, 10}) {
		t.Errorf("after the pre-vote: %+v", a.pos.high())
	}
}
