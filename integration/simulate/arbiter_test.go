package simulate

import (
	"bytes"
	"crypto/rand"
	"math/big"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// nudger is an arbiter that uses all of the seam: it publishes a section, reads
// those of others, holds messages of the first leader back, and sends a member
// of its choice MsgTimeoutNow.
type nudger struct {
	h       Host
	sees    map[fabric.MemberID]byte // the newest section of each peer
	held    []*raftpb.Message
	wakes   int
	sent    int
	links   int
	heard   int
	nominee fabric.MemberID
	holding bool
	// holdAt is when it begins to hold messages, holdFor for how long.
	holdAt, holdFor time.Duration
}

func (n *nudger) Receive(m *raftpb.Message) bool {
	if n.holding && m.GetType() == raftpb.MsgApp {
		n.held = append(n.held, m)
		return false
	}
	return true
}
func (n *nudger) Sent(ms []*raftpb.Message)  { n.sent += len(ms) }
func (n *nudger) Link(fabric.MemberID, bool) { n.links++ }
func (n *nudger) Heard(fabric.MemberID)      { n.heard++ }
func (n *nudger) Reconfigured()              {}
func (n *nudger) AppendSection(dst []byte) []byte {
	return fabric.AppendSection(dst, fabric.Section{ID: fabric.SectionArbiter, Value: []byte{byte(n.wakes)}})
}

// Wake acts at the times of the test.
func (n *nudger) Wake() {
	n.wakes++
	switch now := n.h.Now(); {
	case now >= nudgeAt && now < nudgeAt+wakeEvery:
		n.nudge()
	case n.holdAt > 0 && now >= n.holdAt && now < n.holdAt+n.holdFor:
		n.holding = true
	case n.holding:
		n.holding = false
		for _, m := range n.held {
			n.h.Step(m)
		}
		n.h.Publish()
	}
	n.h.WakeAt(n.h.Now() + wakeEvery)
}

const (
	wakeEvery = 50 * time.Millisecond
	nudgeAt   = wakeEvery
)

func (n *nudger) Row(from fabric.MemberID, row *fabric.Row) {
	if s, ok := fabric.FindSection(row.Sections, fabric.SectionArbiter); ok {
		n.sees[from] = bytes.Clone(s.Value)[0]
	}
}

// nudge makes the nominee campaign at once.
func (n *nudger) nudge() {
	if n.h.ID() == n.nominee {
		n.h.Step(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(uint64(1)), To: new(uint64(n.nominee)), Term: new(uint64(firstTerm))})
	}
}

// TestArbiterSeam: everything that an arbiter needs gets through.
func TestArbiterSeam(t *testing.T) {
	all := map[fabric.MemberID]*nudger{}
	cfg := Config{Seed: 1, Duration: 15 * time.Second, Proposals: 1, Only: []int{}}
	cfg.Arbiter = func(h Host) Arbiter {
		n := &nudger{h: h, sees: map[fabric.MemberID]byte{}, nominee: 3}
		all[h.ID()] = n
		h.WakeAt(time.Second)
		h.WakeAt(nudgeAt)
		if h.ID() == 1 {
			n.holdAt, n.holdFor = 9*time.Second, 200*time.Millisecond
		}
		if h.Now() != 0 {
			t.Errorf("%s starts at %v", h.ID(), h.Now())
		}
		return n
	}
	var leaders []string
	cfg.Trace = func(at time.Duration, what string) {
		if at < 500*time.Millisecond {
			leaders = append(leaders, what)
		}
	}
	if r := run(t, cfg); r.Failed() {
		t.Fatal(r.Failures)
	}
	if !slices.Equal(leaders, []string{"3 leads term 2"}) {
		t.Errorf("before anybody times out by itself: %q, want that 3 leads", leaders)
	}
	for id, n := range all {
		if _, last := n.h.Last(); n.wakes < 100 || n.sent == 0 || last < 20 || n.links < 2 || len(n.sees) < 1 {
			t.Errorf("%s: %+v", id, n)
		}
		if st := n.h.Status(); st.GetTerm() < 2 || st.Lead == 0 {
			t.Errorf("%s: status %+v", id, st)
		}
		if got := n.h.Members().GetVoters(); !slices.Equal(got, []uint64{1, 2, 3}) {
			t.Errorf("%s knows the voters %v", id, got)
		}
	}
	if len(all[1].held) == 0 || len(all[2].held) > 0 {
		t.Errorf("%d and %d messages were held at 1 and 2, want some and none", len(all[1].held), len(all[2].held))
	}
}

// TestHeldForeverIsNotLive is the negative control of the seam: raft does miss
// what an arbiter keeps.
func TestHeldForeverIsNotLive(t *testing.T) {
	cfg := Config{Seed: 1, Duration: 15 * time.Second, Proposals: 1, Only: []int{}}
	cfg.Arbiter = func(h Host) Arbiter {
		n := &nudger{h: h, sees: map[fabric.MemberID]byte{}}
		h.WakeAt(wakeEvery)
		if h.ID() == 2 {
			n.holdAt, n.holdFor = 3*time.Second, time.Hour
		}
		return n
	}
	r := run(t, cfg)
	if len(r.Failures) == 0 || r.Failures[0].Check != checkLive {
		t.Errorf("%v, want that 2 does not catch up", r.Failures)
	}
}

// TestEntropy: raft's source is the seed's during a run, and the machine's
// before and after.
func TestEntropy(t *testing.T) {
	was := rand.Reader
	draw := func(seed uint64) (ns []int64) {
		defer seedEntropy(stream(seed, streamRaft))()
		for range 20 {
			n, err := rand.Int(rand.Reader, big.NewInt(10))
			if err != nil {
				t.Fatal(err)
			}
			ns = append(ns, n.Int64())
		}
		return ns
	}
	a, b, c := draw(1), draw(1), draw(2)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Errorf("%v, %v, of another seed %v", a, b, c)
	}
	if rand.Reader != was {
		t.Error("the source is not what it was")
	}
	e := &entropy{stream(1, 1)}
	long := make([]byte, 13)
	if n, err := e.Read(long); n != len(long) || err != nil || bytes.Equal(long[8:], make([]byte, 5)) {
		t.Errorf("%d bytes: %v, %v", n, long, err)
	}
}
