package raftdv

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// BenchmarkViews is what views cost: a member sends 64 entries of 256 bytes to each of two
// others, again and again, without views and in one. cpu-ns is what all three use for
// each delivery.
func BenchmarkViews(b *testing.B) {
	for _, views := range []string{"off", "on"} {
		b.Run(views, func(b *testing.B) {
			members := election.Members{Voters: []fabric.MemberID{1, 2, 3}, Epoch: 1}
			options := make([]nodeOptions, 3)
			for i := range options {
				c := Config{Fabrics: []string{FabricUDP}, Members: func() election.Members { return members }}
				if views == "on" {
					c.ViewFile = filepath.Join(b.TempDir(), "view")
				}
				options[i].config = c
			}
			nodes := startNodes(b, options...)
			onPath(b, FabricUDP, nodes...)
			for _, n := range nodes {
				eventually(b, "a view of three", func() bool {
					s := n.dv.State().Order
					return views == "off" || s.Member && !s.Changing && len(s.Members) == 3
				})
			}
			benchmarkBursts(b, nodes)
		})
	}
}

func benchmarkBursts(b *testing.B, nodes []*node) {
	const burst = 64
	from, data, index := nodes[0], strings.Repeat("x", 256), uint64(0)
	begun := cpuTime(b)
	for b.Loop() {
		var all []*raftpb.Message
		for range burst {
			index++
			for _, to := range nodes[1:] {
				all = append(all, appendMsg(from.id, to.id, index, data))
			}
		}
		from.tr.Send(all)
		for _, to := range nodes[1:] {
			to.raft.wait(b, "a burst", func() bool { return len(to.raft.got) >= burst })
			to.raft.update(func() { to.raft.got = to.raft.got[:0] })
		}
	}
	b.ReportMetric(float64(cpuTime(b)-begun)/float64(b.N*burst*(len(nodes)-1)), "cpu-ns/delivery")
}

// cpuTime is what this process has used, in ns.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
