package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/raft/v3/raftpb"
)

var update = flag.Bool("update", false, "write the golden files")

var testLoad = TransportConfig{}.withDefaults().load()

// short is long enough to see whether it works, not to compare.
var short = TransportConfig{Members: []int{3}, Sealed: Clear, Pairs: 3, Duration: 60 * time.Millisecond}

func cellOf(t *testing.T, cfg TransportConfig, sys *system, certs *transport.TLSInfo) TransportResult {
	t.Helper()
	cfg = cfg.withDefaults()
	p := port{name: sys.name, make: func(time.Duration) *system { return sys }, spins: true}
	r, err := runCell(t.Context(), cfg, cell{p, 3, certs != nil}, certs)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// unlikeItself says in what a transport measured against itself differs. The
// bounds are wide: a test does not get a machine of its own.
func unlikeItself(r *TransportResult) (all []string) {
	for name, i := range map[string]Interval{
		"deliveries": {r.RatioDeliveries, r.RatioDeliveriesLo, r.RatioDeliveriesHi},
		"CPU":        {r.RatioCPU, r.RatioCPULo, r.RatioCPUHi},
		"RTT":        {r.RatioRTTBlock, r.RatioRTTBlockLo, r.RatioRTTBlockHi},
	} {
		if i.Hi < 0.5 || i.Lo > 2 {
			all = append(all, fmt.Sprintf("%s: interval %v is far from 1", name, i))
		}
	}
	if d := r.AllocsPerDelivery - r.Rafthttp.AllocsPerDelivery; d < -2 || d > 2 {
		all = append(all, fmt.Sprintf("allocations %v and %v", r.AllocsPerDelivery, r.Rafthttp.AllocsPerDelivery))
	}
	return all
}

// sameAttempts: a neighbour that takes the machine away for as long as one side
// is measured makes any two unlike, but not every time; a bench that favours a
// side does.
const sameAttempts = 5

// rafthttp against itself.
func TestSameAgainstSame(t *testing.T) {
	for i := range sameAttempts {
		r := cellOf(t, short, stockSystem("same"), nil)
		why := unlikeItself(&r)
		if why == nil {
			return
		}
		t.Logf("attempt %d: %q", i+1, why)
	}
	t.Errorf("rafthttp was unlike itself in each of %d attempts", sameAttempts)
}

// The control: a transport that burns is unlike it in every attempt, and slow.
func TestSlowAgainstStock(t *testing.T) {
	const burn = 2 * time.Millisecond
	slow := 0
	for i := range sameAttempts {
		r := cellOf(t, short, planted("slow", func(m []*raftpb.Message) []*raftpb.Message {
			for begin := time.Now(); time.Since(begin) < burn; {
			}
			return m
		}), nil)
		if unlikeItself(&r) == nil {
			t.Errorf("attempt %d: as fast as rafthttp: %+v", i+1, r)
		}
		if r.RatioDeliveriesHi <= 0.5 && r.RatioCPULo >= 2 && r.RatioRTTBlockLo >= 2 {
			slow++
		}
	}
	if slow == 0 {
		t.Errorf("slow in deliveries, CPU and round trips in none of %d attempts", sameAttempts)
	}
}

func TestSealedUsesTLS(t *testing.T) {
	certs, remove, err := certificates(true)
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	g, err := openGroup(t.Context(), stockSystem("stock"), 2, certs)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	if _, err := runPingpong(t.Context(), g, defaultSize, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	// The control: somebody without TLS cannot reach the listener.
	m := g.leader()
	m.urls[0].Scheme = "http"
	alone := &group{sys: stockSystem("stranger")}
	stranger, err := alone.openMember(9, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.server.close()
	defer stranger.tr.Stop()
	stranger.tr.AddPeer(m.id, m.urls.StringSlice())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	alone.members = []*member{stranger}
	if err := alone.waitReady(ctx); err == nil {
		t.Error("a peer without TLS connected to a sealed group")
	}
}

func TestRunTransport(t *testing.T) {
	cfg := short
	cfg.Ports, cfg.Members, cfg.Sealed, cfg.Pairs = []string{PortRafthttp}, []int{2, 3}, SealedBoth, 1
	var said []string
	cfg.Progress = func(format string, _ ...any) { said = append(said, format) }
	var got []string
	err := RunTransport(t.Context(), cfg, func(r TransportResult) {
		got = append(got, fmt.Sprintf("%s, %d members, %s", r.Port, r.Members, sealedName(r.Sealed)))
		if r.DeliveriesPerS <= 0 || r.CPUUs <= 0 || r.AllocsPerDelivery <= 0 || r.RTTBlockUs <= 0 || r.RTTSpinUs <= 0 || r.RatioRTTSpin <= 0 {
			t.Errorf("%+v", r)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := cfg.withDefaults().cells()
	if len(got) != 4 || len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i].String() {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
	if len(said) != 1+len(want) {
		t.Errorf("progress: %q", said)
	}
}

func TestRunTransportCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cfg := short
	cfg.Ports, cfg.Duration = []string{PortRafthttp}, time.Hour
	cfg.Progress = func(string, ...any) { time.AfterFunc(300*time.Millisecond, func() { cancel(stop) }) }
	err := RunTransport(ctx, cfg, func(TransportResult) { t.Error("a result of nothing") })
	if !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestTransportConfigListsAllFaults(t *testing.T) {
	if err := (TransportConfig{}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := TransportConfig{
		Ports: []string{"pigeon"}, Members: []int{1}, Size: 3, Sealed: "wax", Window: 1, Pairs: -1, Duration: -1,
	}.Validate()
	for _, want := range []string{`"pigeon" is unknown`, "1 members", "3 bytes", `"wax"`, "window of 1", "-1 pairs", "cannot be negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
}

// The default run is bounded.
func TestEstimate(t *testing.T) {
	if d := (TransportConfig{}).Estimate(); d < time.Minute || d > 3*time.Minute {
		t.Errorf("the default run takes %v", d)
	}
}

func TestTransportTable(t *testing.T) {
	results := []TransportResult{
		{
			Port: "udp", Members: 3, Size: 256, DeliveriesPerS: 812300, RatioDeliveries: 5.3, RatioDeliveriesLo: 5.1, RatioDeliveriesHi: 5.6,
			CPUUs: 1.234, RatioCPU: 0.21, RatioCPULo: 0.2, RatioCPUHi: 0.23, AllocsPerDelivery: 1.52,
			RTTBlockUs: 24.1, RatioRTTBlock: 0.8, RatioRTTBlockLo: 0.7, RatioRTTBlockHi: 0.9,
			RTTSpinUs: 9.2, RatioRTTSpin: 0.3, RatioRTTSpinLo: 0.28, RatioRTTSpinHi: 0.34,
			Rafthttp: Absolute{DeliveriesPerS: 153000, CPUUs: 5.8, AllocsPerDelivery: 13.1, RTTBlockUs: 31},
		},
		{Port: "rawudp", Members: 7, Sent: 3000, Lost: 12},
	}
	var b strings.Builder
	if err := WriteTransportTable(&b, results); err != nil {
		t.Fatal(err)
	}
	golden(t, "transport.table", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update if it should):\ngot\n%s\nwant\n%s", path, got, want)
	}
}

// What is under way, and what a transport may still look at, stays as it is.
func TestMessagesRest(t *testing.T) {
	const window = 4
	to := []*member{{id: 2}, {id: 3}}
	m := newMaker(1, to, 16, window)
	var sent []*raftpb.Message
	check := func(last uint64, steps int) {
		t.Helper()
		for i, msg := range sent[len(sent)-steps*len(to):] {
			want := last - uint64(steps) + 1 + uint64(i/len(to))
			if got, err := entryIndex(msg, 16); err != nil || got != want || msg.GetTo() != uint64(to[i%2].id) || msg.GetFrom() != 1 {
				t.Fatalf("%d steps back of %d: %v, %v", steps, last, msg, err)
			}
		}
	}
	for index := uint64(1); index <= 3*(window+idle); index++ {
		sent = append(sent, m.step(index)...)
		check(index, int(min(index, window+idle)))
	}
	// The control: it goes round.
	if old := sent[len(sent)-(window+idle)*len(to)+1]; old != m.step(9)[1] {
		t.Error("memory is never used again")
	}
}
