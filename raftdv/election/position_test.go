package election

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// A transcript of what raft is handed and answers; after each line the bounds.
func TestPosition(t *testing.T) {
	reject := func(term, index uint64) *raftpb.Message {
		m := acceptMsg(2, 1, term, index)
		m.Reject = new(true)
		return m
	}
	campaign := func(typ raftpb.MessageType, term, lastTerm, last uint64) *raftpb.Message {
		m := msg(typ, 2, 3, term)
		m.LogTerm, m.Index = &lastTerm, &last
		return m
	}
	type step struct {
		m           *raftpb.Message
		known       bool
		lower, high entry
	}
	for name, steps := range map[string][]step{
		"a first life: entries of the leader's own term do not show what the disk had": {
			{appendMsg(1, 2, 5, 4, 9, 5, 5), false, entry{}, entry{5, 11}},
			{acceptMsg(2, 1, 5, 11), false, entry{5, 11}, entry{5, 11}},
			{appendMsg(1, 2, 5, 5, 11), false, entry{5, 11}, entry{5, 11}}, // empty: the leader has no more
			{acceptMsg(2, 1, 5, 11), true, entry{5, 11}, entry{5, 11}},
		},
		"a newer leader than the first": {
			{appendMsg(1, 2, 5, 4, 9, 5), false, entry{}, entry{5, 10}},
			{appendMsg(3, 2, 6, 5, 10, 6), false, entry{}, entry{6, 11}},
			{acceptMsg(2, 3, 6, 11), true, entry{6, 11}, entry{6, 11}},
		},
		"handed and not answered": {
			{campaign(raftpb.MsgVote, 6, 5, 10), true, entry{5, 10}, entry{5, 10}},
			{appendMsg(1, 2, 7, 5, 10, 7, 7), true, entry{5, 10}, entry{7, 12}},
			{acceptMsg(2, 1, 7, 11), true, entry{7, 11}, entry{7, 12}},
			{acceptMsg(2, 1, 7, 12), true, entry{7, 12}, entry{7, 12}},
		},
		"a rejected append does not raise the upper bound": {
			{campaign(raftpb.MsgVote, 6, 5, 10), true, entry{5, 10}, entry{5, 10}},
			{appendMsg(1, 2, 7, 7, 100, 7), true, entry{5, 10}, entry{7, 101}},
			{reject(7, 100), true, entry{5, 10}, entry{5, 10}},
		},
		"a rejection says nothing of what came after it": {
			{campaign(raftpb.MsgVote, 6, 5, 10), true, entry{5, 10}, entry{5, 10}},
			{appendMsg(1, 2, 7, 7, 100, 7), true, entry{5, 10}, entry{7, 101}},
			{appendMsg(1, 2, 7, 5, 10, 7, 7), true, entry{5, 10}, entry{7, 101}},
			{reject(7, 100), true, entry{5, 10}, entry{7, 12}},
		},
		"a new leader may cut the log": {
			{campaign(raftpb.MsgVote, 6, 5, 10), true, entry{5, 10}, entry{5, 10}},
			{appendMsg(1, 2, 7, 3, 8, 3), true, entry{3, 9}, entry{5, 10}},
			{acceptMsg(2, 1, 7, 9), true, entry{3, 9}, entry{5, 10}},
			{appendMsg(1, 2, 7, 3, 9, 7), true, entry{3, 9}, entry{7, 10}},
			{acceptMsg(2, 1, 7, 10), true, entry{7, 10}, entry{7, 10}},
		},
		"answers of another term do not count": {
			{campaign(raftpb.MsgVote, 6, 5, 10), true, entry{5, 10}, entry{5, 10}},
			{appendMsg(1, 2, 7, 5, 10, 7), true, entry{5, 10}, entry{7, 11}},
			{acceptMsg(2, 1, 6, 11), true, entry{5, 10}, entry{7, 11}},
		},
		"a pre-vote says where the log ends, and forgets nothing that is under way": {
			{appendMsg(1, 2, 7, 5, 10, 7), false, entry{}, entry{7, 11}},
			{campaign(raftpb.MsgPreVote, 8, 5, 10), true, entry{5, 10}, entry{7, 11}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var p position
			for i, s := range steps {
				switch s.m.GetType() {
				case raftpb.MsgApp:
					p.hand(s.m)
				case raftpb.MsgAppResp:
					p.answer(s.m, entry{^uint64(0), 0})
				default:
					p.campaigned(s.m)
				}
				if p.known != s.known || p.lower != s.lower || p.high() != s.high {
					t.Fatalf("step %d: known %v, %v to %v; want %v, %v to %v", i, p.known, p.lower, p.high(), s.known, s.lower, s.high)
				}
			}
		})
	}
}

// Who led may have more than it sent.
func TestPositionOfALeader(t *testing.T) {
	var p position
	p.set(entry{5, 10})
	p.appended(appendMsg(2, 1, 6, 5, 10, 6))
	if p.known {
		t.Error("a leader's position is known from what it sent")
	}
	p.hand(appendMsg(1, 2, 7, 6, 11, 7))
	p.answer(acceptMsg(2, 1, 7, 12), entry{^uint64(0), 0})
	if !p.known || p.lower != (entry{7, 12}) {
		t.Errorf("after it follows: %+v", p)
	}
}

// The leader's row shows that nothing it sent is missing.
func TestPositionByTheLeadersRow(t *testing.T) {
	var p position
	p.hand(appendMsg(1, 2, 5, 4, 9, 5))
	p.answer(acceptMsg(2, 1, 5, 10), entry{5, 11})
	if p.known {
		t.Error("the leader sent more")
	}
	p.hand(appendMsg(1, 2, 5, 5, 10, 5))
	p.answer(acceptMsg(2, 1, 5, 11), entry{5, 11})
	if !p.known || p.high() != (entry{5, 11}) {
		t.Errorf("%+v", p)
	}
}

// F3: what is remembered is bounded, and stays on the safe side.
func TestPositionIsBounded(t *testing.T) {
	var p position
	p.set(entry{5, 0})
	for i := range uint64(1000) {
		p.hand(appendMsg(1, 2, 6, 6, i, 6))
	}
	if len(p.handed) > maxHanded || p.high() != (entry{6, 1000}) {
		t.Errorf("%d remembered, up to %v", len(p.handed), p.high())
	}
	var q position
	for i := range uint64(100) {
		q.hand(appendMsg(1, 2, 200, i, i, i+1))
	}
	if len(q.runs) > maxRuns {
		t.Errorf("%d runs", len(q.runs))
	}
}
