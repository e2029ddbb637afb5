package raftdv

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/raftdv/dv/raftdv/election"
)

// refresh asks who the members are, and whether all voters can take part.
func (e *elections) refresh() {
	e.asking.Lock()
	defer e.asking.Unlock()
	m := e.t.cfg.Members() // outside of the lock: it is not ours
	stock := e.stock(&m)
	m.Stock = stock != ""
	e.t.ordering.configure(&m, stock)
	say := func() {}
	publish := e.input(func(a *election.Arbiter, now time.Duration) {
		if !sameMembers(&m, &e.members) {
			if m.Stock != e.members.Stock {
				e.record.begin()
			}
			e.members = m
			e.record.forget(&m)
			e.refused = a.SetMembers(now, m)
		}
		if e.refused != nil {
			stock = e.refused.Error()
		}
		mode := e.wanted
		if e.t.cfg.ElectionTimeout < electionTimeoutsMin && mode != election.Off {
			mode = election.Off
			stock = fmt.Sprintf("raft's election timeout %v is below %v: its own elections would come first", e.t.cfg.ElectionTimeout, electionTimeoutsMin)
		}
		if e.mode != mode {
			e.mode = mode
			e.record.begin() // what was seen before is no part of what comes
			a.SetMode(now, mode)
		}
		say = e.explain(stock)
	})
	say()
	if publish {
		e.publish()
	}
}

// explain keeps why elections are raft's own although they should not be, and
// returns what says so, once: without the lock, as a log may take its time. mu is
// held.
func (e *elections) explain(why string) (say func()) {
	if e.wanted == election.Off {
		why = ""
	}
	if why == e.why {
		return func() {}
	}
	e.why = why
	wanted := e.wanted
	return func() {
		if why != "" {
			e.t.lg.Info("elections are raft's own", zap.String("local-member-id", e.t.ID.String()), zap.String("reason", why))
		} else {
			e.t.lg.Info("elections are arbitrated", zap.String("local-member-id", e.t.ID.String()), zap.Stringer("mode", wanted))
		}
	}
}

// stock names a voter that does not take part, "" if there is none: one that
// has another transport or one that knows no elections, or that only rafthttp
// reaches. Of a voter that was never met it is not known; it is counted in.
func (e *elections) stock(m *election.Members) string {
	if len(m.Voters) == 0 {
		return "nobody is known to vote yet"
	}
	for _, id := range slices.Concat(m.Voters, m.Outgoing) {
		if id == e.t.member() {
			continue
		}
		p := e.t.peer(types.ID(id))
		switch {
		case p == nil:
			return fmt.Sprintf("voter %s is no peer of this transport", id)
		case p.stock.Load():
			return fmt.Sprintf("voter %s speaks rafthttp only", id)
		case p.met() && Feature(p.speaks.Load())&FeatureElections == 0:
			return fmt.Sprintf("voter %s has a version without elections", id)
		case p.overRafthttp():
			return fmt.Sprintf("voter %s is reached over rafthttp only", id)
		}
	}
	return ""
}

func sameMembers(a, b *election.Members) bool {
	return a.Stock == b.Stock && a.Epoch == b.Epoch && slices.Equal(a.Voters, b.Voters) && slices.Equal(a.Outgoing, b.Outgoing) && slices.Equal(a.Learners, b.Learners)
}

// met: the peer has said what it speaks.
func (p *peer) met() bool { return p.speaks.Load() != 0 }

// overRafthttp: no fabric has reached the peer for a while, and rafthttp does.
// Only for a while: when a process ends, rafthttp may be the last to notice.
func (p *peer) overRafthttp() bool {
	_, off := p.offFabric.get()
	return off && !p.offFabric.within(p.t.cfg.StockRetry) && !p.t.inner.ActiveSince(p.id).IsZero()
}
