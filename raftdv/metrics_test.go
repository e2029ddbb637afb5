package raftdv

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// rafthttp registers its series in its init.
var _ rafthttp.Transporter = (*rafthttp.Transport)(nil)

const etcdSeries = 15

func descsOf(c prometheus.Collector) []string {
	ch := make(chan *prometheus.Desc, 16)
	c.Describe(ch)
	close(ch)
	var list []string
	for d := range ch {
		list = append(list, d.String())
	}
	return list
}

func (n *etcdNetwork) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		n.activePeers, n.disconnectedPeers, n.sentBytes, n.receivedBytes, n.sentFailures, n.recvFailures, n.snapshotSend,
		n.snapshotSendInflights, n.snapshotSendFails, n.snapshotSendSeconds, n.snapshotRecv, n.snapshotRecvInflights,
		n.snapshotRecvFails, n.snapshotRecvSeconds, n.rtt,
	}
}

// refusing is a Registerer that shows what was registered already.
type refusing struct {
	prometheus.Registerer
	fresh, known []prometheus.Collector
}

func (r *refusing) Register(c prometheus.Collector) error {
	err := r.Registerer.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		r.known = append(r.known, already.ExistingCollector)
	} else {
		r.fresh = append(r.fresh, c)
	}
	return err
}

// TestEtcdNetworkContract pins name, help and labels of all series against
// those that rafthttp has registered, and that they are the very same.
func TestEtcdNetworkContract(t *testing.T) {
	reg := &refusing{Registerer: prometheus.DefaultRegisterer}
	ours, err := newEtcdNetwork(reg)
	if err != nil {
		t.Fatalf("the series do not fit those of rafthttp: %v", err)
	}
	if len(reg.fresh) > 0 || len(reg.known) != etcdSeries {
		t.Fatalf("rafthttp has %d of our series, and not %v", len(reg.known), reg.fresh)
	}
	alone, err := newEtcdNetwork(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range ours.collectors() {
		if !slices.Contains(reg.known, c) {
			t.Errorf("%v is not rafthttp's collector", descsOf(c))
		}
		if got, want := descsOf(alone.collectors()[i]), descsOf(c); !slices.Equal(got, want) {
			t.Errorf("described as %v, rafthttp's is %v", got, want)
		}
	}
	// Every etcd_network_ series that exists is one of ours.
	const peer = "contract"
	touch(ours.peer(peer, peer, true))
	touch(alone.peer(peer, peer, true))
	theirs := familiesOf(t, prometheus.DefaultGatherer, "etcd_network_")
	if len(theirs) != etcdSeries {
		t.Errorf("rafthttp has %d series, the contract has %d: %v", len(theirs), etcdSeries, names(theirs))
	}
	private := prometheus.NewRegistry()
	private.MustRegister(alone.collectors()...)
	for i, f := range familiesOf(t, private, "etcd_network_") {
		if i < len(theirs) && shape(f) != shape(theirs[i]) {
			t.Errorf("ours: %s\nrafthttp: %s", shape(f), shape(theirs[i]))
		}
	}
}

func touch(p *etcdPeer) {
	for _, c := range []prometheus.Counter{p.sentBytes, p.receivedBytes, p.sentFailures, p.recvFailures, p.snapshotSend, p.snapshotSendFails, p.snapshotRecv, p.snapshotRecvFails, p.disconnected} {
		c.Inc()
	}
	for _, g := range []prometheus.Gauge{p.snapshotSendInflights, p.snapshotRecvInflights, p.active} {
		g.Set(1)
	}
	for _, o := range []prometheus.Observer{p.snapshotSendSeconds, p.snapshotRecvSeconds, p.rtt} {
		o.Observe(0.001)
	}
}

func familiesOf(t *testing.T, g prometheus.Gatherer, prefix string) []*dto.MetricFamily {
	t.Helper()
	all, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), prefix) })
}

func names(families []*dto.MetricFamily) (list []string) {
	for _, f := range families {
		list = append(list, f.GetName())
	}
	return list
}

// shape is all of a family but its values.
func shape(f *dto.MetricFamily) string {
	parts := []string{fmt.Sprintf("%s %v %q", f.GetName(), f.GetType(), f.GetHelp())}
	for _, l := range f.Metric[0].Label {
		parts = append(parts, l.GetName())
	}
	for _, b := range f.Metric[0].Histogram.GetBucket() {
		parts = append(parts, fmt.Sprint(b.GetUpperBound()))
	}
	return strings.Join(parts, " ")
}

// A different help text is what an etcd of another version could bring.
func TestEtcdNetworkMismatch(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_network_peer_sent_bytes_total", Help: "Another text."}, []string{"To"}))
	reg.MustRegister(prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_network_active_peers", Help: "The current number of active peer connections."}, []string{"Local", "Remote"}))
	n, err := newEtcdNetwork(reg)
	if err == nil || !strings.Contains(err.Error(), "etcd_network_peer_sent_bytes_total") || !strings.Contains(err.Error(), "etcd_network_active_peers") {
		t.Fatalf("the error does not name what does not fit: %v", err)
	}
	touch(n.peer("1", "2", true)) // counts nevertheless
	if got := len(familiesOf(t, reg, "etcd_network_")); got != etcdSeries-2 {
		t.Errorf("%d series are shown, want all but the two that do not fit", got)
	}
}

// fakeLinks is a port's statistics.
type fakeLinks struct {
	mu    sync.Mutex
	stats []fabric.LinkStats
}

func (f *fakeLinks) Stats(dst []fabric.LinkStats) []fabric.LinkStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(dst, f.stats...)
}

func exampleLinks() *fakeLinks {
	lane := fabric.LaneStats{Sent: 10, Delivered: 9, Acked: 8, Lost: 1, NoCredit: 2, Queued: 3, QueuedBytes: 768, CreditBytes: 4096, RTT: 20 * time.Microsecond, Gaps: 4}
	return &fakeLinks{stats: []fabric.LinkStats{
		{
			Peer: 2, Up: true, RTT: 15 * time.Microsecond, BytesSent: 1000, BytesReceived: 2000, DatagramsSent: 100, DatagramsReceived: 200,
			Retransmissions: 5, Refused: 6, RowsSent: 70, RowsReceived: 80, Lane: [fabric.Lanes]fabric.LaneStats{lane, lane, {}},
		},
		{Peer: 77, Up: true}, // not a peer of the transport any more
	}}
}

func openExample(t *testing.T, reg prometheus.Registerer, local fabric.MemberID) (*transportMetrics, *peerMetrics) {
	t.Helper()
	links := exampleLinks()
	m, err := newMetrics(reg, local, func(visit func(string, fabric.StatsReporter)) { visit("udp", links) }, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	return m, m.addPeer(2, func() int { return 1 }, true)
}

// exercise uses everything once.
func exercise(m *transportMetrics, p *peerMetrics) {
	p.sent(raftpb.MsgApp, formFrame)
	p.sent(raftpb.MsgAppResp, formRow)
	p.sent(raftpb.MsgHeartbeatResp, formRow)
	p.received(raftpb.MsgAppResp, formRow)
	p.received(raftpb.MsgHeartbeat, formRafthttp)
	p.received(99, formFrame)
	p.received(-1, formFrame)
	p.sentBytes(300)
	p.receivedBytes(200)
	p.dropped(fabric.LaneAppend, fabric.Lost(fabric.ErrTimeout))
	p.dropped(fabric.LaneControl, fabric.ErrNoCredit)
	p.sendFailed()
	p.refused(RefusedSender)
	p.gap(fabric.Gap{Lane: fabric.LaneAppend, First: 3, Count: 2})
	p.path("udp")
	p.fallback("timeout")
	p.active(true)
	done := p.snapshotSending()
	p.snapshotSent(1<<20, time.Second)
	done()
	p.snapshotSendFailed()
	done = p.snapshotReceiving()
	p.snapshotReceived(1<<20, time.Second)
	p.snapshotReceiveFailed()
	done()
	m.sample(time.Unix(1, 0))
}

func scrape(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	srv := httptest.NewServer(promhttp.HandlerFor(g, promhttp.HandlerOpts{}))
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", resp.Status, text, err)
	}
	return string(text)
}

// TestMetricsScrape pins the text that a scraper sees.
func TestMetricsScrape(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, p := openExample(t, reg, 1)
	exercise(m, p)
	text := scrape(t, reg)
	text = regexp.MustCompile(`(version|revision)="[^"]*"`).ReplaceAllString(text, `$1="…"`)
	compareGolden(t, "metrics.golden", text)
}

func TestMetricsLint(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, p := openExample(t, reg, 1)
	exercise(m, p)
	var ours []string
	for _, f := range familiesOf(t, reg, "raftdv_") {
		ours = append(ours, f.GetName())
	}
	if want := len(collectedDescs) + 1; len(ours) != want {
		t.Errorf("%d of %d metrics have values: %v", len(ours), want, ours)
	}
	problems, err := testutil.GatherAndLint(reg, ours...)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// Several members in one process, as in etcd's integration tests, and the same
// peer for both.
func TestMetricsOfSeveralTransports(t *testing.T) {
	reg := prometheus.NewRegistry()
	m1, p1 := openExample(t, reg, 1)
	m3, p3 := openExample(t, reg, 3)
	exercise(m1, p1)
	exercise(m3, p3)
	for _, local := range []string{"1", "3"} {
		if text := scrape(t, reg); !strings.Contains(text, fmt.Sprintf(`raftdv_path{local=%q,path="udp",peer="2"} 1`, local)) {
			t.Errorf("no path of member %s in\n%s", local, text)
		}
	}
	if text := scrape(t, reg); !strings.Contains(text, `etcd_network_peer_sent_failures_total{To="2"} 4`) {
		t.Error("etcd's series do not add up") // two losses, two failed snapshots
	}
	m1.close()
	text := scrape(t, reg)
	if strings.Contains(text, `local="1"`) || !strings.Contains(text, `local="3"`) {
		t.Errorf("closing one transport leaves\n%s", text)
	}
	again, err := newMetrics(reg, 3, m3.links, nil, nil) // a member that restarts beside its old self
	if err != nil {
		t.Fatal(err)
	}
	again.addPeer(2, func() int { return 1 }, true)
	scrape(t, reg) // must not be an error
	m3.close()
	if !strings.Contains(scrape(t, reg), `local="3"`) {
		t.Error("the restarted member is not shown")
	}
	again.close()
}

func TestMetricsOfRemovedPeer(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, p := openExample(t, reg, 1)
	exercise(m, p)
	p.close()
	text := scrape(t, reg)
	if strings.Contains(text, `peer="2"`) {
		t.Errorf("series of a removed peer:\n%s", text)
	}
	if !strings.Contains(text, `etcd_network_active_peers{Local="1",Remote="2"} 0`) {
		t.Error("a removed peer counts as active")
	}
	p2 := m.addPeer(2, func() int { return 0 }, true)
	p.close() // late, of the old one
	if text := scrape(t, reg); !strings.Contains(text, `raftdv_peer_wire_version{local="1",peer="2"} 0`) || strings.Contains(text, "raftdv_messages_total{") {
		t.Errorf("a peer that came back does not begin anew:\n%s", text)
	}
	p2.close()
}

func TestActivePeersAreCountedOnce(t *testing.T) {
	n, err := newEtcdNetwork(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	p := n.peer("1", "2", true)
	for _, on := range []bool{true, true, false, false, true} {
		p.setActive(on)
	}
	if got := testutil.ToFloat64(n.activePeers); got != 1 {
		t.Errorf("active: %v", got)
	}
	if got := testutil.ToFloat64(n.disconnectedPeers); got != 1 {
		t.Errorf("disconnected: %v", got)
	}
	beside := n.peer("1", "3", false) // rafthttp counts this one
	beside.setActive(true)
	beside.observeRTT(time.Second)
	if got := testutil.ToFloat64(n.activePeers.WithLabelValues("1", "3")); got != 0 {
		t.Errorf("a peer that rafthttp counts is counted twice: %v", got)
	}
}

func TestRTTIsSampledBySeconds(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, _ := openExample(t, reg, 1)
	start := time.Unix(1000, 0)
	for i := range 30 { // three seconds of calls
		m.sample(start.Add(time.Duration(i) * 100 * time.Millisecond))
	}
	if text := scrape(t, reg); !strings.Contains(text, `raftdv_rtt_seconds_count{lane="append",local="1",path="udp",peer="2"} 3`) {
		t.Errorf("want three samples:\n%s", text)
	}
	if text := scrape(t, reg); !strings.Contains(text, `raftdv_rtt_seconds_bucket{lane="append",local="1",path="udp",peer="2",le="1e-05"} 0`) ||
		!strings.Contains(text, `raftdv_rtt_seconds_bucket{lane="append",local="1",path="udp",peer="2",le="2e-05"} 3`) {
		t.Errorf("20 µs are in the wrong bucket:\n%s", text)
	}
}

func TestMetricsAreCheapAndConcurrent(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, p := openExample(t, reg, 1)
	if n := testing.AllocsPerRun(1000, func() {
		p.sent(raftpb.MsgApp, formFrame)
		p.received(raftpb.MsgAppResp, formRow)
		p.sentBytes(300)
		p.receivedBytes(300)
	}); n > 0 {
		t.Errorf("%v allocations for a message", n)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 50 {
				exercise(m, p)
				if i == 0 {
					m.addPeer(fabric.MemberID(5), func() int { return 1 }, false).close()
				}
			}
		})
	}
	for range 20 {
		if _, err := reg.Gather(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if got := p.drops[fabric.LaneAppend][DropTimeout].Load(); got != 200 {
		t.Errorf("%d drops were counted, want 200", got)
	}
}

func TestFallbackReasonsAreBounded(t *testing.T) {
	_, p := openExample(t, prometheus.NewRegistry(), 1)
	for i := range 10 * maxFallbackReasons {
		p.fallback(fmt.Sprint(i))
	}
	if len(p.fallbacks) > maxFallbackReasons+1 || p.fallbacks["other"] != 9*maxFallbackReasons {
		t.Errorf("%d reasons, %d other", len(p.fallbacks), p.fallbacks["other"])
	}
}

// What a peer can say must not break a counter.
func TestMetricsOfLyingPeers(t *testing.T) {
	reg := prometheus.NewRegistry()
	_, p := openExample(t, reg, 1)
	p.gap(fabric.Gap{Count: math.MaxUint64})
	p.gap(fabric.Gap{Count: 2})
	p.refused(200)
	p.dropped(200, errors.New("of a kind that nobody knows"))
	p.received(math.MaxInt32, formRow)
	p.received(math.MinInt32, formRow)
	if text := scrape(t, reg); !strings.Contains(text, `etcd_network_peer_received_failures_total{From="2"} 3`) {
		t.Errorf("receive failures:\n%s", text)
	}
}

func TestReasons(t *testing.T) {
	for err, want := range map[error]DropReason{
		fabric.Lost(fabric.ErrTimeout):                DropTimeout,
		fmt.Errorf("wrapped: %w", fabric.ErrNoCredit): DropNoCredit,
		fabric.ErrLinkDown:                            DropLinkDown,
		fabric.ErrTooLarge:                            DropTooLarge,
		fabric.ErrClosed:                              DropClosed,
		fabric.ErrUnknownPeer:                         DropUnknownPeer,
		errors.New("something else"):                  DropOther,
	} {
		if got := DropReasonOf(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
	for err, want := range map[error]RefuseReason{
		fmt.Errorf("x: %w", ErrBadMessage):                       RefusedMalformed,
		fmt.Errorf("x: %w", ErrMessageVersion):                   RefusedVersion,
		fmt.Errorf("x: %w", fabric.ErrVersion):                   RefusedVersion,
		fmt.Errorf("x: %w", ErrIdentity):                         RefusedSender,
		fmt.Errorf("x: %w", refused(1, RefusedSender, "reason")): RefusedSender,
	} {
		if got := RefuseReasonOf(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
	seen := map[string]bool{}
	for r := range dropReasons {
		seen["drop "+r.String()] = true
	}
	for r := range refuseReasons {
		seen["refuse "+r.String()] = true
	}
	if len(seen) != int(dropReasons)+int(refuseReasons) || seen["drop "] || seen["refuse "] {
		t.Errorf("names are missing or double: %v", seen)
	}
	if got := refuseReasons.String(); !strings.HasPrefix(got, "reason(") {
		t.Errorf("an unknown reason is called %q", got)
	}
	for i := range messageTypes - 1 {
		if name := typeName(i); !strings.HasPrefix(name, "Msg") {
			t.Errorf("type %d is called %q", i, name)
		}
	}
	if _, ok := raftpb.MessageType_name[int32(messageTypes-1)]; ok {
		t.Error("raft has more types than the metrics")
	}
}

func BenchmarkCountMessage(b *testing.B) {
	links := exampleLinks()
	m, err := newMetrics(prometheus.NewRegistry(), 1, func(visit func(string, fabric.StatsReporter)) { visit("udp", links) }, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	p := m.addPeer(2, func() int { return 1 }, true)
	b.ReportAllocs()
	for b.Loop() {
		p.sent(raftpb.MsgApp, formFrame)
		p.sentBytes(300)
	}
}
