package bench

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/raft/v3/raftpb"
)

// planted is rafthttp with something wrong in it: each message passes change.
func planted(name string, change func([]*raftpb.Message) []*raftpb.Message) *system {
	return plantedIn(stockSystem(name), name, change)
}

func plantedIn(s *system, name string, change func([]*raftpb.Message) []*raftpb.Message) *system {
	s.name = name
	open := s.open
	s.open = func(p memberParams) (rafthttp.Transporter, error) {
		tr, err := open(p)
		return &plantedTransport{tr, change}, err
	}
	return s
}

type plantedTransport struct {
	rafthttp.Transporter
	change func([]*raftpb.Message) []*raftpb.Message
}

func (p *plantedTransport) Send(msgs []*raftpb.Message) {
	if msgs = p.change(msgs); len(msgs) > 0 {
		p.Transporter.Send(msgs)
	}
}

func (p *plantedTransport) unwrap() rafthttp.Transporter { return p.Transporter }

func (p *plantedTransport) Handler() http.Handler { return p.Transporter.Handler() }

// sometimes calls f for one batch of MsgApps in every n.
func sometimes(n uint64, f func([]*raftpb.Message) []*raftpb.Message) func([]*raftpb.Message) []*raftpb.Message {
	var count atomic.Uint64
	return func(msgs []*raftpb.Message) []*raftpb.Message {
		if msgs[0].GetType() != raftpb.MsgApp || count.Add(1)%n != 0 {
			return msgs
		}
		return f(slices.Clone(msgs))
	}
}

type cheat struct {
	change func([]*raftpb.Message) []*raftpb.Message
	want   string
}

func cheats() map[string]cheat {
	var kept []*raftpb.Message
	return map[string]cheat{
		"drops one": {sometimes(100, func(m []*raftpb.Message) []*raftpb.Message { return m[1:] }), "lost, doubled or reordered"},
		"doubles":   {sometimes(100, func(m []*raftpb.Message) []*raftpb.Message { return append(m, m[0]) }), "lost, doubled or reordered"},
		"reorders": {sometimes(100, func(m []*raftpb.Message) []*raftpb.Message {
			m, kept = append(kept, m...), m[:1]
			return m
		}), "lost, doubled or reordered"},
		"damages": {sometimes(100, func(m []*raftpb.Message) []*raftpb.Message {
			m[0] = proto.Clone(m[0]).(*raftpb.Message)
			m[0].Entries[0].Data[3] ^= 1
			return m
		}), "damaged"},
		"shortens": {sometimes(100, func(m []*raftpb.Message) []*raftpb.Message {
			m[0] = proto.Clone(m[0]).(*raftpb.Message)
			m[0].Entries[0].Data = m[0].Entries[0].Data[:9]
			return m
		}), "damaged"},
		"invents": {sometimes(100, func(m []*raftpb.Message) []*raftpb.Message {
			return append(m, &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: m[0].From, To: m[0].To, Term: m[0].Term})
		}), "not sent"},
	}
}

// A transport that cheats must not get a number.
func TestFloodRefusesCheats(t *testing.T) {
	for name, tc := range cheats() {
		t.Run(name, func(t *testing.T) {
			g := openTest(t, planted("cheat that "+name, tc.change), 3)
			_, err := runFlood(t.Context(), g, testLoad, time.Second)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// Without this a transport that loses the last messages, after which nothing
// comes, would hang the run.
func TestFloodRefusesSilence(t *testing.T) {
	silent := planted("silent", func([]*raftpb.Message) []*raftpb.Message { return nil })
	g := openTest(t, silent, 2)
	g.stall = 200 * time.Millisecond
	if _, err := runFlood(t.Context(), g, testLoad, time.Second); err == nil || !strings.Contains(err.Error(), "no progress") {
		t.Errorf("flood: %v", err)
	}
	if _, err := runPingpong(t.Context(), g, defaultSize, time.Second); err == nil || !strings.Contains(err.Error(), "was not answered") {
		t.Errorf("round trips: %v", err)
	}
}

func TestPingpongRefusesWrongAnswers(t *testing.T) {
	g := openTest(t, planted("liar", func(m []*raftpb.Message) []*raftpb.Message {
		if m[0].GetType() == raftpb.MsgAppResp && m[0].GetIndex()%100 == 0 {
			m[0].Index = new(m[0].GetIndex() - 1)
		}
		return m
	}), 2)
	_, err := runPingpong(t.Context(), g, defaultSize, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "is no answer to entry") {
		t.Error(err)
	}
}

// What a transport allocates is seen, what the harness allocates is not
// counted: it is next to nothing.
func TestAllocationsAreCounted(t *testing.T) {
	const extra = 40
	var sink atomic.Pointer[[]byte]
	greedy := nullSystem()
	open := greedy.open
	greedy.open = func(p memberParams) (rafthttp.Transporter, error) {
		tr, err := open(p)
		return &plantedTransport{tr, func(m []*raftpb.Message) []*raftpb.Message {
			for range extra * len(m) {
				b := make([]byte, 1)
				sink.Store(&b)
			}
			return m
		}}, err
	}
	perDelivery := func(sys *system) float64 {
		res, err := runFlood(t.Context(), openTest(t, sys, 3), testLoad, 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		return res.allocs
	}
	if n := perDelivery(nullSystem()); n > 0.5 {
		t.Errorf("the harness makes %v allocations per delivery", n)
	}
	// b and what it points to.
	if n := perDelivery(greedy); n < 2*extra || n > 2*extra+1 {
		t.Errorf("%v allocations per delivery, %d were planted", n, 2*extra)
	}
}

func openTest(t *testing.T, sys *system, n int) *group {
	t.Helper()
	g, err := openGroup(t.Context(), sys, n, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	return g
}
