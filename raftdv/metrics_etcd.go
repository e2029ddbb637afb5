package raftdv

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// etcdNetwork is rafthttp's 15 series, under which etcd's dashboards and
// alerts know peer traffic. rafthttp registers them when it is linked in; the
// same name, labels and help registered again give its own collectors, so that
// its traffic and ours add up. As with rafthttp, a removed peer's series stay.
type etcdNetwork struct {
	activePeers           *prometheus.GaugeVec
	disconnectedPeers     *prometheus.CounterVec
	sentBytes             *prometheus.CounterVec
	receivedBytes         *prometheus.CounterVec
	sentFailures          *prometheus.CounterVec
	recvFailures          *prometheus.CounterVec
	snapshotSend          *prometheus.CounterVec
	snapshotSendInflights *prometheus.GaugeVec
	snapshotSendFails     *prometheus.CounterVec
	snapshotSendSeconds   *prometheus.HistogramVec
	snapshotRecv          *prometheus.CounterVec
	snapshotRecvInflights *prometheus.GaugeVec
	snapshotRecvFails     *prometheus.CounterVec
	snapshotRecvSeconds   *prometheus.HistogramVec
	rtt                   *prometheus.HistogramVec
}

// newEtcdNetwork returns the series as reg has them, or registers them. After
// an error they still count, and reg does not show those that the error names.
func newEtcdNetwork(reg prometheus.Registerer) (*etcdNetwork, error) {
	r := etcdRegistry{reg: reg}
	snapshotBuckets := prometheus.ExponentialBuckets(0.1, 2, 10)
	n := &etcdNetwork{
		activePeers:           r.gauge("active_peers", "The current number of active peer connections.", "Local", "Remote"),
		disconnectedPeers:     r.counter("disconnected_peers_total", "The total number of disconnected peers.", "Local", "Remote"),
		sentBytes:             r.counter("peer_sent_bytes_total", "The total number of bytes sent to peers.", "To"),
		receivedBytes:         r.counter("peer_received_bytes_total", "The total number of bytes received from peers.", "From"),
		sentFailures:          r.counter("peer_sent_failures_total", "The total number of send failures from peers.", "To"),
		recvFailures:          r.counter("peer_received_failures_total", "The total number of receive failures from peers.", "From"),
		snapshotSend:          r.counter("snapshot_send_success", "Total number of successful snapshot sends", "To"),
		snapshotSendInflights: r.gauge("snapshot_send_inflights_total", "Total number of inflight snapshot sends", "To"),
		snapshotSendFails:     r.counter("snapshot_send_failures", "Total number of snapshot send failures", "To"),
		snapshotSendSeconds:   r.histogram("snapshot_send_total_duration_seconds", "Total latency distributions of v3 snapshot sends", snapshotBuckets, "To"),
		snapshotRecv:          r.counter("snapshot_receive_success", "Total number of successful snapshot receives", "From"),
		snapshotRecvInflights: r.gauge("snapshot_receive_inflights_total", "Total number of inflight snapshot receives", "From"),
		snapshotRecvFails:     r.counter("snapshot_receive_failures", "Total number of snapshot receive failures", "From"),
		snapshotRecvSeconds:   r.histogram("snapshot_receive_total_duration_seconds", "Total latency distributions of v3 snapshot receives", snapshotBuckets, "From"),
		rtt:                   r.histogram("peer_round_trip_time_seconds", "Round-Trip-Time histogram between peers", prometheus.ExponentialBuckets(0.0001, 2, 16), "To"),
	}
	return n, errors.Join(r.errs...)
}

const etcdNamespace, etcdSubsystem = "etcd", "network"

type etcdRegistry struct {
	reg  prometheus.Registerer
	errs []error
}

func (r *etcdRegistry) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	opts := prometheus.GaugeOpts{Namespace: etcdNamespace, Subsystem: etcdSubsystem, Name: name, Help: help}
	return reuse(r, name, prometheus.NewGaugeVec(opts, labels))
}

func (r *etcdRegistry) counter(name, help string, labels ...string) *prometheus.CounterVec {
	opts := prometheus.CounterOpts{Namespace: etcdNamespace, Subsystem: etcdSubsystem, Name: name, Help: help}
	return reuse(r, name, prometheus.NewCounterVec(opts, labels))
}

func (r *etcdRegistry) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	opts := prometheus.HistogramOpts{Namespace: etcdNamespace, Subsystem: etcdSubsystem, Name: name, Help: help, Buckets: buckets}
	return reuse(r, name, prometheus.NewHistogramVec(opts, labels))
}

func reuse[C prometheus.Collector](r *etcdRegistry, name string, c C) C {
	known, err := registerOrReuse(r.reg, c)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("metric etcd_network_%s: %w", name, err))
	}
	return known
}

// registerOrReuse returns c, or what reg has in its place if that is of the
// same kind.
func registerOrReuse[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	err := reg.Register(c)
	already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err)
	if !ok {
		return c, err
	}
	known, ok := already.ExistingCollector.(C)
	if !ok {
		return c, fmt.Errorf("it is registered as %T, want %T: the versions of etcd and raftdv do not fit", already.ExistingCollector, c)
	}
	return known, nil
}

// etcdPeer is one peer's part of the series, looked up once.
type etcdPeer struct {
	sentBytes, receivedBytes, sentFailures, recvFailures prometheus.Counter
	snapshotSend, snapshotSendFails                      prometheus.Counter
	snapshotRecv, snapshotRecvFails, disconnected        prometheus.Counter
	snapshotSendInflights, snapshotRecvInflights, active prometheus.Gauge
	snapshotSendSeconds, snapshotRecvSeconds, rtt        prometheus.Observer

	// alone: no rafthttp counts this peer's activity and round trips.
	alone    bool
	isActive atomic.Bool
}

func (n *etcdNetwork) peer(local, peer string, alone bool) *etcdPeer {
	return &etcdPeer{
		sentBytes: n.sentBytes.WithLabelValues(peer), receivedBytes: n.receivedBytes.WithLabelValues(peer),
		sentFailures: n.sentFailures.WithLabelValues(peer), recvFailures: n.recvFailures.WithLabelValues(peer),
		snapshotSend: n.snapshotSend.WithLabelValues(peer), snapshotSendFails: n.snapshotSendFails.WithLabelValues(peer),
		snapshotRecv: n.snapshotRecv.WithLabelValues(peer), snapshotRecvFails: n.snapshotRecvFails.WithLabelValues(peer),
		disconnected:          n.disconnectedPeers.WithLabelValues(local, peer),
		active:                n.activePeers.WithLabelValues(local, peer),
		snapshotSendInflights: n.snapshotSendInflights.WithLabelValues(peer), snapshotRecvInflights: n.snapshotRecvInflights.WithLabelValues(peer),
		snapshotSendSeconds: n.snapshotSendSeconds.WithLabelValues(peer), snapshotRecvSeconds: n.snapshotRecvSeconds.WithLabelValues(peer),
		rtt: n.rtt.WithLabelValues(peer), alone: alone,
	}
}

// setActive counts a peer as active, once, and a change back as a
// disconnection. It does nothing for a peer that rafthttp counts.
func (p *etcdPeer) setActive(active bool) {
	if !p.alone || p.isActive.Swap(active) == active {
		return
	}
	if active {
		p.active.Inc()
		return
	}
	p.active.Dec()
	p.disconnected.Inc()
}

func (p *etcdPeer) observeRTT(rtt time.Duration) {
	if p.alone {
		p.rtt.Observe(rtt.Seconds())
	}
}
