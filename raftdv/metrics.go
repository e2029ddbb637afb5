package raftdv

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// messageForm says how a message travels.
type messageForm uint8

const (
	formRow messageForm = iota
	formFrame
	formRafthttp
	formAgreed
	messageForms
)

var formNames = [messageForms]string{"row", "frame", roadRafthttp, "agreed"}

const (
	sending = iota
	receiving
	directions
)

var directionNames = [directions]string{"sent", "received"}

// messageTypes is the number of raft's message types, and one for those that
// this version does not know.
const messageTypes = int(raftpb.MsgForgetLeader) + 2

func typeIndex(t raftpb.MessageType) int {
	if t < 0 || int(t) >= messageTypes-1 {
		return messageTypes - 1
	}
	return int(t)
}

func typeName(i int) string {
	if i == messageTypes-1 {
		return "other"
	}
	return raftpb.MessageType(i).String()
}

// transportMetrics is one transport's part of the metrics. Peers' counters are
// plain atomics that the collector reads when it is asked; nothing is looked up
// for a message, and a removed peer's series end with it.
type transportMetrics struct {
	local     string
	etcd      *etcdNetwork
	collector *metricsCollector
	links     linkSource
	elections func() (electionFigures, bool) // nil: there is nothing to tell
	order     func() orderFigures            // likewise
	sampled   instant                        // when RTTs were observed last

	mu    sync.Mutex // guards the map
	peers map[fabric.MemberID]*peerMetrics
}

// linkSource calls visit for each fabric that counts. It is called only while
// there are peers.
type linkSource func(visit func(path string, stats fabric.StatsReporter))

// newMetrics takes part in the metrics of reg. After an error everything
// counts, and reg does not show what the error names.
// elections and order may be nil.
func newMetrics(reg prometheus.Registerer, local fabric.MemberID, links linkSource, elections func() (electionFigures, bool), order func() orderFigures) (*transportMetrics, error) {
	etcd, err := newEtcdNetwork(reg)
	collector, err2 := registerOrReuse(reg, newMetricsCollector())
	m := &transportMetrics{
		local: local.String(), etcd: etcd, collector: collector, links: links, elections: elections, order: order,
		peers: map[fabric.MemberID]*peerMetrics{},
	}
	collector.add(m)
	return m, errors.Join(err, err2)
}

// close ends the series of this transport.
func (m *transportMetrics) close() {
	if last := m.collector.remove(m); last {
		m.collector.elections.forget(m.local)
	}
	for _, p := range m.snapshot() {
		p.close()
	}
}

func (m *transportMetrics) snapshot() []*peerMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.peers), func(a, b *peerMetrics) int { return cmp.Compare(a.id, b.id) })
}

// rttSampleEvery is how often round-trip times enter the histograms.
const rttSampleEvery = time.Second

// sample observes the links' round-trip times, at most every rttSampleEvery
// however often it is called.
func (m *transportMetrics) sample(now time.Time) {
	if !m.sampled.every(now, rttSampleEvery) {
		return
	}
	m.visitLinks(func(p *peerMetrics, path string, l *fabric.LinkStats) {
		for lane := range fabric.Lane(fabric.Lanes) {
			if rtt := l.Lane[lane].RTT; rtt > 0 {
				m.collector.rtt.WithLabelValues(m.local, p.peer, path, lane.String()).Observe(rtt.Seconds())
			}
		}
		if l.Up && l.RTT > 0 {
			p.etcd.observeRTT(l.RTT)
		}
	})
}

func (m *transportMetrics) visitLinks(visit func(p *peerMetrics, path string, l *fabric.LinkStats)) {
	peers := map[fabric.MemberID]*peerMetrics{}
	for _, p := range m.snapshot() {
		peers[p.id] = p
	}
	if len(peers) == 0 {
		return
	}
	m.links(func(path string, r fabric.StatsReporter) {
		stats := r.Stats(nil)
		for i := range stats {
			if p := peers[stats[i].Peer]; p != nil {
				visit(p, path, &stats[i])
			}
		}
	})
}

// peerMetrics counts for one peer. All methods may be called concurrently.
type peerMetrics struct {
	t    *transportMetrics
	id   fabric.MemberID
	peer string
	wire func() int
	etcd *etcdPeer

	messages    [directions][messageForms][messageTypes]atomic.Uint64
	drops       [fabric.Lanes][dropReasons]atomic.Uint64
	refusals    [refuseReasons]atomic.Uint64
	gaps        atomic.Uint64
	pathInUse   atomic.Pointer[string]
	fallbacksMu sync.Mutex
	fallbacks   map[string]uint64
}

// addPeer begins the series of a peer, anew if there were some. wire tells the
// wire version that is spoken with it, 0 if none is. alone: no rafthttp counts
// for this peer.
func (m *transportMetrics) addPeer(id fabric.MemberID, wire func() int, alone bool) *peerMetrics {
	p := &peerMetrics{t: m, id: id, peer: id.String(), wire: wire, fallbacks: map[string]uint64{}}
	p.etcd = m.etcd.peer(m.local, p.peer, alone)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peers[id] = p
	return p
}

// close ends the peer's raftdv series.
func (p *peerMetrics) close() {
	p.etcd.setActive(false)
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if p.t.peers[p.id] == p {
		delete(p.t.peers, p.id)
		p.t.collector.rtt.DeletePartialMatch(prometheus.Labels{"local": p.t.local, "peer": p.peer})
	}
}

func (p *peerMetrics) sent(t raftpb.MessageType, f messageForm) {
	p.messages[sending][f][typeIndex(t)].Add(1)
}

func (p *peerMetrics) received(t raftpb.MessageType, f messageForm) {
	p.messages[receiving][f][typeIndex(t)].Add(1)
}

func (p *peerMetrics) sentBytes(n int)     { p.etcd.sentBytes.Add(float64(n)) }
func (p *peerMetrics) receivedBytes(n int) { p.etcd.receivedBytes.Add(float64(n)) }

// dropped counts a frame that a port refused or lost.
func (p *peerMetrics) dropped(lane fabric.Lane, err error) {
	p.drops[min(lane, fabric.Lanes-1)][DropReasonOf(err)].Add(1)
}

// sendFailed counts a message that did not get out. An alert of etcd's
// (etcdMembersDown) fires on it: real losses only.
func (p *peerMetrics) sendFailed() { p.etcd.sentFailures.Inc() }

// refused counts what arrived and was not used.
func (p *peerMetrics) refused(r RefuseReason) {
	p.refusals[min(r, refuseReasons-1)].Add(1)
	p.etcd.recvFailures.Inc()
}

// gap counts an announcement of lost frames. How many frames is in the link's
// statistics: here it would be the peer's word.
func (p *peerMetrics) gap(fabric.Gap) {
	p.gaps.Add(1)
	p.etcd.recvFailures.Inc()
}

// path says which road messages to the peer take.
func (p *peerMetrics) path(name string) { p.pathInUse.Store(&name) }

// maxFallbackReasons bounds the label; reasons are constants of this package.
const maxFallbackReasons = 32

// fallback counts a change to a worse road.
func (p *peerMetrics) fallback(reason string) {
	p.fallbacksMu.Lock()
	defer p.fallbacksMu.Unlock()
	if _, ok := p.fallbacks[reason]; !ok && len(p.fallbacks) >= maxFallbackReasons {
		reason = "other"
	}
	p.fallbacks[reason]++
}

// active counts the peer among etcd_network_active_peers, where no rafthttp
// does.
func (p *peerMetrics) active(on bool) { p.etcd.setActive(on) }

// snapshotSending counts a snapshot on its way until the returned function is
// called.
func (p *peerMetrics) snapshotSending() (done func()) {
	p.etcd.snapshotSendInflights.Inc()
	return p.etcd.snapshotSendInflights.Dec
}

// snapshotReceiving is snapshotSending for the other direction.
func (p *peerMetrics) snapshotReceiving() (done func()) {
	p.etcd.snapshotRecvInflights.Inc()
	return p.etcd.snapshotRecvInflights.Dec
}

// snapshotSent counts a snapshot that arrived, with its bytes.
func (p *peerMetrics) snapshotSent(bytes uint64, took time.Duration) {
	p.etcd.snapshotSend.Inc()
	p.etcd.snapshotSendSeconds.Observe(took.Seconds())
	p.etcd.sentBytes.Add(float64(bytes))
}

func (p *peerMetrics) snapshotSendFailed() {
	p.etcd.snapshotSendFails.Inc()
	p.etcd.sentFailures.Inc()
}

// snapshotReceived counts a snapshot that was saved. Its bytes were counted as
// they came.
func (p *peerMetrics) snapshotReceived(_ uint64, took time.Duration) {
	p.etcd.snapshotRecv.Inc()
	p.etcd.snapshotRecvSeconds.Observe(took.Seconds())
}

func (p *peerMetrics) snapshotReceiveFailed() { p.etcd.snapshotRecvFails.Inc() }
