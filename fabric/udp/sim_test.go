package udp

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/raftdv/dv/fabric"
)

// simFaults is everything that a simulated path does to datagrams.
type simFaults struct {
	delay, jitter time.Duration // jitter reorders
	loss          float64
	double        float64
	alter         float64
	mtu           int // larger datagrams vanish; 0: none do
	// The bottleneck: bytes per second, and bytes that its queue takes. Rate 0:
	// none.
	rate  float64
	queue int
}

// simEvent is something that happens at a time; seq makes the order total.
type simEvent struct {
	at  int64
	seq uint64
	do  func()
}

type simHeap []simEvent

func (h simHeap) Len() int { return len(h) }
func (h simHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h simHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *simHeap) Push(x any)   { *h = append(*h, x.(simEvent)) }
func (h *simHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// sim is a single-threaded world of links in virtual time.
type sim struct {
	now    int64
	seq    uint64
	events simHeap
	rng    *rand.Rand
	trace  uint64 // hash of everything that happened
	steps  int
	fail   func(format string, args ...any)
}

func newSim(seed uint64, fail func(string, ...any)) *sim {
	return &sim{rng: rand.New(rand.NewPCG(seed, 0x51)), fail: fail}
}

func (s *sim) at(t int64, do func()) {
	s.seq++
	heap.Push(&s.events, simEvent{max(t, s.now), s.seq, do})
}

func (s *sim) after(d time.Duration, do func()) { s.at(s.now+int64(d), do) }

// run lets events happen until a time.
func (s *sim) run(until int64) {
	for len(s.events) > 0 && s.events[0].at <= until {
		e := heap.Pop(&s.events).(simEvent)
		s.now = e.at
		s.steps++
		e.do()
	}
	s.now = until
}

// note adds to the trace hash (FNV-1a over words).
func (s *sim) note(who string, values ...uint64) {
	h := (s.trace ^ uint64(s.now)) * 1099511628211
	for i := range len(who) {
		h = (h ^ uint64(who[i])) * 1099511628211
	}
	for _, v := range values {
		h = (h ^ v) * 1099511628211
	}
	s.trace = h
}

// simPath is one direction between two nodes.
type simPath struct {
	s      *sim
	f      simFaults
	busy   int64 // when the bottleneck is free
	queued int
	dead   bool
	to     func(b []byte)
	// shared: another path whose bottleneck this one uses.
	shared *simPath
	bytes  int64
	drops  int
}

func (p *simPath) send(b []byte) {
	s := p.s
	if p.dead || p.f.mtu > 0 && len(b) > p.f.mtu || s.rng.Float64() < p.f.loss {
		p.drops++
		return
	}
	b = bytes.Clone(b)
	if s.rng.Float64() < p.f.alter {
		b[s.rng.IntN(len(b))] ^= 1 << s.rng.IntN(8)
	}
	n := 1
	if s.rng.Float64() < p.f.double {
		n = 2
	}
	for range n {
		p.transmit(b, func() { p.to(bytes.Clone(b)) }) // the receiver owns its copy
	}
}

// transmit has arrive called when b comes out at the other end.
func (p *simPath) transmit(b []byte, arrive func()) {
	s, q := p.s, p
	if p.shared != nil {
		q = p.shared
	}
	at := s.now
	if q.f.rate > 0 {
		if q.queued+len(b) > q.f.queue {
			p.drops++
			return
		}
		q.queued += len(b)
		q.busy = max(q.busy, s.now) + int64(float64(len(b))/q.f.rate*1e9)
		at = q.busy
		s.at(at, func() { q.queued -= len(b) })
	}
	at += int64(p.f.delay)
	if p.f.jitter > 0 {
		at += s.rng.Int64N(int64(p.f.jitter))
	}
	p.bytes += int64(len(b))
	s.at(at, func() {
		if !p.dead {
			arrive()
		}
	})
}

// sentRecord is a frame that was accepted.
type sentRecord struct {
	link  uint64
	seed  uint64
	size  int
	patch int
	at    int64
	state string // "", acked, lost
	got   bool
	gap   bool
}

// simNode drives one link as the port does, and checks F1 to F3.
type simNode struct {
	s    *sim
	name string
	l    *link
	out  *simPath
	peer *simNode

	buf    batch
	ev     events
	busy   bool
	held   []event // what the handler is looking at
	frames []fabric.Frame
	copies [][]byte
	timer  uint64 // generation of the newest timer

	// slow makes handler calls last up to so long, every slowIn-th.
	slow   time.Duration
	slowIn int

	sent    [fabric.Lanes][]*sentRecord
	tickets map[uint64]*sentRecord
	next    [fabric.Lanes]uint64 // link sequence expected
	rows    uint64
	rowSeen uint64
	up      bool
	links   []fabric.LinkState
	got     int64 // bytes of bodies delivered
	mute    bool  // crashed
	// reckless is a planted bug: no congestion control. plant is any other: it
	// alters what the link says.
	reckless bool
	plant    func(*simNode)
	// tap sees every datagram that the node sends, and decides whether it
	// leaves.
	tap     func(d []byte) bool
	planted int
}

func newSimNode(s *sim, name string, cfg linkConfig) *simNode {
	l, err := newLink(&cfg, s.now)
	if err != nil {
		panic(err)
	}
	n := &simNode{s: s, name: name, l: l, tickets: make(map[uint64]*sentRecord), frames: make([]fabric.Frame, deliverBatch)}
	n.buf.buf = make([]byte, maxBatch)
	for i := range n.next {
		n.next[i] = firstLink
	}
	s.at(s.now, n.settleDown)
	return n
}

// simPair connects two nodes.
func simPair(s *sim, f simFaults, edit func(*linkConfig)) (a, b *simNode) {
	cfg := func(peer fabric.MemberID, send, recv byte) linkConfig {
		key := func(k byte, index uint64) *sealKey {
			x, err := firstKey(bytes.Repeat([]byte{k}, 32), index, true)
			if err != nil {
				panic(err)
			}
			return x
		}
		c := linkConfig{
			peer: peer, incarnation: 1, windows: [fabric.Lanes]int{64 << 10, 256 << 10, 128 << 10}, maxFrame: 40 << 10,
			queueFrames: 2000, ticketTimeout: int64(2 * time.Second), idleTimeout: int64(2 * time.Second),
			keepAlive: int64(500 * time.Millisecond), rowInterval: int64(10 * time.Millisecond), rekeyAfter: 500,
			top: 65507, burst: 1 << 20, sendIndex: uint64(send), recvIndex: uint64(recv), sendKey: key(send, uint64(send)), recvKey: key(recv, uint64(recv)),
		}
		if edit != nil {
			edit(&c)
		}
		return c
	}
	a, b = newSimNode(s, "a", cfg(2, 1, 2)), newSimNode(s, "b", cfg(1, 2, 1))
	a.peer, b.peer = b, a
	a.out, b.out = &simPath{s: s, f: f, to: b.input}, &simPath{s: s, f: f, to: a.input}
	return a, b
}

// input is a datagram from the path.
func (n *simNode) input(b []byte) {
	if n.mute {
		return
	}
	var h header
	if v := parseHeader(b, &h); v != accepted || h.index != n.l.cfg.recvIndex {
		return
	}
	key := n.l.recvKeys.forGen(h.gen)
	if key == nil || !n.l.rcvd.fresh(h.number) || key.sealed != (h.flags&flagSealed != 0) {
		return
	}
	var nonce [nonceLen]byte
	payload, ok := key.open(b, h.number, &nonce)
	if !ok {
		return
	}
	v := n.l.receive(n.s.now, &h, key, payload, !n.busy, &n.ev)
	n.s.note(n.name, 1, h.number, uint64(v))
	if v != accepted && (v != gateShut || n.l.phase != phaseGated) {
		n.s.fail("%s: datagram %d of an honest peer: %v", n.name, h.number, v)
	}
	n.settleDown()
}

// settleDown does what the driver does after each input: hand over, transmit,
// arm.
func (n *simNode) settleDown() {
	if n.l.deadline() <= n.s.now {
		n.l.tick(n.s.now, &n.ev)
		n.news()
	}
	n.hear()
	for !n.busy && len(n.ev.list) > 0 {
		n.handOver()
		n.hear()
	}
	for {
		if n.reckless {
			n.l.cc.window, n.l.cc.budgetAt = 1<<22, 0
		}
		n.buf.fill(n.l, n.s.now, true)
		if n.buf.count == 0 {
			break
		}
		n.buf.seal()
		for b := n.buf.rest(); len(b) > 0; {
			d := b[:min(n.buf.seg, len(b))]
			b = b[len(d):]
			n.s.note(n.name, 2, uint64(len(d)))
			if n.tap == nil || n.tap(d) {
				n.out.send(d)
			}
		}
	}
	n.check()
	n.timer++
	mine := n.timer
	d := n.l.deadline()
	if d <= n.s.now {
		l := n.l
		n.s.fail("%s: after everything was done at %d, something is due at %d: phase %d, ack %d (%d), window %d, row %v %d held %v, pace %d, recovery %d, heard %d, elicit %d, waiting %d, mtu %+v, probe %d",
			n.name, n.s.now, d, l.phase, l.rcvd.ackAt, l.rcvd.pending, l.windowAt, l.rowPending(), l.rowAt, l.held, l.paceAt, l.recoveryDeadline(), l.heardAt, l.elicitAt, l.waitSince, l.mtu, l.probeAt)
		return
	}
	if d != farFuture {
		n.s.at(d, func() {
			if mine == n.timer && !n.mute {
				n.settleDown()
			}
		})
	}
}

// hear takes what the link has said.
func (n *simNode) hear() {
	if n.plant != nil {
		n.plant(n)
	}
	n.resolve()
}

func (n *simNode) news() {
	if !n.busy && n.l.hasNews() {
		n.l.take(n.s.now, &n.ev)
	}
}

func (n *simNode) resolve() {
	for _, r := range n.ev.settled {
		rec := n.tickets[r.Ticket]
		if rec == nil || rec.state != "" {
			n.s.fail("F2: %s: ticket %d resolved (%v) that is not pending", n.name, r.Ticket, r.Err)
			continue
		}
		rec.state = "acked"
		if r.Err != nil {
			rec.state = "lost"
			if !errors.Is(r.Err, fabric.ErrLost) {
				n.s.fail("F2: %s: loss without ErrLost: %v", n.name, r.Err)
			}
		}
		if took := n.s.now - rec.at; took > n.l.cfg.ticketTimeout+int64(time.Millisecond) {
			n.s.fail("F2: %s: ticket resolved after %v", n.name, time.Duration(took))
		}
	}
	n.ev.settled = n.ev.settled[:0]
}

// handOver is one round of handler calls.
func (n *simNode) handOver() {
	n.held = append(n.held[:0], n.ev.list...)
	n.ev.list = n.ev.list[:0]
	n.copies = n.copies[:0]
	for i := range n.held {
		n.see(&n.held[i])
	}
	n.busy = true
	done := func() {
		for i := range n.held { // D2: bytes stay valid until the handler returns
			if !bytes.Equal(n.copies[i], n.held[i].data) {
				n.s.fail("D2: %s: bytes changed while the handler had them", n.name)
			}
			clear(n.held[i].data) // whoever still needs them is wrong
		}
		n.busy = false
		n.l.release(n.s.now)
		n.l.take(n.s.now, &n.ev)
	}
	if n.slowIn > 0 && n.s.rng.IntN(n.slowIn) == 0 {
		n.s.after(time.Duration(n.s.rng.Int64N(int64(n.slow))), func() {
			done()
			n.settleDown()
		})
		return
	}
	done()
}

func (n *simNode) see(e *event) {
	n.copies = append(n.copies, bytes.Clone(e.data))
	switch e.kind {
	case eventFrames:
		c := *e
		for c.count > 0 {
			k, err := c.parse(n.frames, n.l.cfg.maxFrame)
			if err != nil {
				n.s.fail("F1: %s: %v", n.name, err)
				return
			}
			for i := range n.frames[:k] {
				n.delivered(&n.frames[i])
			}
		}
	case eventGap:
		n.gap(e.gap)
	case eventRow:
		r, err := fabric.ParseRow(e.data)
		if err != nil || r.Version <= n.rowSeen {
			n.s.fail("P5: %s: row %d after %d: %v", n.name, r.Version, n.rowSeen, err)
		}
		n.rowSeen = r.Version
	case eventLink:
		if e.state.Up == n.up && len(n.links) > 0 {
			n.s.fail("P4: %s: told twice that up=%v", n.name, n.up)
		}
		n.up = e.state.Up
		n.links = append(n.links, e.state)
	}
	n.s.note(n.name, 3, uint64(e.kind), uint64(e.lane), e.link, uint64(e.count), e.gap.First, e.gap.Count)
}

func (n *simNode) record(lane fabric.Lane, link uint64) *sentRecord {
	recs := n.peer.sent[lane]
	if link < firstLink || link-firstLink >= uint64(len(recs)) {
		n.s.fail("F1: %s: frame %d of the %v lane was never sent", n.name, link, lane)
		return nil
	}
	return recs[link-firstLink]
}

func (n *simNode) delivered(f *fabric.Frame) {
	if f.Link != n.next[f.Lane] {
		n.s.fail("F1: %s: frame %d of the %v lane where %d is due", n.name, f.Link, f.Lane, n.next[f.Lane])
	}
	n.next[f.Lane] = f.Link + 1
	rec := n.record(f.Lane, f.Link)
	if rec == nil {
		return
	}
	body, patch := simBytes(rec.seed, rec.size), simBytes(rec.seed+1, rec.patch)
	if !bytes.Equal(f.Body, body) || !bytes.Equal(f.Patch, patch) || f.Stream != rec.seed {
		n.s.fail("F1: %s: frame %d of the %v lane is not what was sent", n.name, f.Link, f.Lane)
	}
	rec.got = true
	n.got += int64(len(f.Body))
}

func (n *simNode) gap(g fabric.Gap) {
	if g.First != n.next[g.Lane] || g.Count == 0 {
		n.s.fail("F1: %s: gap %+v where %d is due", n.name, g, n.next[g.Lane])
	}
	for i := range g.Count {
		rec := n.record(g.Lane, g.First+i)
		if rec == nil {
			return
		}
		rec.gap = true
		if rec.state != "lost" {
			n.s.fail("F1, F2: %s: frame %d of the %v lane is missing, its ticket says %q", n.name, g.First+i, g.Lane, rec.state)
		}
	}
	n.next[g.Lane] = g.First + g.Count
}

func simBytes(seed uint64, n int) []byte {
	b := make([]byte, 0, n+8)
	for x := seed*0x9e3779b97f4a7c15 + 1; len(b) < n; x ^= x << 13 {
		x ^= x >> 7
		x ^= x << 17
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b[:n]
}

// send offers one frame and reports whether it was accepted.
func (n *simNode) send(lane fabric.Lane, size, patch int) bool {
	rec := &sentRecord{seed: n.s.rng.Uint64(), size: size, patch: patch, at: n.s.now}
	ticket := uint64(len(n.tickets)) + 1
	h := fabric.Header{Kind: fabric.KindData, Lane: lane, Stream: rec.seed}
	err := n.l.accept(n.s.now, &h, simBytes(rec.seed+1, patch), simBytes(rec.seed, size), ticket)
	if n.s.note(n.name, 4, uint64(lane), uint64(size), h.Link); err != nil {
		if !errors.Is(err, fabric.ErrNoCredit) && !errors.Is(err, fabric.ErrLinkDown) {
			n.s.fail("F3: %s: refused with %v", n.name, err)
		}
		return false
	}
	rec.link = h.Link
	n.sent[lane] = append(n.sent[lane], rec)
	n.tickets[ticket] = rec
	if rec.link != uint64(len(n.sent[lane]))+firstLink-1 {
		n.s.fail("F1: %s: frame numbered %d, want %d", n.name, rec.link, len(n.sent[lane]))
	}
	return true
}

func (n *simNode) publish() {
	n.rows++
	row := fabric.Row{Owner: n.peer.l.cfg.peer, Incarnation: 1, Version: n.rows, Sections: fabric.AppendSection(nil, fabric.Section{ID: 1, Value: simBytes(n.rows, int(n.rows%700))})}
	n.l.setRow(n.s.now, fabric.AppendRow(nil, &row), n.s.rng.IntN(2) == 0)
}

// check holds the link to its invariants and bounds (F3).
func (n *simNode) check() {
	if err := n.l.check(); err != nil {
		n.s.fail("F3: %s: %v", n.name, err)
	}
}

// check tests the invariants that the types state.
func (l *link) check() error {
	flying, bytes := 0, uint64(0)
	for i := range l.sent.ring.len() {
		if p := l.sent.ring.at(i); p.flying {
			flying++
			bytes += uint64(p.size)
		}
	}
	switch {
	case flying != l.sent.flying || bytes != l.cc.inFlight:
		return fmt.Errorf("%d packets, %d bytes in flight; counted %d, %d", flying, bytes, l.sent.flying, l.cc.inFlight)
	case l.sent.ring.len() > 2*maxSpan:
		return fmt.Errorf("%d packets are remembered", l.sent.ring.len())
	case l.cc.window < minDatagram || l.window() < minDatagram:
		return fmt.Errorf("congestion window of %d", l.cc.window)
	}
	for i := range l.out {
		if err := errors.Join(l.out[i].check(), l.in[i].check()); err != nil {
			return fmt.Errorf("%v lane: %w", fabric.Lane(i), err)
		}
	}
	return nil
}

func (s spans) check(lo, hi uint64) error {
	for i, e := range s {
		if e.lo >= e.hi || e.lo < lo || e.hi > hi || i > 0 && s[i-1].hi >= e.lo {
			return fmt.Errorf("span %d of %v is wrong within %d..%d", i, s, lo, hi)
		}
	}
	return nil
}

func (l *sendLane) check() error {
	switch {
	case l.base > l.next || l.next > l.end || l.end-l.base > l.bound || l.frames.len() > l.maxFrames:
		return fmt.Errorf("base %d, next %d, end %d, bound %d, %d frames", l.base, l.next, l.end, l.bound, l.frames.len())
	case uint64(len(l.ring)) > 2*max(l.bound, minRing):
		return fmt.Errorf("send ring of %d bytes for %d", len(l.ring), l.bound)
	case l.frames.len() > 0 && (l.skipAcked && l.frames.front().end <= l.base || l.frames.at(l.frames.len()-1).end != l.end):
		return fmt.Errorf("frames do not match base %d and end %d", l.base, l.end)
	}
	for _, a := range l.acked {
		if a.lo <= l.base {
			return fmt.Errorf("acked %v at base %d", l.acked, l.base)
		}
		for _, o := range l.lost {
			if a.lo < o.hi && o.lo < a.hi {
				return fmt.Errorf("acked %v and lost %v", l.acked, l.lost)
			}
		}
	}
	return errors.Join(l.acked.check(l.base, l.next), l.lost.check(l.base, l.next))
}

func (l *recvLane) check() error {
	switch {
	case l.done > l.taken || l.taken > l.contig || l.contig > l.limit || l.limit > l.done+l.window:
		return fmt.Errorf("done %d, taken %d, contig %d, limit %d, window %d", l.done, l.taken, l.contig, l.limit, l.window)
	case uint64(cap(l.buf)) > 2*max(l.window, minRing):
		return fmt.Errorf("buffer of %d bytes for a window of %d", cap(l.buf), l.window)
	case len(l.holes) > maxHoles+maxPieces || l.skips.len() > maxSkips+maxPieces:
		return fmt.Errorf("%d holes, %d skips", len(l.holes), l.skips.len())
	}
	return l.holes.check(l.contig+1, l.limit)
}
