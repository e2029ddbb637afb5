package raftdv

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/raftdv/dv/fabric"
)

func TestOrderMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	order := func() orderFigures {
		return orderFigures{
			order: OrderState{View: 7, Members: []string{"1", "2"}, Member: true, Views: 9, Left: 2, Sent: 11, Delivered: 30,
				NotSent: map[string]uint64{"no-view": 3}, Faults: 4, Ahead: 5},
			relays: RelayState{Open: 1, Made: 6, Bytes: 100},
			peers:  []peerFigures{{"2", true, false}, {"3", false, true}},
		}
	}
	m, err := newMetrics(reg, 1, func(func(string, fabric.StatsReporter)) {}, nil, order)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	text := scrape(t, reg)
	for _, want := range []string{
		`raftdv_order_view{local="1"} 7`, `raftdv_order_view_members{local="1"} 2`, `raftdv_order_member{local="1"} 1`,
		`raftdv_order_changing{local="1"} 0`, `raftdv_order_views_total{local="1"} 9`, `raftdv_order_left_total{local="1"} 2`,
		`raftdv_order_sent_total{local="1"} 11`, `raftdv_order_delivered_total{local="1"} 30`,
		`raftdv_order_not_sent_total{local="1",reason="no-view"} 3`, `raftdv_order_faults_total{local="1"} 4`, `raftdv_order_ahead_total{local="1"} 5`,
		`raftdv_relay_connections{local="1"} 1`, `raftdv_relay_connections_total{local="1"} 6`, `raftdv_relay_bytes_total{local="1"} 100`,
		`raftdv_relay_linked{local="1",peer="2"} 1`, `raftdv_relay_linked{local="1",peer="3"} 0`, `raftdv_relay_used{local="1",peer="3"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
}
