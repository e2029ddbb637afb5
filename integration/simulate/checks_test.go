package simulate

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// bench is a cluster whose checks a test calls by itself. Its three members have
// never ticked.
func bench(t *testing.T) (c *cluster, a, b *node) {
	t.Helper()
	t.Cleanup(seedEntropy(stream(1, streamRaft)))
	c, err := newCluster(Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	c.net.Advance(10 * time.Millisecond) // links come up
	return c, c.members[0].node, c.members[1].node
}

// sent books a frame from a to b as its port would.
func sent(c *cluster, a, b *node, lane fabric.Lane) fabric.Frame {
	c.streams++
	o := fabric.Outgoing{To: []fabric.MemberID{b.m.id}, Patch: [][]byte{{1}}, Body: []byte("body"), Lane: lane, Stream: c.streams}
	l := &c.checks.ledger
	l.enter(a, &o)
	p := l.find(c.streams, b.m)
	l.accept(p)
	return fabric.Frame{Header: fabric.Header{Lane: lane, Stream: c.streams, Link: p.seq}, Patch: o.Patch[0], Body: o.Body}
}

func resolution(b *node, f fabric.Frame, err error) *fabric.Resolution {
	return &fabric.Resolution{To: b.m.id, Ticket: f.Stream, Lane: f.Lane, Err: err}
}

// TestLedgerSeesBreaches: each breach of F1 to F3 is noticed, under its name.
func TestLedgerSeesBreaches(t *testing.T) {
	const lane = fabric.LaneAppend
	for _, tc := range []struct {
		name, want string
		breach     func(c *cluster, l *ledger, a, b *node)
	}{
		{"never sent", "F1: 2 gets frame 99 from 1, which was never sent it", func(_ *cluster, l *ledger, _, b *node) {
			l.delivered(b, 1, &fabric.Frame{Header: fabric.Header{Stream: 99, Link: 1}})
		}},
		{"somebody else's", "F1: 2 gets frame 1 from 3, which was never sent it", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			l.delivered(b, 3, &f)
		}},
		{"refused", "which was refused", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			l.find(f.Stream, b.m).fate = refused
			l.delivered(b, 1, &f)
		}},
		{"twice", "twice", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			l.delivered(b, 1, &f)
			l.delivered(b, 1, &f)
		}},
		{"out of order", "expects 1 from 1 in append and gets 2", func(c *cluster, l *ledger, a, b *node) {
			sent(c, a, b, lane)
			f := sent(c, a, b, lane)
			l.delivered(b, 1, &f)
		}},
		{"wrong number", "gets 7, which was sent as 1", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			f.Link = 7
			l.delivered(b, 1, &f)
		}},
		{"altered", "altered", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			f.Body = []byte("bodx")
			l.delivered(b, 1, &f)
		}},
		{"another lane", "altered", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			f.Lane = fabric.LaneBulk
			l.delivered(b, 1, &f)
		}},
		{"another incarnation", "which was for its incarnation 1", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			b.inc = 2
			l.delivered(b, 1, &f)
		}},
		{"a gap in the wrong place", "is told that 3+1 are missing", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			l.delivered(b, 1, &f)
			l.gap(b, 1, fabric.Gap{Lane: lane, First: 3, Count: 1})
		}},
		{"an empty gap", "is told that 2+0 are missing", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			l.delivered(b, 1, &f)
			l.gap(b, 1, fabric.Gap{Lane: lane, First: 2})
		}},
		{"unknown ticket", "F2: 1 is told of ticket 99 to 2, which it never sent", func(_ *cluster, l *ledger, a, b *node) {
			l.resolved(a, &fabric.Resolution{To: b.m.id, Ticket: 99})
		}},
		{"somebody else's ticket", "F2: 2 is told of ticket 1", func(c *cluster, l *ledger, a, b *node) {
			l.resolved(b, resolution(b, sent(c, a, b, lane), nil))
		}},
		{"resolved twice", "F2: ticket 1 of 1 to 2 resolves twice", func(c *cluster, l *ledger, a, b *node) {
			r := resolution(b, sent(c, a, b, lane), fabric.ErrLost)
			l.resolved(a, r)
			l.resolved(a, r)
		}},
		{"resolved late", "F2: ticket 1 of 1 to 2 resolves 5s after it was sent", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			l.find(f.Stream, b.m).at -= 5 * time.Second
			a.m.up = -10 * time.Second
			l.resolved(a, resolution(b, f, nil))
		}},
		{"never resolved", "does not resolve", func(c *cluster, l *ledger, a, b *node) {
			f := sent(c, a, b, lane)
			l.find(f.Stream, b.m).at -= 5 * time.Second
			a.m.up = -10 * time.Second
			l.look()
		}},
		{"acked, not delivered", "was acked and never delivered", func(c *cluster, l *ledger, a, b *node) {
			l.resolved(a, resolution(b, sent(c, a, b, lane), nil))
			l.end()
		}},
		{"too much in flight", "F3: 1 has", func(c *cluster, _ *ledger, a, b *node) {
			c.checks.queue = 100
			for range 3 {
				sent(c, a, b, lane)
			}
		}},
		{"too much held", "F3: 2 holds", func(c *cluster, l *ledger, a, b *node) {
			c.checks.queue = 100 - maxFrame - frameOverhead
			c.cfg.hooks.mute = map[string]bool{}
			var fs []fabric.Frame
			for range 3 {
				fs = append(fs, sent(c, a, b, lane))
			}
			c.report.Failures = nil
			for _, f := range fs {
				l.resolved(a, resolution(b, f, nil))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, a, b := bench(t)
			c.streams, c.checks.ledger.start, c.checks.ledger.parcels = 0, []int{0, 0}, nil
			for i := range c.checks.ledger.book(a.m, b.m) {
				c.checks.ledger.book(a.m, b.m)[i].accepted = 0
			}
			tc.breach(c, &c.checks.ledger, a, b)
			mustFail(t, c, tc.want)
		})
	}
}

func mustFail(t *testing.T, c *cluster, want string) {
	t.Helper()
	for _, f := range c.report.Failures {
		if strings.Contains(f.Check+": "+f.What, want) {
			return
		}
	}
	t.Errorf("%q is not among %v", want, c.report.Failures)
}

// TestLedgerTakesWhatIsAllowed: a loss may arrive all the same, sessions begin
// anew with an incarnation, a gap may be of either.
func TestLedgerTakesWhatIsAllowed(t *testing.T) {
	const lane = fabric.LaneControl
	c, a, b := bench(t)
	l := &c.checks.ledger
	first, second, third := sent(c, a, b, lane), sent(c, a, b, lane), sent(c, a, b, lane)
	l.delivered(b, 1, &first)
	l.resolved(a, resolution(b, first, nil))
	l.resolved(a, resolution(b, second, fabric.ErrLost))
	l.delivered(b, 1, &second)
	l.resolved(a, resolution(b, third, fabric.ErrLost))
	l.gap(b, 1, fabric.Gap{Lane: lane, First: 3, Count: 1})

	c.members[0].kill()
	c.members[0].start()
	c.net.Advance(10 * time.Millisecond)
	fresh := sent(c, a.m.node, b, lane)
	if fresh.Link != 1 {
		t.Errorf("a new incarnation's first frame has number %d", fresh.Link)
	}
	l.gap(b, 1, fabric.Gap{Lane: lane, First: 1, Count: 1})
	next := sent(c, a.m.node, b, lane)
	l.delivered(b, 1, &next)
	l.resolved(a.m.node, resolution(b, fresh, fabric.ErrLost))
	l.resolved(a.m.node, resolution(b, next, nil))
	l.look()
	l.end()
	if len(c.report.Failures) > 0 {
		t.Error(c.report.Failures)
	}
}

func message(typ raftpb.MessageType, from, to, term uint64) *raftpb.Message {
	return &raftpb.Message{Type: typ.Enum(), From: new(from), To: new(to), Term: new(term)}
}

// TestRaftChecksSeeBreaches: the checks of raft and R1 on made-up events.
func TestRaftChecksSeeBreaches(t *testing.T) {
	grant := func(to, term uint64) *raftpb.Message { return message(raftpb.MsgVoteResp, 1, to, term) }
	for _, tc := range []struct {
		name, want string
		breach     func(c *cluster, a, b *node)
	}{
		{"two leaders", checkLeader + ": 1 and 2 lead term 4", func(c *cluster, a, b *node) {
			a.term, b.term = 4, 4
			c.checks.leaders.leads(a)
			c.checks.leaders.leads(b)
		}},
		{"two grants", checkVotes + ": 1 votes for 2 and for 3 in term 4", func(c *cluster, a, _ *node) {
			c.checks.votes.emitted(a, grant(2, 4))
			c.checks.votes.emitted(a, grant(3, 4))
		}},
		{"for itself and another", checkVotes + ": 1 votes for 1 and for 3", func(c *cluster, a, _ *node) {
			c.checks.votes.emitted(a, message(raftpb.MsgVote, 1, 2, 4))
			c.checks.votes.emitted(a, grant(3, 4))
		}},
		{"a term forgotten", checkVotes + ": 1 starts again in term 1, it has spoken in 9", func(c *cluster, a, _ *node) {
			c.checks.votes.emitted(a, message(raftpb.MsgApp, 1, 2, 9))
			c.checks.votes.started(a)
		}},
		{"another entry", checkMachine + ": 2 applies another entry at 2", func(c *cluster, a, b *node) {
			c.checks.commits.entries = []committedEntry{{1, 1}}
			c.checks.commits.committed(b, entries(1, 2, 2))
		}},
		{"one too far", checkMachine + ": 1 applies 3, and nobody has applied 2", func(c *cluster, a, _ *node) {
			c.checks.commits.committed(a, entries(1, 3, 3))
		}},
		{"on no disk", checkDurable + ": 1 commits index 2 of term 1, which 0 of 3 voters have on disk", func(c *cluster, a, _ *node) {
			c.checks.commits.committed(a, entries(1, 2, 2))
		}},
		{"on one disk", checkDurable + ": 1 commits index 2 of term 1, which 1 of 3", func(c *cluster, a, _ *node) {
			a.m.disk.settle(&write{entries: entries(1, 2, 2)})
			c.checks.commits.committed(a, entries(1, 2, 2))
		}},
		{"not in the old half of a joint configuration", checkDurable + ": 1 commits index 2 of term 1, which 1 of 3", func(c *cluster, a, _ *node) {
			a.m.disk.settle(&write{entries: entries(1, 2, 2)})
			a.conf = &raftpb.ConfState{Voters: []uint64{1}, VotersOutgoing: []uint64{1, 2, 3}}
			c.checks.commits.committed(a, entries(1, 2, 2))
		}},
		{"a leader without what was committed", checkComplete + ": 2 leads term 5 and does not have index 2", func(c *cluster, _, b *node) {
			c.checks.commits.entries = []committedEntry{{1, 1}}
			b.term = 5
			c.checks.leaders.leads(b)
			c.checks.commits.complete(b)
		}},
		{"other states", checkMachine + ": the state of 2 after index 2", func(c *cluster, a, b *node) {
			c.checks.commits.entries, c.checks.commits.states = []committedEntry{{1, 1}}, []uint64{0}
			a.state.apply(command{1, 1})
			c.checks.commits.applied(a, 2)
			c.checks.commits.applied(b, 2)
		}},
		{"another state in a snapshot", checkMachine + ": the state of 2 after index 2", func(c *cluster, a, b *node) {
			c.checks.commits.entries, c.checks.commits.states = []committedEntry{{1, 1}}, []uint64{77}
			c.checks.commits.restored(b, snapshotAt(2, 1))
		}},
		{"different logs", checkLog + ": 1 and 2 have different logs up to index 2", func(c *cluster, a, b *node) {
			for i, n := range []*node{a, b} {
				w := &write{entries: entries(1, 2, 2)}
				w.entries[0].Data = []byte{byte(i)}
				n.must(n.log.Append(w.entries))
				c.checks.logs.stored(n, w)
			}
		}},
		{"a term before a lower one", checkLog + ": 1 has term 1 at 3 after term 4", func(c *cluster, a, _ *node) {
			w := &write{entries: []*raftpb.Entry{entry(2, 4), entry(3, 1)}}
			a.must(a.log.Append(w.entries))
			c.checks.logs.stored(a, w)
		}},
		{"an ack of nobody", "R1: 1 makes of a row what 2 never emitted", func(c *cluster, a, _ *node) {
			m := message(raftpb.MsgAppResp, 2, 1, 3)
			m.Index = new(uint64(5))
			c.checks.rows.emitted(m)
			other := message(raftpb.MsgAppResp, 2, 1, 3)
			other.Index = new(uint64(6))
			c.checks.rows.made(a, other)
		}},
		{"an ack for another", "R1: 1 makes of a row", func(c *cluster, a, _ *node) {
			m := message(raftpb.MsgHeartbeatResp, 2, 3, 3)
			c.checks.rows.emitted(m)
			c.checks.rows.made(a, m)
		}},
		{"a context of 0 for none", "R1: 1 makes of a row", func(c *cluster, a, _ *node) {
			m := message(raftpb.MsgHeartbeatResp, 2, 1, 3)
			c.checks.rows.emitted(m)
			with := message(raftpb.MsgHeartbeatResp, 2, 1, 3)
			with.Context = make([]byte, 8)
			c.checks.rows.made(a, with)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, a, b := bench(t)
			tc.breach(c, a, b)
			mustFail(t, c, tc.want)
		})
	}
}

// TestRaftChecksTakeWhatIsAllowed: the same vote again, votes of other terms,
// equal entries, acks in any number.
func TestRaftChecksTakeWhatIsAllowed(t *testing.T) {
	c, a, b := bench(t)
	for range 2 {
		c.checks.votes.emitted(a, message(raftpb.MsgVoteResp, 1, 2, 4))
	}
	c.checks.votes.emitted(a, message(raftpb.MsgVoteResp, 1, 3, 5))
	no := message(raftpb.MsgVoteResp, 1, 2, 5)
	no.Reject = new(true)
	c.checks.votes.emitted(a, no)
	c.checks.votes.emitted(a, message(raftpb.MsgPreVote, 1, 2, 6))
	a.term = 5
	c.checks.votes.started(a)
	for _, n := range []*node{a, b} {
		w := &write{entries: entries(1, 2, 4)}
		n.m.disk.settle(w)
		n.must(n.log.Append(w.entries))
		c.checks.logs.stored(n, w)
	}
	c.checks.commits.committed(a, entries(1, 2, 3))
	c.checks.commits.committed(b, entries(1, 2, 3))
	b.term = 7
	c.checks.leaders.leads(b)
	c.checks.commits.complete(b)
	ack := message(raftpb.MsgAppResp, 2, 1, 3)
	ack.Index = new(uint64(5))
	c.checks.rows.emitted(ack)
	c.checks.rows.made(a, ack)
	c.checks.rows.made(a, ack)
	if len(c.report.Failures) > 0 {
		t.Error(c.report.Failures)
	}
}

// TestRounds: a round is a distinct term and candidate that was heard, an
// election one leader of a new term.
func TestRounds(t *testing.T) {
	c, a, b := bench(t)
	ask := func(n *node, from, term uint64) {
		c.checks.stepped(n, message(raftpb.MsgVote, from, uint64(n.m.id), term))
	}
	ask(a, 2, 2)
	ask(c.members[2].node, 2, 2)
	ask(b, 1, 2)
	ask(a, 2, 3)
	c.checks.stepped(a, message(raftpb.MsgPreVote, 3, 1, 9))
	b.term, b.leads = 3, true
	c.checks.role(b)
	c.checks.role(b)
	ask(b, 3, 4)
	c.members[2].node.term, c.members[2].node.leads = 4, true
	c.checks.role(c.members[2].node)
	if r := c.report; r.Rounds != 4 || r.Elections != 2 || r.MostRounds != 3 {
		t.Errorf("%d rounds, %d elections, at most %d rounds each, want 4, 2 and 3", r.Rounds, r.Elections, r.MostRounds)
	}
}
