package simulate

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// E1: under the assumption of docs/elections.md rounds ≤ 1 + nominees that
// failed. Whether an election was inside of it follows from what the nemesis
// did and from how long frames and syncs took.

// What the arbiters' default Patience of 20 ms allows for: 3 frames and 2 syncs.
const (
	slowFrame = 2 * time.Millisecond
	slowSync  = 7 * time.Millisecond
	// aftermath is how long a fault that is over is taken to have effects: links
	// come up, packets are sent again, silences are forgiven.
	aftermath = 2 * time.Second
	// abandoned is after how long an election without a round, of which nothing
	// was seen, is none.
	abandoned = time.Second
)

// harmless are the faults that the assumption allows, as far as a majority
// lives.
var harmless = []string{"crash", "crash-leader", "power-loss", "transfer", "failover"}

// poll is one election: from its first sign to a leader, and what arrives of it
// later. It is about the terms from above after up to led.
type poll struct {
	after, led uint64
	begun      time.Duration // -1: not yet
	seen       time.Duration // its last sign
	ended      time.Duration
	rounds     int
	nominees   []*member // endorsed by somebody, or campaigning
	failed     int
	outside    string // why the assumption did not hold; "": it did
	reported   bool
}

// electionCheck is E1.
type electionCheck struct {
	c         *cluster
	asked     map[ballot]bool
	now, last *poll          // the one that is on, or will be, and the one before
	wrong     map[string]int // conditions that break the assumption now
	wrongTill time.Duration
	why       string // of wrongTill
}

func (k *electionCheck) init(c *cluster) {
	k.c = c
	k.asked, k.wrong = map[ballot]bool{}, map[string]int{}
	k.now = &poll{begun: -1, after: firstTerm}
}

// breaks breaks the assumption until mends.
func (k *electionCheck) breaks(why string) { k.wrong[why]++ }

func (k *electionCheck) mends(why string, aftermath time.Duration) {
	if k.wrong[why]--; k.wrong[why] == 0 {
		delete(k.wrong, why)
	}
	k.unmet(why, k.c.net.Now()+aftermath)
}

// begins and ends: a fault is on.
func (k *electionCheck) begins(kind string) {
	if !slices.Contains(harmless, kind) {
		k.breaks(kind)
	}
}

func (k *electionCheck) ends(kind string) {
	if !slices.Contains(harmless, kind) {
		k.mends(kind, aftermath)
	}
}

// unmet: the assumption does not hold until then.
func (k *electionCheck) unmet(why string, until time.Duration) {
	if until > k.wrongTill {
		k.wrongTill, k.why = until, why
	}
}

// sign opens an election, or keeps it open.
func (k *electionCheck) sign() *poll {
	p, now := k.now, k.c.net.Now()
	if p.begun < 0 || p.rounds == 0 && now > p.seen+abandoned {
		p.begun, p.nominees = now, nil
	}
	p.seen = now
	return p
}

func (p *poll) nominee(m *member) {
	if m != nil && !slices.Contains(p.nominees, m) {
		p.nominees = append(p.nominees, m)
	}
}

// emitted: raft hands out a message.
func (k *electionCheck) emitted(n *node, m *raftpb.Message) {
	if isVote(m) && m.GetTerm() > k.now.after {
		p := k.sign()
		if m.GetType() == raftpb.MsgVote {
			p.nominee(n.m)
		}
	}
}

func isVote(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgVote || m.GetType() == raftpb.MsgPreVote
}

// stepped: raft is given a message. A round counts for the election that its
// term is of, however late it comes.
func (k *electionCheck) stepped(m *raftpb.Message) {
	at := ballot{m.GetFrom(), m.GetTerm()}
	if m.GetType() != raftpb.MsgVote || k.asked[at] {
		return
	}
	k.asked[at] = true
	switch {
	case at.term > k.now.after:
		p := k.sign()
		p.rounds++
	case k.last != nil && at.term > k.last.after:
		k.last.rounds++
		k.judge(k.last)
	}
}

// event: an arbiter says what it does.
func (k *electionCheck) event(e *election.Event) {
	switch e.Kind {
	case election.EventStarted:
		k.sign()
	case election.EventEndorsed:
		if e.Term >= k.now.after {
			k.sign().nominee(k.c.member(e.Member))
		}
	case election.EventAbstained:
		if e.Reason == "majority unknown" {
			k.unmet("positions unknown", k.c.net.Now())
		}
	}
}

// elected ends an election.
func (k *electionCheck) elected(n *node) {
	if n.term <= k.now.after {
		return
	}
	p := k.now
	if p.begun < 0 {
		p.begun = k.c.net.Now()
	}
	p.led, p.ended = n.term, k.c.net.Now()
	for _, m := range p.nominees {
		if m.dead || m.died >= p.begun && m.died > 0 {
			p.failed++
		}
	}
	if p.outside = k.broken(p.begun); p.outside == "" && p.failed > 2 {
		p.outside = "three nominees failed"
	}
	k.settled(k.last)
	k.last, k.now = p, &poll{begun: -1, after: n.term}
	k.judge(p)
}

// broken is why the assumption did not hold at some time since begun, "" if it
// did.
func (k *electionCheck) broken(begun time.Duration) string {
	switch {
	case len(k.wrong) == 1:
		for why := range k.wrong {
			return why
		}
	case len(k.wrong) > 1:
		return "several faults"
	case k.wrongTill >= begun && k.wrongTill > 0:
		return k.why
	}
	return ""
}

func (k *electionCheck) judge(p *poll) {
	if k.c.cfg.Elections != election.On || p.outside != "" || p.rounds <= 1+p.failed || p.reported {
		return
	}
	p.reported = true
	k.c.fail("E1", "the election of term %d, begun at %v, took %d rounds with %d failed nominees", p.led, p.begun, p.rounds, p.failed)
}

// settled puts an election into the report when nothing more of it can come.
func (k *electionCheck) settled(p *poll) {
	if p == nil {
		return
	}
	r := &k.c.report
	if p.outside == "" {
		r.Inside[fmt.Sprintf("%d failed, %d rounds", p.failed, p.rounds)]++
		r.InsideTime += p.ended - p.begun
		return
	}
	r.Outside[fmt.Sprintf("%d rounds", p.rounds)]++
	r.OutsideWhy[p.outside]++
}

// alive looks whether a majority of the voters lives. Called when that may have
// changed.
func (k *electionCheck) alive() {
	const why = "no majority alive"
	dead := !k.c.majorityLives()
	switch {
	case dead && k.wrong[why] == 0:
		k.breaks(why)
	case !dead && k.wrong[why] > 0:
		k.mends(why, restartTime)
	}
}

// restartTime is what links of a member take to come up.
const restartTime = 20 * time.Millisecond

// majorityLives: of the voters that the newest configuration has.
func (c *cluster) majorityLives() bool {
	var newest *node
	for _, m := range c.members {
		if n := m.node; n != nil && (newest == nil || n.applied > newest.applied) {
			newest = n
		}
	}
	if newest == nil {
		return false
	}
	for _, voters := range [][]uint64{newest.conf.GetVoters(), newest.conf.GetVotersOutgoing()} {
		lives := 0
		for _, id := range voters {
			if !c.member(fabric.MemberID(id)).dead {
				lives++
			}
		}
		if len(voters) > 0 && lives <= len(voters)/2 {
			return false
		}
	}
	return true
}
