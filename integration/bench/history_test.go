package bench

import (
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// written is what clients would write in turn, from entry 2 on.
func written(clients, each int) (entries []*raftpb.Entry) {
	for seq := 1; seq <= each; seq++ {
		for c := range clients {
			entries = append(entries, &raftpb.Entry{Index: new(uint64(len(entries) + 2)), Data: proposal(c, uint64(seq), 32)})
		}
	}
	return entries
}

func historyOf(t *testing.T, entries []*raftpb.Entry) *history {
	t.Helper()
	h := newHistory(2, 32, 1)
	for _, e := range entries {
		if err := h.apply(e); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestHistory(t *testing.T) {
	const each = 3 * markEvery
	a, b := historyOf(t, written(2, each)), historyOf(t, written(2, each))
	if err := a.equal(b); err != nil {
		t.Error(err)
	}
	if err := a.acknowledged([]uint64{each, each}); err != nil {
		t.Error(err)
	}
	for name, told := range map[string][]uint64{"lost": {each + 1, each}, "not told": {each, each - 1}} {
		if err := a.acknowledged(told); err == nil || !strings.Contains(err.Error(), "was told of") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every difference is found, and where it begins.
func TestHistoriesDiffer(t *testing.T) {
	const each = 3 * markEvery // entries 2 … 385
	good := historyOf(t, written(2, each))
	for name, tc := range map[string]struct {
		change func([]*raftpb.Entry) []*raftpb.Entry
		want   string
	}{
		"one byte": {func(e []*raftpb.Entry) []*raftpb.Entry { e[100].Data[20] ^= 1; return e }, "after entry 64, at entry 128 or before"},
		"order": {func(e []*raftpb.Entry) []*raftpb.Entry {
			e[200].Data, e[201].Data = e[201].Data, e[200].Data
			return e
		}, "after entry 192, at entry 256 or before"},
		"the last":   {func(e []*raftpb.Entry) []*raftpb.Entry { e[len(e)-1].Data[31] ^= 1; return e }, "after entry 384"},
		"one fewer":  {func(e []*raftpb.Entry) []*raftpb.Entry { return e[:len(e)-1] }, "one has applied"},
		"no payload": {func(e []*raftpb.Entry) []*raftpb.Entry { e[len(e)-1].Data = nil; return e }, "after entry 384"},
	} {
		if err := good.equal(historyOf(t, tc.change(written(2, each)))); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

func TestHistoryRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		next *raftpb.Entry
		want string
	}{
		"gap":      {&raftpb.Entry{Index: new(uint64(7)), Data: proposal(0, 3, 32)}, "entry 7 was applied where 6 was due"},
		"again":    {&raftpb.Entry{Index: new(uint64(6)), Data: proposal(0, 2, 32)}, "proposal 2 of client 0 where 3 was due"},
		"too far":  {&raftpb.Entry{Index: new(uint64(6)), Data: proposal(1, 4, 32)}, "proposal 4 of client 1 where 3 was due"},
		"size":     {&raftpb.Entry{Index: new(uint64(6)), Data: proposal(1, 3, 40)}, "has 40 bytes"},
		"stranger": {&raftpb.Entry{Index: new(uint64(6)), Data: proposal(2, 1, 32)}, "client 2: there are 2"},
	} {
		h := historyOf(t, written(2, 2))
		if err := h.apply(tc.next); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

// Marks are bounded, and a difference among those that are kept is found.
func TestHistoryForgetsOldMarks(t *testing.T) {
	a, b := newHistory(1, 32, 1), newHistory(1, 32, 1)
	const n = (maxMarks + 10) * markEvery
	e := &raftpb.Entry{Index: new(uint64(0))} // without data: a leader's
	for i := uint64(2); i <= n; i++ {
		*e.Index = i
		a.apply(e)
		if i == n-markEvery*5 {
			b.apply(&raftpb.Entry{Index: new(i), Data: []byte("x"), Type: raftpb.EntryConfChange.Enum()})
			continue
		}
		b.apply(e)
	}
	if len(a.marks) > maxMarks || a.firstMark < 2 {
		t.Errorf("%d marks from %d on", len(a.marks), a.firstMark)
	}
	if err := a.equal(b); err == nil || !strings.Contains(err.Error(), "for the first time") {
		t.Error(err)
	}
}

func TestOutgoing(t *testing.T) {
	msg := func(typ raftpb.MessageType, index uint64) *raftpb.Message {
		return &raftpb.Message{Type: typ.Enum(), To: new(uint64(2)), Index: new(index)}
	}
	first, vote, last := msg(raftpb.MsgAppResp, 1), msg(raftpb.MsgVoteResp, 2), msg(raftpb.MsgAppResp, 3)
	out, err := outgoing([]*raftpb.Message{first, vote, last})
	if err != nil || !slices.Equal(out, []*raftpb.Message{vote, last}) {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := outgoing([]*raftpb.Message{vote, msg(raftpb.MsgSnap, 4)}); err == nil {
		t.Error("a snapshot was sent")
	}
}
