package election

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

const ms = time.Millisecond

func msg(typ raftpb.MessageType, from, to, term uint64) *raftpb.Message {
	return &raftpb.Message{Type: typ.Enum(), From: &from, To: &to, Term: &term}
}

func appendMsg(from, to, term, prevTerm, prev uint64, terms ...uint64) *raftpb.Message {
	m := msg(raftpb.MsgApp, from, to, term)
	m.LogTerm, m.Index = &prevTerm, &prev
	for i, t := range terms {
		m.Entries = append(m.Entries, &raftpb.Entry{Term: new(t), Index: new(prev + uint64(i) + 1)})
	}
	return m
}

func acceptMsg(from, to, term, index uint64) *raftpb.Message {
	m := msg(raftpb.MsgAppResp, from, to, term)
	m.Index = &index
	return m
}

// table is arbiters whose rows and campaigns arrive at once, and no raft.
type table struct {
	t      testing.TB
	now    time.Duration
	arbs   []*Arbiter
	out    []Output // of each, added up
	down   []bool
	lives  []uint64
	rowNum uint64
}

func newTable(t testing.TB, mode Mode, m Members, self ...fabric.MemberID) *table {
	t.Helper()
	b := &table{t: t, now: time.Second}
	for _, id := range self {
		a, err := New(Config{Self: id, PreVote: true, CheckQuorum: true}, 0)
		must(err)
		a.wakeAt = b.now // no time was slept through
		must(a.SetMembers(b.now, m))
		a.SetMode(b.now, mode)
		a.Position(b.now, 5, 5, 10)
		b.arbs, b.out, b.down, b.lives = append(b.arbs, a), append(b.out, Output{}), append(b.down, false), append(b.lives, 1)
	}
	return b
}

func voters(ids ...fabric.MemberID) Members { return Members{Voters: ids} }

// exchange takes outputs and hands rows around until nobody has news.
func (b *table) exchange() {
	for range 50 {
		moved := false
		for i, a := range b.arbs {
			if b.down[i] {
				continue
			}
			o := a.Take()
			b.out[i].Release = append(b.out[i].Release, o.Release...)
			b.out[i].Events = append(b.out[i].Events, o.Events...)
			if o.Inject != nil {
				b.out[i].Inject = o.Inject
			}
			if o.Publish {
				moved = true
				b.publish(i)
			}
		}
		if !moved {
			return
		}
	}
	b.t.Fatal("rows never come to rest")
}

func (b *table) publish(i int) {
	b.rowNum++
	row := fabric.Row{Owner: b.arbs[i].cfg.Self, Incarnation: b.lives[i], Version: b.rowNum, Sections: b.arbs[i].AppendSection(nil)}
	for j, o := range b.arbs {
		if j != i && !b.down[j] {
			if err := o.Row(b.now, &row); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

// pass lets time go by in small steps; rows beat.
func (b *table) pass(d time.Duration) {
	for end := b.now + d; b.now < end; {
		b.now += ms
		for i, a := range b.arbs {
			if !b.down[i] {
				a.Advance(b.now)
			}
		}
		b.exchange()
	}
}

// lead has id say that it leads term, and the others hear it.
func (b *table) lead(id fabric.MemberID, term uint64) {
	for _, a := range b.arbs {
		if a.cfg.Self == id {
			a.Sent(b.now, []*raftpb.Message{msg(raftpb.MsgHeartbeat, uint64(id), 99, term)})
		} else {
			a.Receive(b.now, msg(raftpb.MsgHeartbeat, uint64(id), uint64(a.cfg.Self), term))
			a.Sent(b.now, []*raftpb.Message{msg(raftpb.MsgHeartbeatResp, uint64(a.cfg.Self), uint64(id), term)})
		}
	}
	b.exchange()
}

// kill ends a member's arbiter; ports tell the others.
func (b *table) kill(i int) {
	b.down[i] = true
	for j, a := range b.arbs {
		if !b.down[j] {
			a.Down(b.now, b.arbs[i].cfg.Self)
		}
	}
	b.exchange()
}

func (b *table) has(i int, k EventKind) bool { return b.event(i, k).Kind == k }

func (b *table) event(i int, k EventKind) (e Event) {
	for _, o := range b.out[i].Events {
		if o.Kind == k {
			e = o
		}
	}
	return e
}

func steady(t testing.TB, mode Mode, m Members, self ...fabric.MemberID) *table {
	b := newTable(t, mode, m, self...)
	for i := range b.arbs {
		b.publish(i)
	}
	b.lead(1, 5)
	b.pass(100 * ms)
	for i := range b.out {
		b.out[i] = Output{}
	}
	return b
}

func TestLowestIdOfEqualLogs(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.kill(0)
	b.pass(2 * ms)
	if m := b.out[1].Inject; m == nil || m.GetType() != raftpb.MsgTimeoutNow || m.GetTerm() != 5 || m.GetTo() != 2 || m.GetFrom() != 2 {
		t.Fatalf("2 is told %v", m)
	}
	if b.out[2].Inject != nil {
		t.Error("3 is told to campaign as well")
	}
	if e := b.event(1, EventSuspected); e.Reason != "closed" || e.Member != 1 {
		t.Errorf("suspected by %+v", e)
	}
}

func TestBestLogBeforeLowestId(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[2].Position(b.now, 5, 5, 11)
	b.kill(0)
	b.pass(2 * ms)
	if b.out[1].Inject != nil || b.out[2].Inject == nil {
		t.Errorf("nominated: 2 %v, 3 %v", b.out[1].Inject, b.out[2].Inject)
	}
}

// "e endorses only a nominee whose position is ≥ e's own upper bound."
func TestNoNomineeBelowOwnUpperBound(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	// 3 was handed an entry that its raft did not answer, and does not.
	if v := b.arbs[2].Receive(b.now, appendMsg(1, 3, 5, 5, 10, 5)); v != Pass {
		t.Fatal("held")
	}
	b.kill(0)
	b.pass(60 * ms)
	if e := b.event(2, EventEndorsed); e.Member != 3 {
		t.Errorf("3 endorses %+v", e)
	}
	if e := b.event(1, EventEndorsed); e.Took < 14*ms {
		t.Errorf("2 endorses before positions could settle: %+v", e)
	}
	if b.out[1].Inject != nil {
		t.Error("2 was nominated")
	}
}

func TestSilenceSuspectsLater(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.down[0] = true
	b.pass(40 * ms)
	if b.out[1].Inject != nil {
		t.Fatal("suspected within suspect-after")
	}
	b.pass(60 * ms)
	if b.out[1].Inject == nil || b.event(1, EventSuspected).Reason != "silence" {
		t.Errorf("nominated %v after %+v", b.out[1].Inject, b.event(1, EventSuspected))
	}
}

// "No election while a majority of voters hears a leader": one member alone does
// not start one.
func TestOneSuspicionIsNone(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[1].Down(b.now, 1)
	b.exchange()
	b.arbs[1].Advance(b.now)
	if !b.has(1, EventSuspected) || b.has(1, EventStarted) || b.has(2, EventStarted) {
		t.Errorf("events of 2: %+v", b.out[1].Events)
	}
}

// "A member that hears no majority suspects itself, not the others."
func TestWhoHearsNobodySuspectsItself(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.down[0], b.down[1] = true, true
	b.arbs[2].Down(b.now, 2)
	b.arbs[2].Down(b.now, 1)
	b.pass(200 * ms)
	if b.has(2, EventSuspected) || b.arbs[2].suspects {
		t.Errorf("3 alone suspects: %+v", b.out[2].Events)
	}
}

// "A loop that ran late restarts its timers instead of suspecting."
func TestLateLoopSuspectsNobody(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.now += 500 * ms
	for _, a := range b.arbs[1:] {
		a.Advance(b.now)
	}
	b.exchange()
	if b.has(1, EventSuspected) || !b.has(1, EventLate) {
		t.Errorf("events %+v", b.out[1].Events)
	}
}

func TestStalledLeader(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.pass(900 * ms) // rows beat; raft's Send stands still
	if b.has(1, EventSuspected) {
		t.Fatal("suspected too early")
	}
	b.pass(200 * ms)
	if e := b.event(1, EventSuspected); e.Reason != "stalled" {
		t.Fatalf("suspected by %+v", e)
	}
	if b.out[0].Inject != nil || b.out[1].Inject == nil {
		t.Errorf("nominated: 1 %v, 2 %v", b.out[0].Inject, b.out[1].Inject)
	}
}

// What does not vote does not count, and is not nominated.
func TestLearners(t *testing.T) {
	b := steady(t, On, Members{Voters: []fabric.MemberID{1, 3, 4}, Learners: []fabric.MemberID{2}}, 1, 2, 3, 4)
	b.arbs[1].Position(b.now, 5, 5, 50)
	b.kill(0)
	b.pass(2 * ms)
	if b.out[1].Inject != nil || b.has(1, EventEndorsed) || b.out[2].Inject == nil {
		t.Errorf("learner %v, 3 %v", b.out[1].Inject, b.out[2].Inject)
	}
}

// Both halves of a joint configuration have to suspect and to endorse.
func TestJointConsensus(t *testing.T) {
	m := Members{Voters: []fabric.MemberID{1, 2, 3}, Outgoing: []fabric.MemberID{1, 4, 5}}
	b := steady(t, On, m, 1, 2, 3, 4, 5)
	b.kill(3) // of the outgoing half 5 and the leader are left
	b.pass(2 * ms)
	b.kill(0)
	b.pass(50 * ms)
	if b.has(1, EventStarted) {
		t.Errorf("an election without a majority of the outgoing half: %+v", b.out[1].Events)
	}
	b = steady(t, On, m, 1, 2, 3, 4, 5)
	b.kill(0)
	b.pass(2 * ms)
	if b.out[1].Inject == nil {
		t.Error("with both majorities nobody is nominated")
	}
}

// An outgoing voter is not nominated however good its log.
func TestOutgoingVoterIsNotNominated(t *testing.T) {
	b := steady(t, On, Members{Voters: []fabric.MemberID{1, 3, 4}, Outgoing: []fabric.MemberID{1, 2, 3}}, 1, 2, 3, 4)
	b.kill(0)
	b.pass(2 * ms)
	if b.out[1].Inject != nil || b.out[2].Inject == nil {
		t.Errorf("2 %v, 3 %v", b.out[1].Inject, b.out[2].Inject)
	}
}

func TestStockVoterTurnsItOff(t *testing.T) {
	b := steady(t, On, Members{Voters: []fabric.MemberID{1, 2, 3}, Stock: true}, 1, 2, 3)
	b.kill(0)
	b.pass(200 * ms)
	for i := range b.out {
		if b.out[i].Inject != nil || len(b.out[i].Events) > 0 {
			t.Errorf("%d: %+v", i+1, b.out[i])
		}
	}
}

func TestObserveTouchesNothing(t *testing.T) {
	b := steady(t, Observe, voters(1, 2, 3), 1, 2, 3)
	b.kill(0)
	b.pass(2 * ms)
	if !b.has(1, EventNominated) || b.out[1].Inject != nil {
		t.Errorf("nominated %v, told %v", b.has(1, EventNominated), b.out[1].Inject)
	}
	if v := b.arbs[2].Receive(b.now, msg(raftpb.MsgHeartbeat, 1, 3, 5)); v != Pass || len(b.arbs[2].held) > 0 {
		t.Errorf("an observer holds: %v", v)
	}
}

// Who acts does not count on who only observes.
func TestActingIgnoresObservers(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[2].SetMode(b.now, Observe)
	b.exchange()
	b.kill(0)
	b.pass(50 * ms)
	if b.out[1].Inject != nil {
		t.Error("nominated with the word of an observer")
	}
}

func TestOffReleasesAtOnce(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.kill(0)
	b.pass(ms)
	first, second := msg(raftpb.MsgHeartbeat, 1, 3, 5), appendMsg(1, 3, 5, 5, 10, 5)
	for _, m := range []*raftpb.Message{first, second} {
		if v := b.arbs[2].Receive(b.now, m); v != Hold {
			t.Fatalf("%v is not held: %v", m.GetType(), v)
		}
	}
	b.arbs[2].SetMode(b.now, Off)
	if out := b.arbs[2].Take(); !slices.Equal(out.Release, []*raftpb.Message{first, second}) {
		t.Errorf("released %v", out.Release)
	}
	b.arbs[2].SetMode(b.now, On)
	b.exchange()
}

// E3, and order: what is held comes after Hold, first come first.
func TestHeldForHoldAtMost(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.kill(0)
	b.pass(ms)
	start, m := b.now, msg(raftpb.MsgHeartbeat, 1, 3, 5)
	if v := b.arbs[2].Receive(b.now, m); v != Hold {
		t.Fatal(v)
	}
	for len(b.out[2].Release) == 0 && b.now < start+time.Second {
		b.pass(ms)
	}
	if took := b.now - start; took > 100*ms || len(b.out[2].Release) != 1 {
		t.Errorf("released %v after %v", b.out[2].Release, took)
	}
}

func TestHeldIsBounded(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[2].cfg.MaxHeld, b.arbs[2].cfg.MaxHeldBytes = 2, 1000
	b.kill(0)
	b.pass(ms)
	big := appendMsg(1, 3, 5, 5, 10, 5)
	big.Entries[0].Data = make([]byte, 1001)
	beat := func() *raftpb.Message { return msg(raftpb.MsgHeartbeat, 1, 3, 5) }
	for i, c := range []struct {
		m    *raftpb.Message
		want Verdict
	}{{big, Pass}, {beat(), Hold}, {beat(), Hold}, {beat(), Pass}} {
		if v := b.arbs[2].Receive(b.now, c.m); v != c.want {
			t.Errorf("%d: verdict %v, want %v", i, v, c.want)
		}
	}
}

// A nominee whose raft does not campaign is passed over.
func TestSilentNomineeIsPassedOver(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.kill(0)
	b.pass(30 * ms)
	if b.out[1].Inject == nil || b.out[2].Inject == nil {
		t.Fatalf("nominated: 2 %v, 3 %v", b.out[1].Inject, b.out[2].Inject)
	}
	if e := b.event(2, EventFailed); e.Member != 2 || e.Reason != "patience" {
		t.Errorf("failed: %+v", e)
	}
	if got := b.arbs[2].endorses; got != (endorsement{5, 2, 3}) {
		t.Errorf("endorses %+v", got)
	}
}

// Campaigns that elect nobody: after three in a row raft's timeouts are left to
// run out, then it is tried again.
func TestFruitlessCampaignsEnd(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.kill(0)
	campaigns := func(d time.Duration) (n int) {
		for end := b.now + d; b.now < end; {
			b.pass(ms)
			for i, a := range b.arbs {
				m := b.out[i].Inject
				if m == nil {
					continue
				}
				n++
				b.out[i].Inject = nil
				vote := msg(raftpb.MsgVote, m.GetTo(), 1, max(a.term, m.GetTerm())+1)
				vote.LogTerm, vote.Index = new(uint64(5)), new(uint64(10))
				a.Sent(b.now, []*raftpb.Message{vote})
				b.exchange()
			}
		}
		return n
	}
	if n := campaigns(time.Second); n != maxFruitless {
		t.Errorf("%d campaigns in the first second, want %d", n, maxFruitless)
	}
	if n := campaigns(time.Second); n != 0 {
		t.Errorf("%d campaigns in the second one, want none", n)
	}
	if n := campaigns(time.Second); n == 0 {
		t.Error("it is never tried again")
	}
	b.lead(2, b.arbs[1].claim.term+1)
	if n := b.arbs[2].fruitless; n != 0 {
		t.Errorf("with a leader %d campaigns are counted", n)
	}
}

// "Endorsers hold other campaigns."
func TestOtherCampaignsAreHeldBack(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	b.kill(0)
	b.pass(ms)
	if v := b.arbs[4].Receive(b.now, msg(raftpb.MsgVote, 3, 5, 6)); v != Hold {
		t.Errorf("3's campaign beside 2's: %v", v)
	}
	if v := b.arbs[4].Receive(b.now, msg(raftpb.MsgVote, 2, 5, 6)); v != Pass {
		t.Errorf("2's campaign: %v", v)
	}
}

// raft's own pre-vote, beside an election, makes no second candidate.
func TestOwnPreVoteGetsNowhere(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.kill(0)
	b.pass(2 * ms)
	pre := msg(raftpb.MsgPreVote, 3, 2, 6)
	pre.LogTerm, pre.Index = new(uint64(5)), new(uint64(10))
	b.arbs[2].Sent(b.now, []*raftpb.Message{pre})
	if b.arbs[2].tied() {
		t.Error("it ties its member")
	}
	grant := msg(raftpb.MsgPreVoteResp, 2, 3, 6)
	if v := b.arbs[2].Receive(b.now, grant); v != Discard {
		t.Errorf("a grant: %v", v)
	}
	b.pass(300 * ms)
	if v := b.arbs[2].Receive(b.now, grant); v != Discard {
		t.Errorf("a grant of long ago: %v", v)
	}
	b.arbs[2].Sent(b.now, []*raftpb.Message{pre})
	if v := b.arbs[2].Receive(b.now, grant); v != Pass {
		t.Errorf("a grant of the next one, after the election was given up: %v", v)
	}
}

// A leader's raft answers a leader of an older term with a MsgAppResp without an
// index: it leads all the same.
func TestLeaderThatAnswersAnOldOne(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[0].Sent(b.now, []*raftpb.Message{msg(raftpb.MsgAppResp, 1, 3, 5)})
	b.pass(20 * ms)
	if b.has(0, EventSuspected) || b.has(1, EventSuspected) {
		t.Errorf("it is suspected: %+v", b.out[0].Events)
	}
}

// A candidate does not hear MsgTimeoutNow of its own term.
func TestCandidateIsLifted(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	pre := msg(raftpb.MsgPreVote, 2, 3, 6)
	pre.LogTerm, pre.Index = new(uint64(5)), new(uint64(10))
	b.arbs[1].Sent(b.now, []*raftpb.Message{pre})
	b.kill(0)
	b.pass(40 * ms)
	if m := b.out[1].Inject; m == nil || m.GetTerm() != 6 {
		t.Errorf("told %v", m)
	}
}

func TestTermTooFar(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	s := b.arbs[2].shown
	s.claim = claim{5 + MaxTermLift + 1, 3, claimCampaign}
	row := fabric.Row{Owner: 3, Incarnation: 1, Version: 1 << 40, Sections: s.append(nil)}
	must(b.arbs[1].Row(b.now, &row))
	b.exchange()
	if !b.has(1, EventRefusedTerm) || b.arbs[1].claim.term != 5 {
		t.Errorf("claim %+v", b.arbs[1].claim)
	}
}

func TestUnknownPositionsAbstain(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.arbs[2].pos = position{}
	b.arbs[2].Advance(b.now)
	b.pass(10 * ms)
	b.kill(0)
	b.pass(50 * ms)
	if b.out[1].Inject != nil || b.event(1, EventAbstained).Reason != "majority unknown" {
		t.Errorf("nominated %v, %+v", b.out[1].Inject, b.event(1, EventAbstained))
	}
	if v := b.arbs[1].Receive(b.now, msg(raftpb.MsgPreVote, 3, 2, 6)); v != Pass {
		t.Errorf("raft's own pre-vote: %v", v)
	}
}

// E4: a member that restarts abstains for five Patiences.
func TestRestartedAbstains(t *testing.T) {
	a, err := New(Config{Self: 1}, 0)
	must(err)
	must(a.SetMembers(0, voters(1, 2, 3)))
	a.SetMode(0, On)
	a.Position(0, 5, 5, 10)
	if why := a.unable(); why != "restarted" {
		t.Errorf("at once: %q", why)
	}
	a.now = 5 * a.cfg.Patience
	if why := a.unable(); why != "" {
		t.Errorf("later: %q", why)
	}
}

// An operator's transfer: the transferee's campaign passes, anybody else's not.
func TestLeaderTransfer(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	vote := func(from, to uint64) *raftpb.Message {
		m := msg(raftpb.MsgVote, from, to, 6)
		m.Context = []byte("CampaignTransfer")
		return m
	}
	if v := b.arbs[2].Receive(b.now, msg(raftpb.MsgTimeoutNow, 1, 3, 5)); v != Pass {
		t.Errorf("the leader's MsgTimeoutNow: %v", v)
	}
	if v := b.arbs[1].Receive(b.now, msg(raftpb.MsgTimeoutNow, 5, 2, 5)); v != Hold {
		t.Errorf("a MsgTimeoutNow of somebody else: %v", v)
	}
	early := vote(3, 4)
	if v := b.arbs[3].Receive(b.now, early); v != Hold {
		t.Fatalf("a campaign without a cause: %v", v)
	}
	b.arbs[0].Sent(b.now, []*raftpb.Message{msg(raftpb.MsgTimeoutNow, 1, 3, 5)})
	b.exchange()
	if !slices.Contains(b.out[3].Release, early) {
		t.Error("the transferee's campaign is not released when the leader's row says so")
	}
	if v := b.arbs[4].Receive(b.now, vote(3, 5)); v != Pass {
		t.Errorf("the transferee's campaign: %v", v)
	}
	if v := b.arbs[1].Receive(b.now, vote(5, 2)); v != Hold {
		t.Errorf("another one's: %v", v)
	}
}

// Without pre-votes and quorum checks a member that is ahead is freed by its
// campaign alone: it is delayed, not lost.
func TestCauselessCampaignsEnd(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
		a := b.arbs[1]
		a.cfg.PreVote, a.cfg.CheckQuorum = guarded, guarded
		m := msg(raftpb.MsgVote, 3, 2, 9)
		if v := a.Receive(b.now, m); v != Hold {
			t.Fatal(v)
		}
		b.pass(101 * ms)
		if released := slices.Contains(b.out[1].Release, m); released == guarded || b.has(1, EventDiscarded) != guarded || len(a.held) > 0 {
			t.Errorf("with PreVote and CheckQuorum %v: released %v", guarded, released)
		}
	}
}

func TestRefusedRows(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	good := b.arbs[2].shown
	good.endorses = endorsement{5, 2, 3}
	version := uint64(1 << 40)
	row := func(s section) error {
		version++
		return b.arbs[1].Row(b.now, &fabric.Row{Owner: 3, Incarnation: 1, Version: version, Sections: s.append(nil)})
	}
	must(row(good))
	for name, change := range map[string]func(*section){
		"claim falls from":           func(s *section) { s.claim.term-- },
		"claim changes from":         func(s *section) { s.claim.member = 2 },
		"endorses twice":             func(s *section) { s.endorses.nominee = 2 },
		"endorsement falls":          func(s *section) { s.endorses.attempt = 1 },
		"progress falls":             func(s *section) { s.progress-- },
		"above its upper bound":      func(s *section) { s.upper = entry{} },
		"reserved bits":              func(s *section) { s.flags |= 1 << 31 },
		"both observes and acts":     func(s *section) { s.flags |= flagObserves },
		"is none":                    func(s *section) { s.claim.kind = claimNone },
		"endorsement {0 0 3} is non": func(s *section) { s.endorses = endorsement{0, 0, 3} },
	} {
		bad := good
		change(&bad)
		if err := row(bad); !errors.Is(err, ErrRow) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b.arbs[1].peer(3).row.endorses != good.endorses {
		t.Error("a refused row was kept")
	}
	if err := b.arbs[1].Row(b.now, &fabric.Row{Owner: 3, Incarnation: 1, Version: version + 1, Sections: fabric.AppendSection(nil, fabric.Section{ID: 77})}); err != nil {
		t.Errorf("a row of unknown sections: %v", err)
	}
}

func TestModes(t *testing.T) {
	for _, m := range []Mode{Off, Observe, On} {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	if _, err := ParseMode("perhaps"); err == nil {
		t.Error("perhaps is a mode")
	}
}

func TestValidateListsAllFaults(t *testing.T) {
	err := Config{Patience: time.Second, Beat: time.Second, MaxHeld: -1}.Validate()
	for _, want := range []string{"Self", "Hold", "Beat", "MaxHeld"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if err := (Config{Self: 1}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	if _, err := New(Config{}, 0); err == nil {
		t.Error("New takes what Validate refuses")
	}
}

func TestTooManyMembers(t *testing.T) {
	a, err := New(Config{Self: 1}, 0)
	must(err)
	var m Members
	for i := range fabric.MemberID(MaxMembers + 1) {
		m.Voters = append(m.Voters, i+1)
	}
	a.SetMode(0, On)
	if err := a.SetMembers(0, m); !errors.Is(err, ErrTooMany) || a.mode() != Off {
		t.Errorf("%v, %v", err, a.mode())
	}
}
