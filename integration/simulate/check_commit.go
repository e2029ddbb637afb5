package simulate

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// commitCheck holds three promises about what is committed: state machine safety
// (everybody applies the same), durability (a majority of the voters has it on
// disk when it is committed first), leader completeness (every later leader has
// it).
type commitCheck struct {
	entries []committedEntry // from firstIndex+1 on
	states  []uint64         // digest of the state machine after each of them; 0: unknown
}

type committedEntry struct {
	term, digest uint64
}

// promotion is a leader whose log has to be looked at when it is written.
type promotion struct {
	term, known uint64
}

func (k *commitCheck) last() uint64 { return firstIndex + uint64(len(k.entries)) }

func (k *commitCheck) committed(n *node, entries []*raftpb.Entry) {
	for _, e := range entries {
		index, is := e.GetIndex(), committedEntry{e.GetTerm(), digest(e)}
		switch {
		case index == k.last()+1:
			k.entries, k.states = append(k.entries, is), append(k.states, 0)
			k.durable(n, e)
		case index > k.last():
			n.c.fail(checkMachine, "%s applies %d, and nobody has applied %d", n.m.id, index, k.last()+1)
			return
		case k.entries[index-firstIndex-1] != is:
			n.c.fail(checkMachine, "%s applies another entry at %d (term %d) than others (term %d)", n.m.id, index, is.term, k.entries[index-firstIndex-1].term)
		}
	}
}

// durable: raft counts what is on disk, in either half of a joint configuration.
func (k *commitCheck) durable(n *node, e *raftpb.Entry) {
	for _, voters := range [][]uint64{n.conf.GetVoters(), n.conf.GetVotersOutgoing()} {
		holders := 0
		for _, id := range voters {
			if n.c.member(fabric.MemberID(id)).disk.holds(e.GetIndex(), e.GetTerm()) {
				holders++
			}
		}
		if len(voters) > 0 && holders <= len(voters)/2 {
			n.c.fail(checkDurable, "%s commits index %d of term %d, which %d of %d voters have on disk", n.m.id, e.GetIndex(), e.GetTerm(), holders, len(voters))
		}
	}
}

// applied: equal prefixes make equal states.
func (k *commitCheck) applied(n *node, index uint64) {
	if index > k.last() {
		return // reported already
	}
	k.compare(n, index)
}

func (k *commitCheck) restored(n *node, s *raftpb.Snapshot) {
	if index := s.GetMetadata().GetIndex(); index > firstIndex && index <= k.last() && k.states[index-firstIndex-1] != 0 {
		k.compare(n, index)
	}
}

func (k *commitCheck) compare(n *node, index uint64) {
	is, was := n.state.digest(), &k.states[index-firstIndex-1]
	if *was == 0 {
		*was = is
	}
	if *was != is {
		n.c.fail(checkMachine, "the state of %s after index %d is not that of others", n.m.id, index)
	}
}

// newLeader notes what a leader must have: everything that was committed when it
// was elected.
func (k *commitCheck) newLeader(n *node) { n.promoted = &promotion{n.term, k.last()} }

// complete looks at a new leader's log as soon as it is whole.
func (k *commitCheck) complete(n *node) {
	p := n.promoted
	if p == nil {
		return
	}
	n.promoted = nil
	first, err := n.log.FirstIndex()
	n.must(err)
	for index := max(first, firstIndex+1); index <= p.known; index++ {
		e := k.entries[index-firstIndex-1]
		if term, err := n.log.Term(index); (err != nil || term != e.term) && e.term < p.term {
			n.c.fail(checkComplete, "%s leads term %d and does not have index %d of term %d, which was committed: %d, %v", n.m.id, p.term, index, e.term, term, err)
			return
		}
	}
}
