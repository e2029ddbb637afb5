package raftdv

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"go.etcd.io/raft/v3/raftpb"
)

// What running transports show where etcd shows its metrics, and that nothing
// is left when they have stopped.
func TestMetricsOfTransports(t *testing.T) {
	o := nodeOptions{config: Config{Fabrics: []string{FabricStream}}}
	var a, b *node
	t.Run("running", func(t *testing.T) {
		nodes := startNodes(t, o, o)
		a, b = nodes[0], nodes[1]
		onPath(t, FabricStream, a, b)
		a.tr.Send([]*raftpb.Message{appendMsg(a.id, b.id, 7, "data")})
		b.tr.Send([]*raftpb.Message{accept(uint64(b.id), uint64(a.id), 5, 7)})
		for _, n := range nodes {
			n.raft.wait(t, "a message arrives", func() bool { return len(n.raft.got) > 0 })
		}
		for _, want := range []string{
			`raftdv_path{local="1",path="stream",peer="2"} 1`,
			`raftdv_path{local="1",path="rafthttp",peer="2"} 0`,
			`raftdv_peer_wire_version{local="1",peer="2"} 1`,
			`raftdv_messages_total{direction="sent",form="frame",local="1",peer="2",type="MsgApp"} 1`,
			`raftdv_messages_total{direction="received",form="frame",local="2",peer="1",type="MsgApp"} 1`,
			`raftdv_messages_total{direction="sent",form="row",local="2",peer="1",type="MsgAppResp"} 1`,
			`raftdv_messages_total{direction="received",form="row",local="1",peer="2",type="MsgAppResp"} 1`,
			`raftdv_frames_total{direction="received",lane="append",local="2",path="stream",peer="1"} 1`,
			`raftdv_link_up{local="1",path="stream",peer="2"} 1`,
			`raftdv_tickets_total{lane="append",local="1",outcome="acked",path="stream",peer="2"} 1`,
		} {
			eventually(t, want, func() bool { return strings.Contains(scrape(t, prometheus.DefaultGatherer), want) })
		}
		a.dv.metrics.sample(time.Now().Add(time.Hour))
		if want := fmt.Sprintf(`raftdv_rtt_seconds_count{lane="append",local="%s",path="stream",peer="%s"}`, a.id, b.id); !strings.Contains(scrape(t, prometheus.DefaultGatherer), want) {
			t.Errorf("no round-trip time was sampled: %s", want)
		}
		a.tr.RemovePeer(b.id)
		peers := map[string]bool{} // members with series of a peer
		for line := range strings.Lines(scrape(t, prometheus.DefaultGatherer)) {
			for _, local := range []string{`local="1"`, `local="2"`} {
				peers[local] = peers[local] || strings.Contains(line, local) && strings.Contains(line, `peer="`)
			}
		}
		if peers[`local="1"`] || !peers[`local="2"`] {
			t.Errorf("removing a peer removes its series, and no others: %v", peers)
		}
	})
	if text := scrape(t, prometheus.DefaultGatherer); strings.Contains(text, "raftdv_path{") {
		t.Error("series are left of transports that have stopped")
	}
}
