package raftdv

import (
	"slices"

	"go.etcd.io/etcd/client/pkg/v3/types"
)

// maxFormer bounds the removed peers that are remembered.
const maxFormer = 64

// formerPeers remembers the tokens of peers that were removed. A member that has
// applied a snapshot removes all its peers and adds them again; with other tokens
// it would refuse them until each side had dialled the other anew.
type formerPeers struct {
	list []formerPeer // oldest first
}

type formerPeer struct {
	id     types.ID
	urls   []string
	token  []byte
	theirs issuedToken
}

// keep is told that p was removed.
func (f *formerPeers) keep(p *peer) {
	p.mu.Lock()
	theirs := p.theirs
	p.mu.Unlock()
	f.drop(p.id)
	if len(f.list) == maxFormer {
		f.list = slices.Delete(f.list, 0, 1)
	}
	f.list = append(f.list, formerPeer{p.id, p.urls.all(), p.token, theirs})
}

// restore gives p what it had, if it has the URLs that it had: a token shows that
// somebody was reached there.
func (f *formerPeers) restore(p *peer) {
	for _, was := range f.list {
		if was.id == p.id && slices.Equal(was.urls, p.urls.all()) {
			p.token, p.theirs = was.token, was.theirs
		}
	}
	f.drop(p.id)
}

func (f *formerPeers) drop(id types.ID) {
	f.list = slices.DeleteFunc(f.list, func(was formerPeer) bool { return was.id == id })
}
