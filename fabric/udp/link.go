package udp

import (
	"fmt"
	"math"
	"time"

	"github.com/raftdv/dv/fabric"
)

const (
	// ackDelay is how long an acknowledgement waits for company, and
	// maxAckDelay what senders assume (the default of RFC 9000 §18.2): timers
	// fire late on busy machines. While messages go to and fro the timer fires
	// for nothing, and each time costs a few switches between threads.
	ackDelay    = 20 * time.Millisecond
	maxAckDelay = 25 * time.Millisecond
	// ackEvery packets are acknowledged at once, asked or not.
	ackEvery = 16
	// probeFirst and probeLast are the intervals at which a link that is not
	// up probes its path.
	probeFirst = 20 * time.Millisecond
	probeLast  = time.Second
	// bulkTurn: one in so many packets offers itself to the bulk lane first,
	// so that it is never starved.
	bulkTurn = 8
	// farFuture is the deadline of what is not due.
	farFuture = math.MaxInt64
)

type report uint8

const (
	reportedNothing report = iota
	reportedUp
	reportedDown
)

type linkPhase uint8

const (
	phaseProbing linkPhase = iota // no answer yet, or no longer
	phaseUp
	phaseGated // the gate is shut: silence in both directions
	phaseDead  // the session is over
)

// linkConfig is the part of Config and Session that a link needs. Durations are
// nanoseconds.
type linkConfig struct {
	peer        fabric.MemberID
	incarnation uint64 // of the peer
	windows     [fabric.Lanes]int
	maxFrame    int
	queueFrames int

	ticketTimeout, idleTimeout, keepAlive, rowInterval int64

	rekeyAfter uint64
	top        int    // largest datagram that the local interface takes
	burst      uint32 // what this member's socket buffer takes from the peer
	sendIndex  uint64
	recvIndex  uint64
	print      [16]byte // of the session
	sendKey    *sealKey
	recvKey    *sealKey
}

// link is one session with one peer: the protocol as a state machine. Inputs
// are receive, accept, setRow, tick, release and setGate; each takes the time,
// monotonic nanoseconds. Outputs are what build writes, what events collect, and
// deadline.
type link struct {
	cfg   linkConfig
	phase linkPhase
	why   error // of not being up
	down  error // the same for Send, wraps fabric.ErrLinkDown

	sendKeys sendKeys
	recvKeys recvKeys
	rcvd     received
	sent     sentPackets
	rtt      rttEstimate
	cc       newReno
	mtu      mtuSearch
	out      [fabric.Lanes]sendLane
	in       [fabric.Lanes]recvLane
	scratch  []byte // for frames that wrap around a ring

	largestAcked uint64
	anyAcked     bool
	peerBurst    uint64
	peerCredit   bool // the peer has stated its windows

	row      []byte // this member's own, encoded
	rowSeq   uint64 // rises with each row; 0: none
	rowAcked uint64
	rowSent  uint64
	rowAt    int64 // when rowSeq is to be sent
	rowAsk   rowAsk
	withheld bool // the row is not sent

	inRow     []byte // the peer's, if the handler was busy
	seenRow   []byte // the one that the handler looks at
	hasInRow  bool
	broken    bool       // the streams cannot be read any more
	exhausted error      // no packet may be sent any more
	lastRow   fabric.Row // newest received, without sections

	heardAt   int64  // when the peer was last heard
	waitSince int64  // since when an answer is owed; 0: none
	probeFrom uint64 // an ack from here on proves both directions
	answered  bool
	probeAt   int64
	probeGap  int64
	elicitAt  int64 // when the last packet that wants an ack was sent
	tickedAt  int64 // when tick last ran
	lossAt    int64 // time threshold; 0: none
	paceAt    int64 // when pacing allows more; 0: not paced
	held      bool  // the windows have no room for content
	ptoCount  uint
	force     int    // packets to be sent whatever the congestion window says
	ping      bool   // a ping is due
	bye       bool   // a close is due
	windowSeq uint64 // of the newest statement of credit
	windowAck uint64
	windowAt  int64 // when credit is to be stated; farFuture: not
	asked     uint64
	turn      int
	cork      cork
	waits     bool // the content of this batch waits for company

	where    string // the peer's address, for messages
	started  int64
	reported report // what the handler believes
	flapped  error  // the link was down since

	stats fabric.LinkStats
}

func newLink(cfg *linkConfig, now int64) (*link, error) {
	l := &link{cfg: *cfg, windowAt: now, probeGap: int64(probeFirst), probeAt: now, heardAt: now, started: now, rowAt: farFuture}
	recv, err := newRecvKeys(cfg.recvKey)
	if err != nil {
		return nil, err
	}
	l.recvKeys, l.sendKeys = recv, sendKeys{cur: cfg.sendKey, after: cfg.rekeyAfter}
	for i := range l.out {
		l.out[i].init(fabric.Lane(i), cfg.windows[i], cfg.queueFrames)
		l.in[i].init(fabric.Lane(i), cfg.windows[i], cfg.maxFrame)
	}
	l.rowAsk.insist()
	l.cc.init()
	l.mtu.init(cfg.top, now)
	l.setWhy(ErrNotYetUp)
	return l, nil
}

func (l *link) setWhy(why error) { l.why, l.down = why, linkDown(why) }

// accept queues one frame. The error is the reason of a refusal.
func (l *link) accept(now int64, h *fabric.Header, patch, body []byte, ticket uint64) error {
	if l.phase != phaseUp {
		return l.down
	}
	if !l.out[h.Lane].accept(h, patch, body, ticket, now, &l.scratch) {
		return fabric.ErrNoCredit
	}
	l.cork.fresh++
	return nil
}

// setRow replaces the row to publish; row is retained until the next call.
func (l *link) setRow(now int64, row []byte, prompt bool) {
	l.row, l.rowSeq = row, l.rowSeq+1
	at := now
	if !prompt {
		at += l.cfg.rowInterval
	}
	l.rowAt = min(l.rowAt, at)
}

// rowPending reports whether the newest row should be sent (again).
func (l *link) rowPending() bool { return l.rowSeq > l.rowSent && !l.withheld }

// goUp notes that the path works in both directions.
func (l *link) goUp(now int64) {
	l.phase, l.waitSince, l.ptoCount = phaseUp, 0, 0
	l.heardAt = now
	l.setWhy(nil)
	if l.rowSeq > l.rowAcked {
		l.rowSent, l.rowAt = l.rowAcked, now
	}
}

// fail takes the link down: everything queued is lost (F2), and the receiver
// will hear so when it can be reached again.
func (l *link) fail(now int64, to linkPhase, why error, ev *events) {
	if l.phase == phaseDead {
		return
	}
	if l.reported == reportedUp || to == phaseDead && l.reported == reportedNothing {
		l.flapped = why
	}
	l.setWhy(why)
	l.phase, l.answered, l.probeFrom = to, false, l.sent.next()
	lost := fabric.Lost(l.down)
	for i := range l.out {
		ev.settled = l.out[i].expire(math.MaxInt64, now, lost, l.cfg.peer, ev.settled)
	}
	l.forget(math.MaxInt64)
	l.rowAsk.insist()
	l.rowSent, l.windowAt, l.force, l.ping = l.rowAcked, now, 0, false
	l.waitSince, l.lossAt, l.ptoCount, l.paceAt = 0, 0, 0, 0
	l.cork, l.waits = cork{}, false
	l.probeGap, l.probeAt = int64(probeFirst), now
	l.cc.init()
	l.mtu.init(l.cfg.top, now)
}

// forget settles the outstanding packets that were sent before a time, with no
// conclusion.
func (l *link) forget(before int64) {
	for n := l.sent.first; n < l.sent.next(); n++ {
		if p := l.sent.get(n); p != nil && p.at < before {
			l.cc.forget(uint64(p.size))
			l.unsend(p)
			l.sent.settle(p)
		}
	}
	l.sent.trim()
}

// setGate shuts or opens the link.
func (l *link) setGate(now int64, open bool, ev *events) {
	switch {
	case !open && l.phase != phaseGated:
		l.fail(now, phaseGated, ErrGateShut, ev)
	case open && l.phase == phaseGated:
		l.phase, l.probeAt, l.heardAt = phaseProbing, now, now
		l.setWhy(ErrNotYetUp)
	}
}

// end takes the link down for good. With goodbye the peer is told.
func (l *link) end(now int64, why error, goodbye bool, ev *events) {
	l.bye = goodbye && l.phase == phaseUp
	l.fail(now, phaseDead, why, ev)
}

// moved notes that the peer is now at another address: what is known of the
// path is void (RFC 9000 §9.4).
func (l *link) moved(now int64) {
	l.rtt = rttEstimate{}
	flying := l.cc.inFlight
	l.cc.init()
	l.cc.inFlight = flying
	l.mtu.init(l.cfg.top, now)
}

// takeState collects what the handler has to know before it sees frames.
func (l *link) takeState(ev *events) {
	if l.phase != phaseUp || l.flapped == nil && l.reported == reportedUp {
		return
	}
	l.takeDown(ev)
	ev.state(fabric.LinkState{Up: true, Incarnation: l.cfg.incarnation})
	l.reported = reportedUp
}

func (l *link) takeDown(ev *events) {
	if l.flapped != nil {
		ev.state(fabric.LinkState{Incarnation: l.cfg.incarnation, Err: l.flapped})
		l.flapped, l.reported = nil, reportedDown
	}
}

// hasNews reports whether the handler has to be told of the link's state.
func (l *link) hasNews() bool {
	return l.flapped != nil || l.phase == phaseUp && l.reported != reportedUp
}

// take collects what waits for the handler, of each lane at most deliverBatch
// frames: so a backlog does not hold up what comes on a lane before it. Bytes in
// the events stay valid until release.
func (l *link) take(now int64, ev *events) {
	l.takeState(ev)
	for i := range l.in {
		if l.broken {
			break
		}
		if err := l.in[i].take(ev, deliverBatch); err != nil {
			l.violated(now, err, ev)
		}
	}
	if l.hasInRow {
		l.hasInRow = false
		ev.row(l.inRow)
		l.inRow, l.seenRow = l.seenRow, l.inRow
	}
	l.takeDown(ev)
}

// release notes that the handler is through with what take gave it.
func (l *link) release(now int64) {
	for i := range l.in {
		in := &l.in[i]
		in.release()
		switch owed := in.owed(); {
		case owed >= in.window/4:
			l.windowAt = min(l.windowAt, now)
		case owed >= in.window/creditGrain:
			l.windowAt = min(l.windowAt, now+int64(ackDelay))
		}
	}
}

// creditGrain: credit below this part of a window is not worth a statement.
// Windows exceed the largest frame by more than that.
const creditGrain = 64

// violated ends the session because the peer's stream cannot be read.
func (l *link) violated(now int64, err error, ev *events) {
	if l.phase == phaseDead {
		return
	}
	l.broken = true
	l.end(now, fmt.Errorf("%w: %w", ErrProtocol, err), true, ev)
}

// setBurst changes what this member's socket buffer takes from the peer.
func (l *link) setBurst(now int64, burst uint32) {
	if l.cfg.burst != burst {
		l.cfg.burst = burst
		l.windowAt = min(l.windowAt, now+int64(ackDelay))
	}
}

// snapshot completes the counters.
func (l *link) snapshot(s *fabric.LinkStats) {
	*s = l.stats
	s.Peer, s.Incarnation, s.Up = l.cfg.peer, l.cfg.incarnation, l.phase == phaseUp
	s.RTT = time.Duration(l.rtt.smoothed)
	for i := range s.Lane {
		l.out[i].snapshot(&s.Lane[i])
		s.Lane[i].Delivered, s.Lane[i].Gaps = l.in[i].delivered, l.in[i].gaps
	}
}

// window is the number of bytes that may be in flight.
func (l *link) window() uint64 {
	w := l.cc.window
	if c := l.ceiling(); c < w {
		w = c
	}
	return max(w, minDatagram)
}

// ceiling is what the peer's socket buffer takes; see burstRTT.
func (l *link) ceiling() uint64 {
	return l.peerBurst * uint64(max(int64(burstRTT), l.rtt.min)) / uint64(burstRTT)
}

// datagram is the largest size to send: at least four to a window, so that
// acknowledgements keep coming. After the second probe timeout in a row the
// size itself is under suspicion.
func (l *link) datagram() int {
	if l.ptoCount > 1 {
		return minDatagram
	}
	return min(l.mtu.size, max(minDatagram, int(l.window()/4)))
}

// deadline is when tick or build have something to do, at the latest.
func (l *link) deadline() int64 {
	d := int64(farFuture)
	if l.phase == phaseGated || l.phase == phaseDead {
		return d
	}
	if l.rcvd.pending > 0 && !l.sent.stuffed() {
		d = min(d, l.rcvd.ackAt)
	}
	if l.phase == phaseProbing {
		return min(d, l.probeAt)
	}
	for i := range l.out {
		if f := &l.out[i].frames; f.len() > 0 {
			d = min(d, f.front().at+l.cfg.ticketTimeout)
		}
	}
	if l.rowPending() && !l.held {
		d = min(d, l.rowAt)
	}
	d = min(d, l.rowAsk.at)
	if l.paceAt != 0 {
		d = min(d, l.paceAt)
	}
	if l.cork.number != 0 && l.queuedBytes() > 0 {
		d = min(d, l.cork.until)
	}
	if !l.sent.stuffed() {
		d = min(d, l.windowAt)
	}
	d = min(d, l.recoveryDeadline(), l.heardAt+l.cfg.idleTimeout, l.elicitAt+l.cfg.keepAlive)
	if l.waitSince != 0 {
		d = min(d, l.waitSince+l.cfg.idleTimeout)
	}
	if l.mtu.size < l.mtu.top && l.mtu.try == 0 {
		d = min(d, l.mtu.raiseAt)
	}
	return d
}

// recoveryDeadline is the loss timer or else the probe timeout (RFC 9002
// §6.2.1).
func (l *link) recoveryDeadline() int64 {
	if l.lossAt != 0 {
		return l.lossAt
	}
	if l.sent.flying == 0 {
		return farFuture
	}
	// The link goes down after the idle timeout; until then a few probes are
	// wanted whatever the back-off.
	backOff := min(l.rtt.pto()<<min(l.ptoCount, 16), max(l.cfg.idleTimeout/8, l.rtt.pto()))
	return l.elicitAt + backOff
}
