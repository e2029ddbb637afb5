package raftdv

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// told is what one member was told in the agreed order, by view.
type told struct {
	mu   sync.Mutex
	list map[uint64][]string
	all  []AgreedMessage
}

func (l *told) add(m AgreedMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list == nil {
		l.list = map[uint64][]string{}
	}
	l.list[m.View] = append(l.list[m.View], fmt.Sprintf("%v %d %v: %v to %x, term %d, index %d, copy %v",
		m.From, m.Seq, m.Stamp, m.Message.GetType(), m.Message.GetTo(), m.Message.GetTerm(), m.Message.GetIndex(), m.Copy))
	l.all = append(l.all, m)
}

func (l *told) has(match func(*AgreedMessage) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.all {
		if match(&l.all[i]) {
			return true
		}
	}
	return false
}

// in is a copy of what was told in a view.
func (l *told) in(view uint64) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list[view])
}

// startTold starts members that write down what they are told.
func startTold(t *testing.T, n int, tweak func(i int, c *Config), stock ...int) ([]*raftNode, []*told) {
	lists := make([]*told, n)
	rafts := startRaftsWith(t, n, election.On, func(i int, c *Config) {
		lists[i] = new(told)
		c.Agreed = lists[i].add
		if tweak != nil {
			tweak(i, c)
		}
	}, stock...)
	return rafts, lists
}

// inOneView waits until all of them are members of a view of just them.
func inOneView(t *testing.T, rafts []*raftNode) (number uint64) {
	t.Helper()
	var want []string
	for _, r := range rafts {
		want = append(want, r.id.String())
	}
	var states []*OrderState
	t.Cleanup(func() {
		if t.Failed() {
			for i, s := range states {
				t.Logf("member %s: %+v", rafts[i].id, *s)
			}
		}
	})
	eventually(t, fmt.Sprintf("a view of %v", want), func() bool {
		states = nil
		for _, r := range rafts {
			states = append(states, r.dv.State().Order)
		}
		for _, s := range states {
			if !s.Member || s.Changing || !slices.Equal(s.Members, want) || s.View != states[0].View {
				return false
			}
		}
		return true
	})
	return states[0].View
}

// TestElectionIsTold: whoever survives a leader is told the same story of the election
// after it.
func TestElectionIsTold(t *testing.T) {
	rafts, lists := startTold(t, 3, nil)
	old := leaderOf(t, rafts)
	arbitrated(t, rafts)
	view := inOneView(t, rafts)
	term := old.status().GetTerm()
	old.kill()
	rest := others(rafts, old)
	leaderOf(t, rest)
	last := inOneView(t, rest)
	if last == view {
		t.Fatalf("still view %d", view)
	}
	var survivors []*told
	for i, r := range rafts {
		if r != old {
			survivors = append(survivors, lists[i])
		}
	}
	later := func(m *AgreedMessage) bool {
		return m.Copy && m.Message.GetType() == raftpb.MsgVoteResp && m.Message.GetTerm() > term
	}
	// While the view changes, which the same death brings about, copies are not sent:
	// that is counted.
	late := func() bool {
		return slices.ContainsFunc(rest, func(r *raftNode) bool { return r.dv.State().Order.NotSent["view-changes"] > 0 })
	}
	for _, l := range survivors {
		eventually(t, "a vote of the new term is told, or was not sent as the view changed", func() bool { return l.has(later) || late() })
	}
	for v := view; v < last; v++ { // what was told in it is final, once it is handed over
		eventually(t, fmt.Sprintf("both were told the same in view %d", v), func() bool {
			return slices.Equal(survivors[0].in(v), survivors[1].in(v))
		})
	}
}

// TestAgreedDelivery: all of raft's traffic in one order, and raft lives on it.
func TestAgreedDelivery(t *testing.T) {
	rafts, lists := startTold(t, 3, func(_ int, c *Config) { c.Delivery = DeliveryAgreed })
	leader := leaderOf(t, rafts)
	view := inOneView(t, rafts)
	const proposals = 50
	before := leader.applied.Load()
	for i := range proposals {
		if err := leader.raft.Propose(t.Context(), fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range rafts {
		eventually(t, fmt.Sprintf("member %s has applied all", r.id), func() bool { return r.applied.Load() >= before+proposals })
	}
	for i, r := range rafts {
		eventually(t, "messages come in the agreed order", func() bool {
			return lists[i].has(func(m *AgreedMessage) bool { return !m.Copy && m.Message.GetType() == raftpb.MsgApp && m.View == view })
		})
		if s := r.dv.State().Order; s.Sent == 0 || s.Delivered == 0 || s.Faults != 0 {
			t.Errorf("member %s: %+v", r.id, s)
		}
	}
	eventually(t, "all were told the same", func() bool {
		shortest := lists[0].in(view)
		for _, l := range lists[1:] {
			if other := l.in(view); len(other) < len(shortest) {
				shortest = other
			}
		}
		for _, l := range lists {
			if !slices.Equal(l.in(view)[:len(shortest)], shortest) {
				t.Fatalf("%q, and %q", l.in(view), shortest)
			}
		}
		return len(shortest) > proposals
	})
	leader.kill()
	rest := others(rafts, leader)
	leaderOf(t, rest)
	inOneView(t, rest)
}

// TestNoOrderWithStock: while a voter has another transport nothing is ordered.
func TestNoOrderWithStock(t *testing.T) {
	rafts, _ := startTold(t, 3, func(_ int, c *Config) { c.Delivery = DeliveryAgreed }, 2)
	leaderOf(t, rafts)
	for _, r := range rafts {
		if r.dv == nil {
			continue
		}
		eventually(t, "it says why", func() bool { return r.dv.State().Order.Mixed != "" })
		if s := r.dv.State().Order; s.Sent != 0 {
			t.Errorf("member %s: %+v", r.id, s)
		}
	}
}

// TestNoViews: what views need, and what is said where it is missing.
func TestNoViews(t *testing.T) {
	dir := t.TempDir()
	damaged, unreadable := filepath.Join(dir, "damaged"), filepath.Join(dir, "folder")
	if err := os.WriteFile(damaged, []byte("no votes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(unreadable, 0o700); err != nil {
		t.Fatal(err)
	}
	epoch := func(n uint64) func() election.Members {
		return func() election.Members { return election.Members{Voters: []fabric.MemberID{1}, Epoch: n} }
	}
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"no members": {Config{}, "set Config.Members"},
		"no epoch":   {Config{Members: epoch(0), ViewFile: filepath.Join(dir, "a")}, "have Config.Members tell it"},
		"no file":    {Config{Members: epoch(1)}, "set Config.ViewFile"},
		"damaged":    {Config{Members: epoch(1), ViewFile: damaged}, barrier.ErrState.Error()},
		"unreadable": {Config{Members: epoch(1), ViewFile: unreadable}, "make the file readable"},
		"no folder":  {Config{Members: epoch(1), ViewFile: filepath.Join(dir, "none", "view")}, "keep that this member is new"},
	} {
		t.Run(name, func(t *testing.T) {
			n := startNodes(t, nodeOptions{config: c.config})[0]
			if got := n.dv.State().Order.Why; !strings.Contains(got, c.want) {
				t.Errorf("says %q, want %q", got, c.want)
			}
			n.tr.Send([]*raftpb.Message{beatMsg(1, 2, 3)}) // and goes on
		})
	}
}

// TestViewFileIsKept: a member that comes back remembers the view.
func TestViewFileIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "view")
	start := func() *node {
		n := newNode(t, 1, nodeOptions{})
		n.start(t, nodeOptions{config: Config{ViewFile: file, Members: func() election.Members {
			return election.Members{Voters: []fabric.MemberID{1}, Epoch: 1}
		}}})
		return n
	}
	first := start()
	eventually(t, "a view of one", func() bool { return first.dv.State().Order.Member })
	view := first.dv.State().Order.View
	first.stop()
	second := start()
	defer second.stop()
	eventually(t, "a later view of one", func() bool {
		s := second.dv.State().Order
		return s.Member && s.View > view
	})
}

func TestParseDelivery(t *testing.T) {
	for _, d := range []Delivery{DeliveryAuto, DeliveryAgreed} {
		if got, err := ParseDelivery(d.String()); err != nil || got != d {
			t.Errorf("%v: %v, %v", d, got, err)
		}
	}
	if _, err := ParseDelivery("fifo"); err == nil {
		t.Error("fifo is taken")
	}
}

// TestParseAgreed: bytes that no member sends are refused, whatever they are.
func TestParseAgreed(t *testing.T) {
	good := append([]byte{agreedCopy, patchFixed}, AppendPatch(nil, beatMsg(1, 2, 3))...)
	if _, h, _, rest, err := parseAgreed(1, good); err != nil || h.To != 2 || len(rest) != 0 {
		t.Fatalf("%+v, %v, %v", h, rest, err)
	}
	for i := range good {
		if _, _, _, _, err := parseAgreed(1, good[:i]); err == nil || RefuseReasonOf(err) != RefusedOrder {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
	for _, bad := range [][]byte{{3, 0}, {agreedCopy, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}} {
		if _, _, _, _, err := parseAgreed(1, bad); err == nil {
			t.Errorf("%x is taken", bad)
		}
	}
}
