package raftdv

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/raftdv/dv/raftdv/election"
)

func describeElection(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, "election", name), help, append([]string{"local"}, labels...), nil)
}

var (
	descElectionMode      = describeElection("mode", "1 for the mode in force of this member's arbiter, 0 for the others.", "mode")
	descElectionTerm      = describeElection("term", "Highest term that is known.")
	descElectionOn        = describeElection("running", "1 while a majority suspects the leader and nobody leads yet.")
	descElectionHeld      = describeElection("held_messages", "Messages that are kept from raft now.")
	descElectionEvents    = describeElection("events_total", "What the arbiter of this member saw and did, by reason where there is one.", "event", "reason")
	descElectionNominees  = describeElection("endorsements_total", "Endorsements that this member gave, by nominee.", "nominee")
	descElectionSuspected = describeElection("suspected", "1 while this member suspects the peer.", "peer")
	descSuspectAfter      = describeElection("suspect_after_seconds", "Silence of the peer after which it is suspected, as adapted to the pauses that were observed.", "peer")

	electionDescs = []*prometheus.Desc{
		descElectionMode, descElectionTerm, descElectionOn, descElectionHeld, descElectionEvents, descElectionNominees,
		descElectionSuspected, descSuspectAfter,
	}
)

// electionHistograms observe the elections that members saw from start to end.
type electionHistograms struct{ rounds, took, detection *prometheus.HistogramVec }

func newElectionHistograms() electionHistograms {
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: metricsNamespace, Subsystem: "election", Name: name, Help: help, Buckets: buckets,
		}, []string{"local"})
	}
	times := prometheus.ExponentialBuckets(1e-3, 2, 14) // to 8.2 s
	return electionHistograms{
		histogram("rounds", "Campaigns in an election.", []float64{1, 2, 3, 4, 5, 8, 16}),
		histogram("duration_seconds", "From the suspicion of a majority to a leader.", times),
		histogram("detection_seconds", "From the last sign of a leader to the suspicion of a majority.", times),
	}
}

func (h electionHistograms) all() []*prometheus.HistogramVec {
	return []*prometheus.HistogramVec{h.rounds, h.took, h.detection}
}

func (h electionHistograms) describe(ch chan<- *prometheus.Desc) {
	for _, v := range h.all() {
		v.Describe(ch)
	}
}

func (h electionHistograms) collect(ch chan<- prometheus.Metric) {
	for _, v := range h.all() {
		v.Collect(ch)
	}
}

// forget ends a member's series.
func (h electionHistograms) forget(local string) {
	for _, v := range h.all() {
		v.DeleteLabelValues(local)
	}
}

// election observes one that has ended.
func (m *transportMetrics) election(l *LastElection) {
	h := m.collector.elections
	h.rounds.WithLabelValues(m.local).Observe(float64(l.Rounds))
	h.took.WithLabelValues(m.local).Observe(l.Took / 1000)
	h.detection.WithLabelValues(m.local).Observe(l.Detection / 1000)
}

var electionModes = []election.Mode{election.Off, election.Observe, election.On}

func (m *transportMetrics) collectElections(ch chan<- prometheus.Metric) {
	if m.elections == nil {
		return
	}
	f, ok := m.elections()
	if !ok {
		return
	}
	emit := func(d *prometheus.Desc, typ prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, typ, v, append([]string{m.local}, labels...)...)
	}
	for _, mode := range electionModes {
		emit(descElectionMode, prometheus.GaugeValue, bit(mode == f.state.Mode), mode.String())
	}
	emit(descElectionTerm, prometheus.GaugeValue, float64(f.state.Term))
	emit(descElectionOn, prometheus.GaugeValue, bit(f.state.Electing))
	emit(descElectionHeld, prometheus.GaugeValue, float64(f.state.Held))
	for _, c := range f.counts {
		emit(descElectionEvents, prometheus.CounterValue, float64(f.number[c]), c.kind.String(), c.reason)
	}
	for id, n := range f.nominees {
		emit(descElectionNominees, prometheus.CounterValue, float64(n), id.String())
	}
	for _, p := range f.state.Peers {
		emit(descElectionSuspected, prometheus.GaugeValue, bit(p.Suspected), p.ID.String())
		emit(descSuspectAfter, prometheus.GaugeValue, p.SuspectAfter.Seconds(), p.ID.String())
	}
}
