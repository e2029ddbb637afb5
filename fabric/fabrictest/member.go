package fabrictest

import (
	"bytes"
	"runtime"
	"time"

	"github.com/raftdv/dv/fabric"
)

// member is the handler of one incarnation of a member. It holds its port to
// the contract in every call. env.mu guards everything in it.
type member struct {
	e       *env
	id      fabric.MemberID
	gen     int
	ended   bool // closed or killed: no call may come any more
	crashed bool // killed
	peers   map[fabric.MemberID]*peerView

	stalled bool // by Cluster.Stall
	gate    chan struct{}
	inGate  int

	linger time.Duration // how long each call takes, so that concurrent ones are seen

	// What a case wants to do in a handler call; called without locks.
	onDeliver func(from fabric.MemberID, frames []fabric.Frame)
	onGap     func(from fabric.MemberID, gap fabric.Gap)
	onRow     func(from fabric.MemberID, row fabric.Row)
	onResolve func([]fabric.Resolution)
	onLink    func(peer fabric.MemberID, state fabric.LinkState)
}

// peerView is what a member has seen of one peer.
type peerView struct {
	inside string // the call about this peer that is running
	gen    int    // newest incarnation of the peer a frame of which was delivered
	lanes  [fabric.Lanes]laneView
	order  []uint64     // frames of all lanes as they came
	rows   []fabric.Row // as they came
	links  []fabric.LinkState
	link   fabric.LinkState
}

type laneView struct {
	next      uint64 // link sequence expected
	delivered uint64
	gapped    uint64
	strands   map[int]uint64
}

// peer returns the view of one peer; env.mu is held.
func (m *member) peer(id fabric.MemberID) *peerView {
	p := m.peers[id]
	if p == nil {
		p = &peerView{gen: m.e.members[id].gen}
		p.reset()
		m.peers[id] = p
	}
	return p
}

func (p *peerView) reset() {
	for l := range p.lanes {
		p.lanes[l] = laneView{next: 1, strands: make(map[int]uint64)}
	}
}

func (m *member) isEnded() bool {
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	return m.ended
}

func (m *member) end() {
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	m.ended = true
}

// shut makes Deliver block until open.
func (m *member) shut() {
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	if m.gate == nil {
		m.gate = make(chan struct{})
	}
}

func (m *member) open() {
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	m.openLocked()
}

func (m *member) openLocked() {
	if m.gate != nil {
		close(m.gate)
		m.gate = nil
	}
}

// stuck returns how many calls of Deliver are at the gate.
func (m *member) stuck() int {
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	return m.inGate
}

// begin notes that a call about a peer runs. It checks that no other does, and
// that the port was not closed.
func (m *member) begin(call string, peer fabric.MemberID) (end func()) {
	e := m.e
	e.mu.Lock()
	p, linger := m.peer(peer), m.linger
	if m.ended {
		e.violateLocked("P9: %s of %s about %s was called after Close or Kill had returned", call, m.id, peer)
	}
	nested := p.inside != ""
	if nested {
		e.violateLocked("D3: %s and %s of %s about %s run at the same time", p.inside, call, m.id, peer)
	}
	p.inside = call
	e.mu.Unlock()
	if linger > 0 {
		for until := time.Now().Add(linger); time.Now().Before(until); {
			runtime.Gosched()
		}
	}
	return func() {
		e.mu.Lock()
		if !nested {
			p.inside = ""
		}
		e.mu.Unlock()
		e.changed()
	}
}

// Deliver implements fabric.Handler.
func (m *member) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	defer m.begin("Deliver", from)()
	m.e.mu.Lock()
	for i := range frames {
		m.delivered(from, &frames[i])
	}
	gate, hook := m.gate, m.onDeliver
	if gate != nil {
		m.inGate++
	}
	m.e.mu.Unlock()
	if hook != nil {
		hook(from, frames)
	}
	if gate == nil {
		return
	}
	m.e.changed()
	<-gate
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	m.inGate--
	for i := range frames { // D2: valid until the call returns
		if s := m.e.frame(frames[i].Stream); s != nil {
			m.checkBytes(s, &frames[i])
		}
	}
}

// delivered checks one frame; env.mu is held.
func (m *member) delivered(from fabric.MemberID, f *fabric.Frame) {
	e := m.e
	s := e.frame(f.Stream)
	var d *destination
	if s != nil {
		d = s.to(m.id)
	}
	switch {
	case d == nil:
		e.violateLocked("F1: %s was handed a frame (stream %d, %d bytes) that nobody sent to it", m.id, f.Stream, len(f.Body))
		return
	case s.from != from:
		e.violateLocked("P4: %s was told that %s sent a frame of %s", m.id, from, s.from)
		return
	case d.delivered:
		e.violateLocked("F1: frame %d was delivered to %s twice", s.id, m.id)
		return
	case d.state == refused:
		e.violateLocked("F1: frame %d was refused and delivered to %s", s.id, m.id)
	}
	d.delivered = true
	m.checkHeader(s, f)
	m.checkBytes(s, f)
	m.checkOrder(s, f)
}

func (m *member) checkHeader(s *sentFrame, f *fabric.Frame) {
	kind := s.kind
	if kind == 0 {
		kind = fabric.KindData
	}
	if f.Lane != s.lane || f.Class != s.class || f.Kind != kind || f.Stamp != s.stamp {
		m.e.violateLocked("F1: frame %d arrives as lane %v, class %v, kind %d, stamp %v; sent as %v, %v, %d, %v",
			s.id, f.Lane, f.Class, f.Kind, f.Stamp, s.lane, s.class, kind, s.stamp)
	}
}

func (m *member) checkBytes(s *sentFrame, f *fabric.Frame) {
	if !bytes.Equal(f.Body, s.body()) {
		m.e.violateLocked("F1, D1, D2: body of frame %d is not what was sent (%d bytes of %d)", s.id, len(f.Body), s.size)
	}
	var want []byte
	if s.patch >= 0 {
		for i := range s.dest {
			if s.dest[i].to == m.id {
				want = s.patchFor(i)
			}
		}
	}
	if !bytes.Equal(f.Patch, want) {
		m.e.violateLocked("F1, P6: patch of frame %d at %s is not its own (%d bytes, want %d)", s.id, m.id, len(f.Patch), len(want))
	}
}

func (m *member) checkOrder(s *sentFrame, f *fabric.Frame) {
	e, p := m.e, m.peer(s.from)
	if s.gen < p.gen {
		e.violateLocked("D4: %s was handed a frame of an earlier incarnation of %s", m.id, s.from)
		return
	}
	if s.gen > p.gen {
		p.gen = s.gen
		p.reset()
	}
	v := &p.lanes[s.lane]
	if f.Link != v.next {
		e.violateLocked("F1: %s expects link sequence %d of %s in %v and gets %d (frame %d)", m.id, v.next, s.from, s.lane, f.Link, s.id)
	}
	if last := v.strands[s.strand]; last > s.id && s.strand != unordered {
		e.violateLocked("F1: %s gets frame %d of %s in %v after frame %d", m.id, s.id, s.from, s.lane, last)
	}
	v.strands[s.strand] = s.id
	v.next = f.Link + 1
	v.delivered++
	p.order = append(p.order, s.id)
}

// Gap implements fabric.Handler.
func (m *member) Gap(from fabric.MemberID, gap fabric.Gap) {
	defer m.begin("Gap", from)()
	m.e.mu.Lock()
	m.gap(from, gap)
	hook := m.onGap
	m.e.mu.Unlock()
	if hook != nil {
		hook(from, gap)
	}
}

func (m *member) gap(from fabric.MemberID, gap fabric.Gap) {
	e, p := m.e, m.peer(from)
	if gap.Lane >= fabric.Lanes || gap.Count == 0 {
		e.violateLocked("F1: gap %+v names no frames", gap)
		return
	}
	v := &p.lanes[gap.Lane]
	if gap.First != v.next {
		e.violateLocked("F1: %s expects link sequence %d of %s in %v and gets a gap of %d from %d", m.id, v.next, from, gap.Lane, gap.Count, gap.First)
	}
	v.next = gap.First + gap.Count
	v.gapped += gap.Count
}

// Row implements fabric.Handler.
func (m *member) Row(from fabric.MemberID, row fabric.Row) {
	defer m.begin("Row", from)()
	m.e.mu.Lock()
	m.row(from, row)
	hook := m.onRow
	m.e.mu.Unlock()
	if hook != nil {
		hook(from, row)
	}
}

func (m *member) row(from fabric.MemberID, row fabric.Row) {
	e, p := m.e, m.peer(from)
	if row.Owner != from {
		e.violateLocked("P4: %s was told that %s published the row of %s", m.id, from, row.Owner)
	}
	if !bytes.Equal(row.Sections, rowSections(row.Incarnation, row.Version)) {
		e.violateLocked("P5, D1, D2: row %d.%d of %s is not what was published", row.Incarnation, row.Version, from)
	}
	row.Sections = nil
	if n := len(p.rows); n > 0 && !row.Newer(&p.rows[n-1]) {
		e.violateLocked("P5: %s gets row %d.%d of %s after %d.%d: versions only rise", m.id, row.Incarnation, row.Version, from,
			p.rows[n-1].Incarnation, p.rows[n-1].Version)
	}
	p.rows = append(p.rows, row)
}

// Resolve implements fabric.Handler.
func (m *member) Resolve(settled []fabric.Resolution) {
	m.e.mu.Lock()
	if m.ended {
		m.e.violateLocked("P9: Resolve of %s was called after Close or Kill had returned", m.id)
	}
	for _, r := range settled {
		m.e.resolved(m, r)
	}
	hook := m.onResolve
	m.e.mu.Unlock()
	if hook != nil {
		hook(settled)
	}
	m.e.changed()
}

// Link implements fabric.Handler.
func (m *member) Link(peer fabric.MemberID, state fabric.LinkState) {
	defer m.begin("Link", peer)()
	m.e.mu.Lock()
	p := m.peer(peer)
	if !state.Up && state.Err == nil {
		m.e.violateLocked("P4: the link of %s to %s is down without a reason", m.id, peer)
	}
	if state.Up && state.Err != nil {
		m.e.violateLocked("P4: the link of %s to %s is up with an error: %v", m.id, peer, state.Err)
	}
	if state.Up && state.Incarnation != 0 && state.Incarnation < p.link.Incarnation {
		m.e.violateLocked("D4: %s is told of incarnation %d of %s after %d", m.id, state.Incarnation, peer, p.link.Incarnation)
	}
	if now := m.e.members[peer].gen; state.Up && state.Incarnation > p.link.Incarnation && p.gen < now {
		p.gen = now
		p.reset()
	}
	if state.Incarnation == 0 || !state.Up {
		state.Incarnation = max(state.Incarnation, p.link.Incarnation)
	}
	p.link = state
	p.links = append(p.links, state)
	hook := m.onLink
	m.e.mu.Unlock()
	if hook != nil {
		hook(peer, state)
	}
}
