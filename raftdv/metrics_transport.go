package raftdv

import (
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/raftdv/dv/fabric"
)

// newTransportMetrics takes part in the process's metrics, where etcd shows
// its own.
func newTransportMetrics(t *Transport) *transportMetrics {
	m, err := newMetrics(prometheus.DefaultRegisterer, t.member(), t.visitStats, t.elections.figures, t.ordering.figures)
	if err != nil {
		t.lg.Warn("some metrics will not be shown", zap.Error(err))
	}
	return m
}

// visitStats is a linkSource: peers are added after Start, when the roads do
// not change any more.
func (t *Transport) visitStats(visit func(path string, stats fabric.StatsReporter)) {
	for _, r := range t.roads {
		if stats, ok := r.port.(fabric.StatsReporter); ok {
			visit(r.name, stats)
		}
	}
}

// peer begins the metrics of a peer.
func (m *transportMetrics) peer(p *peer) *peerMetrics {
	return m.addPeer(p.member, func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.wire
	}, p.t.cfg.Require)
}
