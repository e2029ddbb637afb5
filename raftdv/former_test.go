package raftdv

import (
	"bytes"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/types"
)

// A peer that is removed and added again, as etcd does with all of them after a
// snapshot, can go on with the tokens that there were. One at other URLs cannot.
func TestPeerAddedAgain(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	a, b := nodes[0], nodes[1]
	onPath(t, FabricUDP, nodes...)
	proven := func() bool { return a.dv.peer(2).provenStreamAlive() && b.dv.peer(1).provenStreamAlive() }
	eventually(t, "both have shown their tokens", proven)
	ours, theirs := b.dv.peer(1).token, b.dv.peer(1).theirs
	b.tr.RemovePeer(1)
	b.tr.AddPeer(1, []string{a.url})
	p := b.dv.peer(1)
	if token, incarnation := p.theirToken(); !bytes.Equal(p.token, ours) || !bytes.Equal(token, theirs.token) || incarnation != theirs.incarnation {
		t.Error("the peer has other tokens than before")
	}
	onPath(t, FabricUDP, nodes...)
	eventually(t, "both have shown their tokens again", proven)

	b.tr.RemovePeer(1)
	b.tr.AddPeer(1, []string{"http://127.0.0.1:1"})
	if p = b.dv.peer(1); bytes.Equal(p.token, ours) || p.theirs.token != nil {
		t.Error("a peer at another URL has the tokens of the old one")
	}
}

// What is remembered is bounded.
func TestFormerPeersAreBounded(t *testing.T) {
	var f formerPeers
	for id := range types.ID(3 * maxFormer) {
		f.keep(&peer{id: id})
		f.keep(&peer{id: id})
	}
	if len(f.list) != maxFormer || f.list[0].id != 2*maxFormer {
		t.Errorf("%d are remembered, the oldest is %v", len(f.list), f.list[0].id)
	}
}
