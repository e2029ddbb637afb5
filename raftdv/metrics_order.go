package raftdv

import (
	"github.com/prometheus/client_golang/prometheus"
)

func describeOrder(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, "order", name), help, append([]string{"local"}, labels...), nil)
}

func describeRelay(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, "relay", name), help, append([]string{"local"}, labels...), nil)
}

var (
	descOrderView      = describeOrder("view", "Number of the newest view that is known, 0 before the first.")
	descOrderMembers   = describeOrder("view_members", "Members of that view.")
	descOrderMember    = describeOrder("member", "1 while this member belongs to that view.")
	descOrderChanging  = describeOrder("changing", "1 while the next view is being made.")
	descOrderViews     = describeOrder("views_total", "Views that were installed here.")
	descOrderLeft      = describeOrder("left_total", "Times that this member was left out of a view, and had to begin anew.")
	descOrderSent      = describeOrder("sent_total", "Agreed frames of this member.")
	descOrderDelivered = describeOrder("delivered_total", "Agreed frames that were delivered here.")
	descOrderNotSent   = describeOrder("not_sent_total", "Messages that did not go in the agreed order, by reason.", "reason")
	descOrderFaults    = describeOrder("faults_total", "Frames and rows of peers that broke the rules of views and of the order.")
	descOrderAhead     = describeOrder("ahead_total", "Stamps of peers that were too far ahead of this member's clock.")

	descRelayOpen   = describeRelay("connections", "Connections that this member keeps for others now.")
	descRelayMade   = describeRelay("connections_total", "Connections that this member made for others.")
	descRelayBytes  = describeRelay("bytes_total", "Bytes passed on by relayed connections that have ended.")
	descRelayLinked = describeRelay("linked", "1 while this member and the peer hear each other without a relay.", "peer")
	descRelayUsed   = describeRelay("used", "1 while messages to the peer take a relay.", "peer")

	orderDescs = []*prometheus.Desc{
		descOrderView, descOrderMembers, descOrderMember, descOrderChanging, descOrderViews, descOrderLeft, descOrderSent, descOrderDelivered,
		descOrderNotSent, descOrderFaults, descOrderAhead, descRelayOpen, descRelayMade, descRelayBytes, descRelayLinked, descRelayUsed,
	}
)

// orderFigures are for the metrics.
type orderFigures struct {
	order  OrderState
	relays RelayState
	peers  []peerFigures
}

type peerFigures struct {
	peer            string
	linked, relayed bool
}

// figures are what the metrics show.
func (o *ordering) figures() (f orderFigures) {
	var s State
	o.describe(&s)
	f.order, f.relays = *s.Order, RelayState{o.t.relays.count(), o.t.relays.opened.Load(), o.t.relays.bytes.Load()}
	for _, p := range o.t.sortedPeers() {
		f.peers = append(f.peers, peerFigures{p.id.String(), o.linkedWith(p.member), p.pathName() == FabricRelay})
	}
	return f
}

func (m *transportMetrics) collectOrder(ch chan<- prometheus.Metric) {
	if m.order == nil {
		return
	}
	f := m.order()
	emit := func(d *prometheus.Desc, typ prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, typ, v, append([]string{m.local}, labels...)...)
	}
	for _, g := range []struct {
		desc *prometheus.Desc
		v    float64
	}{
		{descOrderView, float64(f.order.View)}, {descOrderMembers, float64(len(f.order.Members))}, {descOrderMember, bit(f.order.Member)},
		{descOrderChanging, bit(f.order.Changing)}, {descRelayOpen, float64(f.relays.Open)},
	} {
		emit(g.desc, prometheus.GaugeValue, g.v)
	}
	for _, c := range []struct {
		desc *prometheus.Desc
		n    uint64
	}{
		{descOrderViews, f.order.Views}, {descOrderLeft, f.order.Left}, {descOrderSent, f.order.Sent}, {descOrderDelivered, f.order.Delivered},
		{descOrderFaults, f.order.Faults}, {descOrderAhead, f.order.Ahead}, {descRelayMade, f.relays.Made}, {descRelayBytes, f.relays.Bytes},
	} {
		emit(c.desc, prometheus.CounterValue, float64(c.n))
	}
	for reason, n := range f.order.NotSent {
		emit(descOrderNotSent, prometheus.CounterValue, float64(n), reason)
	}
	for _, p := range f.peers {
		emit(descRelayLinked, prometheus.GaugeValue, bit(p.linked), p.peer)
		emit(descRelayUsed, prometheus.GaugeValue, bit(p.relayed), p.peer)
	}
}
