package raftdv

import (
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raftdv/dv/fabric"
)

// metricsCollector shows the raftdv series of all transports of a process. A
// process may run several members (etcd's integration tests do), so every
// series says whose it is.
type metricsCollector struct {
	rtt       *prometheus.HistogramVec
	elections electionHistograms

	mu         sync.Mutex // guards the list
	transports []*transportMetrics
}

const metricsNamespace = "raftdv"

// modulePath finds this module's version in a binary's build information.
const modulePath = "github.com/raftdv/dv"

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, "", name), help, append([]string{"local", "peer"}, labels...), nil)
}

var (
	descBuild = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, "", "build_info"),
		"Always 1; version of raftdv and the range of wire versions that it speaks.", []string{"version", "revision", "wire_min", "wire_max"}, nil)

	descPath      = describe("path", "1 for the road that messages to the peer take now, 0 for the others.", "path")
	descWire      = describe("peer_wire_version", "Wire version spoken with the peer, 0 while none was agreed.")
	descFallbacks = describe("fallbacks_total", "Changes to a worse road, and messages that had to take one.", "reason")
	descMessages  = describe("messages_total", "Raft messages, by the form in which they travelled.", "direction", "form", "type")
	descRowAcks   = describe("row_acks_total", "Acks put into the row (sent) and messages made of the peer's row (received); fewer are received than sent where rows coalesce.", "direction")
	descDropped   = describe("dropped_total", "Frames that a fabric did not take, or lost.", "lane", "reason")
	descRefused   = describe("refused_total", "Messages, rows and connections of the peer that were not used.", "reason")
	descGapEvents = describe("gaps_total", "Times that frames of the peer were reported as lost on the way here.")

	descUp        = describe("link_up", "1 if the fabric reaches the peer.", "path")
	descLinkRTT   = describe("link_rtt_seconds", "Smoothed round-trip time of the link, measured in band.", "path")
	descBytes     = describe("wire_bytes_total", "Bytes on the wire.", "path", "direction")
	descDatagrams = describe("wire_datagrams_total", "Datagrams on the wire, where there are such.", "path", "direction")
	descResent    = describe("retransmissions_total", "Wire units sent again.", "path")
	descRejected  = describe("wire_refused_total", "Wire units dropped on receipt: bad seal, replay, unknown format.", "path")
	descRows      = describe("rows_total", "Versions of rows.", "path", "direction")

	descFrames      = describe("frames_total", "Frames sent and delivered.", "path", "lane", "direction")
	descTickets     = describe("tickets_total", "Frames whose fate is known: acked by the peer's fabric, or lost.", "path", "lane", "outcome")
	descNoCredit    = describe("no_credit_total", "Frames that the link refused for want of credit.", "path", "lane")
	descQueueFrames = describe("queue_frames", "Frames taken and not yet acked.", "path", "lane")
	descQueueBytes  = describe("queue_bytes", "Bytes taken and not yet acked.", "path", "lane")
	descCredit      = describe("credit_bytes", "Bytes that may still be sent.", "path", "lane")
	descLaneRTT     = describe("rtt_smoothed_seconds", "Smoothed time from a frame to its ack.", "path", "lane")
	descGapFrames   = describe("gap_frames_total", "Frames that were reported as lost on the way here.", "path", "lane")

	collectedDescs = []*prometheus.Desc{
		descBuild, descPath, descWire, descFallbacks, descMessages, descRowAcks, descDropped, descRefused, descGapEvents,
		descUp, descLinkRTT, descBytes, descDatagrams, descResent, descRejected, descRows,
		descFrames, descTickets, descNoCredit, descQueueFrames, descQueueBytes, descCredit, descLaneRTT, descGapFrames,
	}
)

func newMetricsCollector() *metricsCollector {
	return &metricsCollector{elections: newElectionHistograms(), rtt: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Name: "rtt_seconds",
		Help:    "Time from a frame to its ack by the peer's fabric: the smoothed value, observed once a second.",
		Buckets: prometheus.ExponentialBuckets(5e-6, 2, 20), // to 2.6 s
	}, []string{"local", "peer", "path", "lane"})}
}

func (c *metricsCollector) add(m *transportMetrics) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transports = append(c.transports, m)
}

// remove reports whether m was the last one of its member.
func (c *metricsCollector) remove(m *transportMetrics) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transports = slices.DeleteFunc(c.transports, func(x *transportMetrics) bool { return x == m })
	return !slices.ContainsFunc(c.transports, func(x *transportMetrics) bool { return x.local == m.local })
}

// Describe implements prometheus.Collector.
func (c *metricsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range collectedDescs {
		ch <- d
	}
	for _, d := range slices.Concat(electionDescs, orderDescs) {
		ch <- d
	}
	c.elections.describe(ch)
	c.rtt.Describe(ch)
}

// Collect implements prometheus.Collector. It holds no lock while it asks
// transports and ports.
func (c *metricsCollector) Collect(ch chan<- prometheus.Metric) {
	c.rtt.Collect(ch)
	c.elections.collect(ch)
	version, revision := buildVersion()
	ch <- prometheus.MustNewConstMetric(descBuild, prometheus.GaugeValue, 1, version, revision, strconv.Itoa(wireMin), strconv.Itoa(wireMax))
	c.mu.Lock()
	transports := slices.Clone(c.transports)
	c.mu.Unlock()
	seen := map[string]bool{}
	for _, m := range transports {
		if seen[m.local] { // one series, one value: two members with one id are a mistake elsewhere
			continue
		}
		seen[m.local] = true
		m.collectElections(ch)
		m.collectOrder(ch)
		for _, p := range m.snapshot() {
			p.collect(emitter{ch, m.local, p.peer})
		}
		m.visitLinks(func(p *peerMetrics, path string, l *fabric.LinkStats) {
			collectLink(emitter{ch, m.local, p.peer}, path, l)
		})
	}
}

var buildVersion = sync.OnceValues(func() (version, revision string) {
	version, revision = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, revision
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path == modulePath && m.Version != "" {
			version = m.Version
		}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Path == modulePath {
			revision = s.Value
		}
	}
	return version, revision
})

// emitter sends one peer's metrics.
type emitter struct {
	ch          chan<- prometheus.Metric
	local, peer string
}

func (e emitter) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{e.local, e.peer}, labels...)...)
}

func (e emitter) counter(d *prometheus.Desc, v uint64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{e.local, e.peer}, labels...)...)
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (p *peerMetrics) collect(e emitter) {
	p.collectPath(e)
	e.gauge(descWire, float64(p.wire()))
	p.fallbacksMu.Lock()
	fallbacks := maps.Clone(p.fallbacks)
	p.fallbacksMu.Unlock()
	for reason, n := range fallbacks {
		e.counter(descFallbacks, n, reason)
	}
	p.collectMessages(e)
	for lane := range p.drops {
		for reason := range p.drops[lane] {
			e.counter(descDropped, p.drops[lane][reason].Load(), fabric.Lane(lane).String(), DropReason(reason).String())
		}
	}
	for reason := range p.refusals {
		e.counter(descRefused, p.refusals[reason].Load(), RefuseReason(reason).String())
	}
	e.counter(descGapEvents, p.gaps.Load())
}

func (p *peerMetrics) collectPath(e emitter) {
	inUse := pathNoneName
	if name := p.pathInUse.Load(); name != nil {
		inUse = *name
	}
	roads := append(slices.Clone(knownFabrics), roadRafthttp, pathNoneName)
	if !slices.Contains(roads, inUse) {
		roads = append(roads, inUse)
	}
	for _, road := range roads {
		e.gauge(descPath, bit(road == inUse), road)
	}
}

// pathNoneName: no road to the peer, and rafthttp is not allowed.
const pathNoneName = "none"

// collectMessages leaves out what never happened: most of the combinations
// never do.
func (p *peerMetrics) collectMessages(e emitter) {
	for d := range p.messages {
		rows := uint64(0)
		for f := range p.messages[d] {
			for t := range p.messages[d][f] {
				n := p.messages[d][f][t].Load()
				if n == 0 {
					continue
				}
				e.counter(descMessages, n, directionNames[d], formNames[f], typeName(t))
				if messageForm(f) == formRow {
					rows += n
				}
			}
		}
		e.counter(descRowAcks, rows, directionNames[d])
	}
}

func collectLink(e emitter, path string, l *fabric.LinkStats) {
	e.gauge(descUp, bit(l.Up), path)
	e.gauge(descLinkRTT, l.RTT.Seconds(), path)
	e.counter(descBytes, l.BytesSent, path, directionNames[sending])
	e.counter(descBytes, l.BytesReceived, path, directionNames[receiving])
	e.counter(descDatagrams, l.DatagramsSent, path, directionNames[sending])
	e.counter(descDatagrams, l.DatagramsReceived, path, directionNames[receiving])
	e.counter(descResent, l.Retransmissions, path)
	e.counter(descRejected, l.Refused, path)
	e.counter(descRows, l.RowsSent, path, directionNames[sending])
	e.counter(descRows, l.RowsReceived, path, directionNames[receiving])
	for lane := range fabric.Lane(fabric.Lanes) {
		collectLane(e, path, lane.String(), &l.Lane[lane])
	}
}

func collectLane(e emitter, path, lane string, l *fabric.LaneStats) {
	e.counter(descFrames, l.Sent, path, lane, directionNames[sending])
	e.counter(descFrames, l.Delivered, path, lane, directionNames[receiving])
	e.counter(descTickets, l.Acked, path, lane, "acked")
	e.counter(descTickets, l.Lost, path, lane, "lost")
	e.counter(descNoCredit, l.NoCredit, path, lane)
	e.gauge(descQueueFrames, float64(l.Queued), path, lane)
	e.gauge(descQueueBytes, float64(l.QueuedBytes), path, lane)
	e.gauge(descCredit, float64(l.CreditBytes), path, lane)
	e.gauge(descLaneRTT, l.RTT.Seconds(), path, lane)
	e.counter(descGapFrames, l.Gaps, path, lane)
}
