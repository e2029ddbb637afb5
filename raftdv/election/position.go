package election

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// position bounds the id of the last entry of the own raft's log, from what raft
// was handed and what it said. Between handing entries to raft and its answer
// the two bounds differ.
//
// The last entry is known exactly once raft accepted an entry that the leader of
// the message's term made itself: nothing in the log can be above it but what
// was handed over since. An accepted older entry bounds from below only: behind
// it may lie what an earlier leader left and nobody has cut yet. A process that
// begins anew may have entries that it does not remember: they are excluded
// only by a newer leader than the first one seen, by an append without entries,
// which ends where the leader's log ends, or by reaching what the leader's row
// says that it sent.
type position struct {
	known        bool
	lower, upper entry // of what was answered
	source       uint64
	first        uint64 // the term of the first append of this life
	runs         []entry
	handed       []handedAppend
	committed    uint64 // what the source's appends that were taken have decided, at least
	spill        entry  // of what handed had no room for
}

// handedAppend is an append, or a snapshot, that raft has and did not answer.
type handedAppend struct {
	term      uint64 // of the leader
	prev, end entry
	commit    uint64 // what is decided if it is taken, as far as it reaches
	empty     bool
}

// hand takes an append or a snapshot on its way to raft.
func (p *position) hand(m *raftpb.Message) {
	h := handedAppend{term: m.GetTerm(), prev: entry{m.GetLogTerm(), m.GetIndex()}}
	if m.GetType() == raftpb.MsgSnap {
		meta := m.GetSnapshot().GetMetadata()
		h.prev = entry{meta.GetTerm(), meta.GetIndex()}
	}
	if h.term < p.source {
		return // raft drops it
	}
	if p.first == 0 {
		p.first = h.term
	}
	if h.term > p.source {
		p.source, p.runs, p.committed = h.term, p.runs[:0], 0
	}
	h.end, h.empty = h.prev, len(m.GetEntries()) == 0
	p.run(h.prev)
	for _, e := range m.GetEntries() {
		h.end = entry{e.GetTerm(), e.GetIndex()}
		p.run(h.end)
	}
	h.commit = min(m.GetCommit(), h.end.index)
	if h.prev.index < p.committed {
		return // raft answers with what is decided, and takes nothing
	}
	if h.end.less(p.lower) && p.lower.term < h.term {
		p.lower = h.end // it may be cut to that
	}
	if len(p.handed) == maxHanded {
		p.spill = maxEntry(p.spill, p.handed[0].end)
		p.handed = append(p.handed[:0], p.handed[1:]...)
	}
	p.handed = append(p.handed, h)
}

// run remembers from which index on the leader's log has which term.
func (p *position) run(e entry) {
	for i, r := range p.runs {
		switch {
		case r.term == e.term:
			p.runs[i].index = min(r.index, e.index)
			return
		case r.term > e.term:
			p.runs = append(p.runs, entry{})
			copy(p.runs[i+1:], p.runs[i:])
			p.runs[i] = e
			p.trimRuns()
			return
		}
	}
	p.runs = append(p.runs, e)
	p.trimRuns()
}

func (p *position) trimRuns() {
	if len(p.runs) > maxRuns {
		p.runs = append(p.runs[:0], p.runs[1:]...)
	}
}

// termAt is the term of the leader's log at an index, 0 if it was not seen.
func (p *position) termAt(index uint64) (term uint64) {
	for _, r := range p.runs {
		if r.index <= index {
			term = r.term
		}
	}
	return term
}

// answer takes raft's answer to an append. leaderHas is what the leader's row
// says that it sent.
func (p *position) answer(m *raftpb.Message, leaderHas entry) {
	if m.GetTerm() != p.source || m.GetIndex() == 0 {
		return
	}
	if m.GetReject() {
		p.rejected(m.GetIndex())
		return
	}
	at := entry{p.termAt(m.GetIndex()), m.GetIndex()}
	if at.term == 0 {
		return
	}
	whole := p.known || at.term > p.first || leaderHas.term == at.term && leaderHas.index <= at.index
	kept := p.handed[:0]
	for _, h := range p.handed {
		switch {
		case h.term != p.source && at.term != p.source, h.term == p.source && h.end.index > at.index:
			kept = append(kept, h)
		case h.term == p.source && h.empty && h.end == at:
			whole = true
		}
		if h.term == p.source && h.end.index <= at.index {
			p.committed = max(p.committed, h.commit)
		} else if h.term == p.source && h.prev.index < p.committed {
			kept = kept[:len(kept)-1] // it came behind what decided that: raft has not taken it
		}
	}
	p.handed = kept
	p.lower = maxEntry(p.lower, at)
	p.upper = maxEntry(p.upper, p.lower)
	if at.term != p.source || !whole {
		return
	}
	p.known, p.upper = true, p.lower
	if !p.lower.less(p.spill) {
		p.spill = entry{}
	}
}

// rejected: the log does not match at index, so that raft took no append of
// this leader that was handed over before and reached it.
func (p *position) rejected(index uint64) {
	last := -1
	for i, h := range p.handed {
		if h.prev.index == index {
			last = i
			break
		}
	}
	kept := p.handed[:0]
	for i, h := range p.handed {
		if h.term == p.source && (h.prev.index >= index || i <= last && h.end.index >= index) {
			continue
		}
		kept = append(kept, h)
	}
	p.handed = kept
}

// campaigned takes the last entry as raft's own campaign says it. An append of
// an older term than raft's is in the log that it tells of, or is never taken;
// raft's term is one below that of a pre-vote.
func (p *position) campaigned(m *raftpb.Message) {
	at := entry{m.GetLogTerm(), m.GetIndex()}
	if m.GetType() == raftpb.MsgVote {
		p.handed, p.spill, p.source = p.handed[:0], entry{}, max(p.source, m.GetTerm())
	}
	p.handed = slices.DeleteFunc(p.handed, func(h handedAppend) bool { return h.term+1 < m.GetTerm() })
	p.known, p.lower, p.upper = true, at, at
}

// appended takes an append that the own raft sends: it leads, and its log may be
// longer than what it sent.
func (p *position) appended(m *raftpb.Message) {
	at := entry{m.GetLogTerm(), m.GetIndex()}
	if es := m.GetEntries(); len(es) > 0 {
		at = entry{es[len(es)-1].GetTerm(), es[len(es)-1].GetIndex()}
	}
	p.lower = maxEntry(p.lower, at)
	p.known, p.source = false, max(p.source, m.GetTerm())
	p.handed, p.spill, p.first = p.handed[:0], entry{}, max(p.first, m.GetTerm())
}

// set takes the last entry as somebody says who sees the storage.
func (p *position) set(at entry) {
	p.known, p.lower, p.upper, p.spill = true, at, at, entry{}
	kept := p.handed[:0]
	for _, h := range p.handed {
		if at.less(h.end) {
			kept = append(kept, h)
		}
	}
	p.handed = kept
}

// high is the greatest that the last entry can be, if that is known.
func (p *position) high() entry {
	high := maxEntry(p.upper, p.spill)
	for _, h := range p.handed {
		high = maxEntry(high, h.end)
	}
	return high
}

func maxEntry(a, b entry) entry {
	if a.less(b) {
		return b
	}
	return a
}
