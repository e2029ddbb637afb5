package udp

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

const (
	// inlineBurst is how many batches in a row callers of Send transmit
	// themselves while the handler is told of what the peer sent. Beyond it
	// frames come faster than they should leave one by one.
	inlineBurst = 2
	// inlineRounds bounds what a caller or reader transmits before it leaves
	// the rest to the pump, in batches.
	inlineRounds = 2
	// migrateEvery bounds how often a peer may change its address.
	migrateEvery = time.Second
	// maxFormer bounds the replaced sessions of a peer that have something left
	// to hand over.
	maxFormer = 4
)

// peer drives the link to one member. mu guards everything in it; it is never
// held while the kernel or a handler works.
type peer struct {
	port *Port
	id   fabric.MemberID

	mu     sync.Mutex
	link   *link   // nil: no session
	former []*link // replaced, with frames that the handler has not seen
	shut   bool    // the gate
	closed bool

	home    netip.AddrPort // Session.Addr
	dest    netip.AddrPort // where the peer was last heard
	movedAt int64

	// busy: a goroutine calls the handler about this peer. It hands over all
	// that comes meanwhile.
	busy bool

	// flushing: a goroutine transmits to this peer, and looks again when it is
	// done.
	flushing bool
	held     bool         // the batch waits for the socket
	queued   bool         // the pump knows
	deadline atomic.Int64 // of the link, as the pump knows it; changes under mu
	out      sender
	batch    batch
	inline   int

	row      []byte
	hasRow   bool
	withheld bool // the row is not sent

	past    fabric.LinkStats // of former sessions
	numbers numbering
	lastRow fabric.Row // newest that came in a former session, without sections
}

// numbering outlives sessions: frames between two incarnations are numbered
// through (see fabric.Gap).
type numbering struct {
	incarnation uint64
	send, recv  [fabric.Lanes]uint64 // the next frame's
}

func newPeer(p *Port, id fabric.MemberID) *peer {
	pe := &peer{port: p, id: id, out: p.conduit.newSender()}
	pe.deadline.Store(farFuture)
	return pe
}

// accept queues one frame for destination j of o. mu is held.
func (pe *peer) accept(now int64, o *fabric.Outgoing, j int, h *fabric.Header) error {
	switch {
	case pe.closed:
		return fabric.ErrClosed
	case pe.link == nil: // disconnected since Send looked
		return fabric.ErrUnknownPeer
	}
	h.Kind, h.Class, h.Lane, h.Stream = o.Kind, o.Class, o.Lane, o.Stream
	if h.Kind == 0 {
		h.Kind = fabric.KindData
	}
	h.Has, h.Stamp = 0, o.Stamp
	if !o.Stamp.IsZero() {
		h.Has = fabric.HasStamp
	}
	var patch []byte
	if o.Patch != nil {
		patch = o.Patch[j]
	}
	return pe.link.accept(now, h, patch, o.Body, o.Ticket)
}

// kick has what was accepted transmitted. mu is held.
//
// While the handler is called about this peer the caller is probably the
// handler itself, which answers: it transmits, as a round trip is shorter by the
// wake-up of a goroutine. Any other caller has more to do, such as a raft loop
// with further peers and a log to write, and what it does next often brings
// more frames for the same datagram: the pump transmits meanwhile. (With
// transmission by the caller a raft group of five with one proposal under way
// took a sixth more CPU for each commit, and a third longer at the 99th
// percentile.)
func (pe *peer) kick(now int64) {
	if pe.flushing || pe.queued {
		return
	}
	if pe.link.corked(now) {
		pe.port.pump.due(pe, min(pe.deadline.Load(), pe.link.cork.until), now)
		return
	}
	if !pe.busy || pe.inline <= 0 || !pe.port.info.inline {
		pe.port.pump.queue(pe)
		return
	}
	pe.inline--
	pe.transmit(inlineRounds, false)
}

// transmit sends what is due, in at most rounds batches; the pump gets the
// rest. mu is held, and released meanwhile. Only the pump waits for the socket.
func (pe *peer) transmit(rounds int, wait bool) {
	if pe.flushing || pe.link == nil {
		return
	}
	if pe.held && !wait {
		pe.port.pump.queue(pe)
		return
	}
	pe.flushing = true
	done := false
	for ; rounds > 0 && !done; rounds-- {
		done = pe.round(wait)
	}
	pe.flushing = false
	if !done {
		pe.port.pump.queue(pe)
	}
	if pe.link != nil {
		pe.port.pump.due(pe, pe.link.deadline(), pe.port.now())
	}
}

// round transmits one batch, and reports whether there was nothing more to do
// here.
func (pe *peer) round(wait bool) (done bool) {
	l := pe.link
	if l == nil {
		return true
	}
	seal := !pe.held
	if seal {
		if pe.batch.fill(l, pe.port.now(), pe.port.info.segments); pe.batch.count == 0 {
			return true
		}
	}
	pe.held = false
	to := pe.dest
	pe.mu.Unlock()
	if seal {
		pe.batch.seal()
	}
	n, err := pe.out.send(pe.batch.rest(), pe.batch.seg, to, wait)
	pe.mu.Lock()
	pe.batch.sent += n
	switch {
	case err == errAgain && !wait:
		pe.held = true
		pe.port.pump.queue(pe)
		return true
	case err == errTooBig && l == pe.link:
		l.mtu.tooBig(pe.batch.seg, pe.port.now())
	}
	// All other errors are the network's: what did not leave counts as lost.
	return false
}

// settle calls Resolve; no lock is held.
func (pe *peer) settle(settled []fabric.Resolution) {
	if len(settled) > 0 {
		pe.port.handler.Resolve(settled)
	}
}

// news starts a goroutine that tells the handler what it has to know, and
// settles tickets. It is for callers that must not be held up by a handler;
// what it does is rare. mu is held.
func (pe *peer) news(ev *events) {
	if pe.closed {
		pe.port.leave(ev.settled)
		return
	}
	if len(ev.settled) > 0 {
		settled := append([]fabric.Resolution(nil), ev.settled...)
		pe.port.group.Go(func() { pe.port.handler.Resolve(settled) })
	}
	if !pe.busy && (len(pe.former) > 0 || pe.link != nil && pe.link.hasNews()) {
		pe.busy = true
		pe.port.group.Go(func() { newDeliverer().run(pe) })
	}
}

// replace ends the session and begins another one, if l is not nil. mu is held.
func (pe *peer) replace(l *link, s *Session, why error, goodbye bool, ev *events) {
	now := pe.port.now()
	if old := pe.link; old != nil {
		old.end(now, why, goodbye, ev)
		if goodbye {
			pe.transmit(1, false)
		}
		pe.retire(old)
	}
	pe.link, pe.held = l, false
	if l == nil {
		return
	}
	if pe.numbers.incarnation != s.PeerIncarnation {
		pe.numbers = numbering{incarnation: s.PeerIncarnation}
	}
	for i, n := range pe.numbers.send {
		l.out[i].resume(n)
	}
	l.lastRow = pe.lastRow
	if len(pe.former) == 0 {
		pe.activate(l)
	}
	if pe.hasRow {
		l.setRow(now, pe.row, true)
	}
	l.withheld = pe.withheld
	if pe.shut {
		l.setGate(now, false, ev)
	}
	pe.moveTo(s.Addr)
	pe.home, pe.movedAt = s.Addr, 0
	if pe.batch.buf == nil {
		pe.batch.buf = make([]byte, maxBatch)
	}
}

func (pe *peer) moveTo(a netip.AddrPort) {
	pe.dest = a
	pe.link.where = a.String()
}

// retire puts a link that has ended behind those that are still handed over.
func (pe *peer) retire(old *link) {
	for i := range old.out {
		pe.numbers.send[i] = old.out[i].link
	}
	pe.lastRow = old.lastRow
	var s fabric.LinkStats
	old.snapshot(&s)
	addStats(&pe.past, &s)
	pe.link = nil
	if !pe.busy && !old.hasNews() {
		pe.finish(old)
		return
	}
	if len(pe.former) == maxFormer {
		// What it still had is missing from now on: the next session's
		// numbering says so.
		pe.finish(pe.former[0])
		pe.former = pe.former[1:]
	}
	pe.former = append(pe.former, old)
}

// finish keeps the numbering of a link from which nothing comes any more.
func (pe *peer) finish(old *link) {
	if old.cfg.incarnation != pe.numbers.incarnation {
		return
	}
	for i := range old.in {
		pe.numbers.recv[i] = old.in[i].link
	}
}

// activate continues the numbering: nothing is handed over before l any more.
func (pe *peer) activate(l *link) {
	if l.cfg.incarnation != pe.numbers.incarnation {
		return
	}
	for i, n := range pe.numbers.recv {
		l.in[i].link = max(n, firstLink)
	}
}

// next ends one call of the handler and collects what to tell it now. Without
// any, the peer is no longer busy. mu is held.
func (pe *peer) next(now int64, ev *events) (more bool) {
	for len(pe.former) > 0 {
		f := pe.former[0]
		f.release(now)
		if f.take(now, ev); len(ev.list) > 0 {
			return true
		}
		pe.finish(f)
		pe.former = pe.former[1:]
		if len(pe.former) > 0 {
			pe.activate(pe.former[0])
		} else if pe.link != nil {
			pe.activate(pe.link)
		}
	}
	if pe.link != nil {
		pe.link.release(now)
		pe.link.take(now, ev)
	}
	pe.busy = len(ev.list) > 0
	return pe.busy
}

// tick runs the link's timers and returns when they have to run again. mu is
// held.
func (pe *peer) tick(now int64, ev *events) (next int64) {
	l := pe.link
	if l == nil {
		return farFuture
	}
	if l.deadline() <= now {
		before := l.phase
		l.tick(now, ev)
		if before == phaseUp && l.phase == phaseProbing && pe.dest != pe.home {
			pe.moveTo(pe.home)
			pe.movedAt = 0
		}
		pe.transmit(inlineRounds, false)
		pe.news(ev)
	}
	if pe.link == nil {
		return farFuture
	}
	return pe.link.deadline()
}
