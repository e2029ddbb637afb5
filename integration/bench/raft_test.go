package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/raft/v3/raftpb"
)

const shortRaft = 150 * time.Millisecond

func openRaftTest(t *testing.T, sys *system, n, clients int) *raftGroup {
	t.Helper()
	g, err := openRaft(t.Context(), sys, n, clients, defaultSize, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	return g
}

// runRaftTest measures once on a new group with a client for each of inFlight.
// A machine that keeps members from running for a second changes the leader: that
// is tried again.
func runRaftTest(t *testing.T, makeSystem func() *system, inFlight int, d time.Duration) (f raftFigures, err error) {
	t.Helper()
	for range maxRepeats {
		var g *raftGroup
		if g, err = openRaft(t.Context(), makeSystem(), 3, inFlight, defaultSize, nil); err != nil {
			return f, err
		}
		f, err = g.run(t.Context(), inFlight, d)
		g.close()
		if !errors.Is(err, errLeaderChanged) {
			break
		}
	}
	return f, err
}

// Raft commits over every system that says so, clear and sealed.
func TestRaftOverEveryPort(t *testing.T) {
	cfg := RaftConfig{Ports: RaftPorts(), Members: []int{3}, InFlight: []int{8}, Sealed: SealedBoth, Pairs: 1, Duration: shortRaft}
	var got []RaftResult
	if err := RunRaft(t.Context(), cfg, func(r RaftResult) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2*len(RaftPorts()) {
		t.Fatalf("%d results: %+v", len(got), got)
	}
	for i, r := range got {
		if r.Port != RaftPorts()[i/2] || r.Sealed != (i%2 == 1) || r.InFlight != 8 || r.Size != defaultSize || r.Members != 3 || r.RatioCommits <= 0 || r.RatioCPU <= 0 {
			t.Errorf("%+v", r)
		}
		for _, n := range []RaftNumber{r.Ours, r.Rafthttp} {
			// A commit of 3 members needs a MsgApp to one of them at least, and
			// its entry is in it.
			if n.CommitsPerS <= 0 || n.P50Us <= 0 || n.P99Us < n.P50Us || n.CPUUs <= 0 || n.MessagesPerCommit <= 0 || n.BytesPerCommit < defaultSize {
				t.Errorf("%s: %+v", r.Port, n)
			}
		}
		p, _ := findPort(r.Port)
		if own := p.make(0).troubles != nil && slices.Contains([]string{"udp", "stream", "shm"}, r.Port); own != (r.Ours.WireBytesPerCommit >= defaultSize) {
			t.Errorf("%s: %v bytes on the wire for a commit", r.Port, r.Ours.WireBytesPerCommit)
		}
	}
}

// The entries' data in every nth MsgApp that has any passes change, which may
// also send messages of its own.
func plantedEntries(n uint64, change func(p rafthttp.Raft, m *raftpb.Message)) *system {
	s := stockSystem("planted")
	open := s.open
	s.open = func(p memberParams) (rafthttp.Transporter, error) {
		tr, err := open(p)
		var count atomic.Uint64
		return &plantedTransport{tr, func(msgs []*raftpb.Message) []*raftpb.Message {
			msgs = slices.Clone(msgs)
			for i, m := range msgs {
				if hasData(m) && count.Add(1)%n == 0 {
					msgs[i] = proto.Clone(m).(*raftpb.Message)
					change(p.raft, msgs[i])
				}
			}
			return msgs
		}}, err
	}
	return s
}

// A transport that changes what raft agrees on must not get a number.
func TestRaftRefusesCheats(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(rafthttp.Raft, *raftpb.Message)
		want   []string // any
	}{
		"drops a payload": {func(_ rafthttp.Raft, m *raftpb.Message) { m.Entries[0].Data = nil }, []string{"one was lost", "differs", "were applied"}},
		"damages":         {func(_ rafthttp.Raft, m *raftpb.Message) { m.Entries[0].Data[100] ^= 1 }, []string{"differs for the first time after entry", "differs after entry"}},
		"shortens":        {func(_ rafthttp.Raft, m *raftpb.Message) { m.Entries[0].Data = m.Entries[0].Data[:20] }, []string{"has 20 bytes, proposals have 256"}},
		"repeats an old entry": {func(_ rafthttp.Raft, m *raftpb.Message) {
			client, seq := parseProposal(m.Entries[0].Data)
			m.Entries[0].Data = proposal(int(client), seq-1, defaultSize)
		}, []string{"applied twice or out of order"}},
		"doubles a proposal": {func(r rafthttp.Raft, m *raftpb.Message) {
			again := &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: m.From, Entries: []*raftpb.Entry{{Data: m.Entries[0].Data}}}
			go r.Process(context.Background(), again) // raft refuses it when it has stopped
		}, []string{"applied twice", "when nobody waited for it", "was told of proposal"}},
		"invents a client": {func(r rafthttp.Raft, m *raftpb.Message) {
			again := &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: m.From, Entries: []*raftpb.Entry{{Data: proposal(1000, 1, defaultSize)}}}
			go r.Process(context.Background(), again)
		}, []string{"is a proposal of client 1000: there are 32"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := runRaftTest(t, func() *system { return plantedEntries(50, tc.change) }, 32, 300*time.Millisecond)
			if err == nil || errors.Is(err, errLeaderChanged) || !slices.ContainsFunc(tc.want, func(w string) bool { return strings.Contains(err.Error(), w) }) {
				t.Errorf("got %v, want an error with one of %q", err, tc.want)
			}
		})
	}
}

// hasData: m carries a proposal.
func hasData(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgApp && len(m.Entries) > 0 && len(m.Entries[0].Data) > 0
}

// Two clients' entries in the other order on one member, every one of them once.
func TestRaftRefusesAnotherOrder(t *testing.T) {
	swaps := func() *system { return planted("swaps", swapTwo) }
	if _, err := runRaftTest(t, swaps, 32, 300*time.Millisecond); err == nil || !strings.Contains(err.Error(), "what they applied differs") {
		t.Errorf("got %v", err)
	}
}

func swapTwo(msgs []*raftpb.Message) []*raftpb.Message {
	first := slices.IndexFunc(msgs, hasData)
	if first < 0 {
		return msgs
	}
	for i := first + 1; i < len(msgs); i++ {
		if hasData(msgs[i]) && msgs[i].GetTo() == msgs[first].GetTo() {
			msgs = slices.Clone(msgs)
			a, b := proto.Clone(msgs[first]).(*raftpb.Message), proto.Clone(msgs[i]).(*raftpb.Message)
			a.Entries[0].Data, b.Entries[0].Data = b.Entries[0].Data, a.Entries[0].Data
			msgs[first], msgs[i] = a, b
			return msgs
		}
	}
	return msgs
}

// What raft itself mends is no fault: messages that are lost, doubled or late.
func TestRaftMendsMessages(t *testing.T) {
	var mu sync.Mutex
	var kept []*raftpb.Message
	for name, change := range map[string]func([]*raftpb.Message) []*raftpb.Message{
		"drops":   func(m []*raftpb.Message) []*raftpb.Message { return m[1:] },
		"doubles": func(m []*raftpb.Message) []*raftpb.Message { return append(m, m[0]) },
		"reorders": func(m []*raftpb.Message) []*raftpb.Message {
			mu.Lock()
			defer mu.Unlock()
			m, kept = append(kept, m...), m[:1]
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Uint64
			if f, err := runRaftTest(t, func() *system {
				return planted(name, func(m []*raftpb.Message) []*raftpb.Message {
					if len(m) == 0 || n.Add(1)%200 != 0 {
						return m
					}
					return change(slices.Clone(m))
				})
			}, 8, time.Second); err != nil || f.commits <= 0 {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
}

// campaigns makes a follower campaign whenever it is told to, as a transfer of
// leadership does.
func campaigns(when func(m *raftpb.Message) bool) *system {
	return planted("campaigner", func(msgs []*raftpb.Message) []*raftpb.Message {
		for _, m := range msgs {
			if hasData(m) && when(m) {
				return append(slices.Clone(msgs), &raftpb.Message{
					Type: raftpb.MsgTimeoutNow.Enum(), From: m.From, To: m.To, Term: m.Term,
				})
			}
		}
		return msgs
	})
}

// A measurement in which leadership changed is thrown away and made again, and
// that is counted.
func TestRaftRepeatsWhenTheLeaderChanges(t *testing.T) {
	var once atomic.Bool
	cfg := RaftConfig{Pairs: 1, Duration: shortRaft}.withDefaults()
	var said []string
	cfg.Progress = func(format string, _ ...any) { said = append(said, format) }
	p := port{name: "campaigner", make: func(time.Duration) *system {
		return campaigns(func(*raftpb.Message) bool { return once.CompareAndSwap(false, true) })
	}}
	r, err := runRaftCell(t.Context(), cfg, raftCell{cell{p, 3, false}, 4}, nil)
	// More than one is the machine's doing.
	if err != nil || r.Repeats < 1 || r.Ours.CommitsPerS <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if len(said) != r.Repeats || len(said) == 0 || !strings.Contains(said[0], "measured again") {
		t.Errorf("progress: %q", said)
	}
}

// A group that cannot keep a leader fails, after a bounded number of attempts.
func TestRaftGivesUpWithoutALeader(t *testing.T) {
	cfg := RaftConfig{Pairs: 1, Duration: shortRaft}.withDefaults()
	opened := 0
	p := port{name: "campaigner", make: func(time.Duration) *system {
		opened++
		return campaigns(func(*raftpb.Message) bool { return true })
	}}
	_, err := runRaftCell(t.Context(), cfg, raftCell{cell{p, 3, false}, 1}, nil)
	if !errors.Is(err, errLeaderChanged) || opened < 2 || opened > maxRepeats+1 {
		t.Errorf("%d groups, %v", opened, err)
	}
}

// A group that waits for its turn sends nothing, and loses no leader by that.
func TestRaftPauses(t *testing.T) {
	var err error
	for range maxRepeats {
		if err = pauses(t); !errors.Is(err, errLeaderChanged) {
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func pauses(t *testing.T) error {
	g, err := openRaft(t.Context(), stockSystem("stock"), 3, 1, defaultSize, nil)
	if err != nil {
		return err
	}
	defer g.close()
	lead, term := g.lead.Load(), g.leading().node.Status().GetTerm()
	if _, err := g.run(t.Context(), 1, 50*time.Millisecond); err != nil {
		return err
	}
	// What had begun comes to its end: then nothing moves for two times three
	// ticks.
	before, tick := g.traffic(), time.NewTicker(3*raftTick)
	defer tick.Stop()
	for rounds, quiet := 0, 0; quiet < 2; rounds++ {
		<-tick.C
		if now := g.traffic(); now != before {
			before, quiet = now, 0
		} else {
			quiet++
		}
		if rounds > 50 {
			return errors.New("a group that waits keeps sending")
		}
	}
	if _, err := g.run(t.Context(), 1, 50*time.Millisecond); err != nil {
		return err
	}
	if g.traffic() == before {
		return errors.New("the control: nothing is sent in a measurement either")
	}
	if now := g.leading().node.Status(); g.lead.Load() != lead || now.GetTerm() != term {
		return fmt.Errorf("leader %d of term %d became %d of %d", lead, term, g.lead.Load(), now.GetTerm())
	}
	return nil
}

// A group that stops committing does not hang the run.
func TestRaftRefusesSilence(t *testing.T) {
	var silent atomic.Bool
	g := openRaftTest(t, planted("silent", func(m []*raftpb.Message) []*raftpb.Message {
		if silent.Load() {
			return nil
		}
		return m
	}), 3, 2)
	g.stall = 200 * time.Millisecond
	silent.Store(true)
	if _, err := g.run(t.Context(), 2, time.Minute); err == nil || !strings.Contains(err.Error(), "no entry was committed") {
		t.Error(err)
	}
}

func TestRunRaftCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cfg := RaftConfig{Ports: []string{PortTCP}, Members: []int{3}, Duration: time.Hour}
	cfg.Progress = func(string, ...any) { time.AfterFunc(300*time.Millisecond, func() { cancel(stop) }) }
	err := RunRaft(ctx, cfg, func(RaftResult) { t.Error("a result of nothing") })
	if !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestRaftConfigListsAllFaults(t *testing.T) {
	if err := (RaftConfig{}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	if d := (RaftConfig{}).Estimate(); d < time.Minute || d > 3*time.Minute {
		t.Errorf("the default run takes %v", d)
	}
	err := RaftConfig{
		Ports: []string{"pigeon", PortRawUDP, PortTCP, PortTCP}, Members: []int{1}, InFlight: []int{0, maxInFlight + 1}, Size: 3, Sealed: "wax", Pairs: -1, Duration: -1,
	}.Validate()
	for _, want := range []string{
		`"pigeon" is unknown here: use any of shm, udp, stream, grpc, tcp, rafthttp`, `"rawudp" is unknown here`, `"tcp" is named twice`,
		"1 members", "0 proposals", "16385 proposals", "3 bytes", `"wax" is unknown: use both, clear, sealed`, "-1 pairs", "cannot be negative",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
}

func TestRaftTable(t *testing.T) {
	r := RaftResult{
		Port: "udp", Members: 3, InFlight: 32, Size: 256, Pairs: 6, Repeats: 1,
		Ours:     RaftNumber{41230, 512, 1999, 31.2, 2.5, 579, 812},
		Rafthttp: RaftNumber{38000, 530, 2100, 35, 2.4, 575, 0},
	}
	Interval{1.08, 1.02, 1.12}.into(&r.RatioCommits, &r.RatioCommitsLo, &r.RatioCommitsHi)
	Interval{0.96, 0.9, 1.01}.into(&r.RatioP50, &r.RatioP50Lo, &r.RatioP50Hi)
	Interval{0.95, 0.8, 1.2}.into(&r.RatioP99, &r.RatioP99Lo, &r.RatioP99Hi)
	Interval{0.89, 0.85, 0.93}.into(&r.RatioCPU, &r.RatioCPULo, &r.RatioCPUHi)
	var b strings.Builder
	if err := WriteRaftTable(&b, []RaftResult{r}); err != nil {
		t.Fatal(err)
	}
	golden(t, "raft.table", b.String())
}
