package raftdv

import (
	"bytes"
	"os"
	"testing"

	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
)

// BenchmarkSnapshot sends a database of 10 MiB by each road, and between stock
// transports; its receiver saves it as etcd does.
func BenchmarkSnapshot(b *testing.B) {
	for _, path := range knownFabrics {
		b.Run(path, func(b *testing.B) {
			o := nodeOptions{config: onlyFabric(b, path)}
			nodes := startNodes(b, o, o)
			onPath(b, path, nodes...)
			benchmarkSnapshot(b, nodes)
		})
	}
	b.Run("rafthttp", func(b *testing.B) {
		benchmarkSnapshot(b, startNodes(b, nodeOptions{stock: true}, nodeOptions{stock: true}))
	})
}

func benchmarkSnapshot(b *testing.B, nodes []*node) {
	db := randomDB(10 << 20)
	b.SetBytes(int64(len(db)))
	index := uint64(0)
	for b.Loop() {
		index++
		wantEnd(b, sendSnap(nodes[0], 2, index, bytes.NewReader(db), len(db)), true)
		if file, err := snap.New(nodes[1].logger, nodes[1].snapDir).DBFilePath(index); err != nil {
			b.Fatal(err)
		} else if err := os.Remove(file); err != nil {
			b.Fatal(err)
		}
	}
}
