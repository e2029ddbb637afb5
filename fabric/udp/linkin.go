package udp

import (
	"fmt"
	"time"

	"github.com/raftdv/dv/fabric"
)

// receive takes a datagram that has opened under key. With direct the events
// may hold bytes of payload, otherwise all that the handler has to see is kept.
// A datagram that is not accepted has changed nothing.
func (l *link) receive(now int64, h *header, key *sealKey, payload []byte, direct bool, ev *events) verdict {
	if l.phase == phaseGated || l.phase == phaseDead {
		return gateShut
	}
	if !l.rcvd.fresh(h.number) {
		return replayed
	}
	elicits, v := l.validate(payload)
	if v != accepted {
		return v
	}
	if err := l.recvKeys.opened(key); err != nil {
		l.violated(now, err, ev)
		return accepted
	}
	l.rcvd.add(h.number, now)
	if l.ptoCount > 0 && now-l.heardAt > int64(revival) {
		// The peer was away and is back: what it has not acknowledged is asked
		// for at once, whatever the back-off.
		l.ptoCount = 0
	}
	l.heardAt = now
	if elicits {
		l.rcvd.wantAck(h.number, now, h.flags&flagAckNow != 0, ackDelay)
	}
	if err := l.apply(now, payload, direct, ev); err != nil {
		l.violated(now, err, ev)
		return accepted
	}
	if l.phase == phaseProbing && l.answered && l.peerCredit {
		l.goUp(now)
	}
	if direct {
		l.take(now, ev)
	}
	return accepted
}

// revival is the silence after which a peer that is heard counts as one that has
// come back.
const revival = 50 * time.Millisecond

// validate checks every chunk against the link's state, and changes nothing.
func (l *link) validate(b []byte) (elicits bool, v verdict) {
	var c chunk
	var err error
	for len(b) > 0 {
		if b, err = nextChunk(b, &c); err != nil {
			return false, badContent
		}
		switch c.typ {
		case chunkStream:
			if v := l.in[c.lane].fits(c.offset, len(c.data)); v != accepted {
				return false, v
			}
		case chunkSkip:
			if in := &l.in[c.lane]; c.offset > in.limit {
				return false, badContent
			} else if in.skips.len() >= maxSkips {
				return false, noRoom
			}
		case chunkRow:
			if r, err := fabric.ParseRow(c.data); err != nil || r.Owner != l.cfg.peer {
				return false, badContent
			}
			continue
		case chunkAck:
			var a ackReader
			if a.open(c.data); a.largest >= l.sent.next() {
				return false, badContent // acks what was never sent
			}
			continue
		case chunkPadding, chunkClose:
			continue
		}
		elicits = true
	}
	return elicits, accepted
}

func (l *link) apply(now int64, b []byte, direct bool, ev *events) error {
	var c chunk
	for len(b) > 0 {
		b, _ = nextChunk(b, &c) // validate has seen it
		switch c.typ {
		case chunkStream:
			if direct {
				l.takeState(ev)
			}
			if err := l.in[c.lane].add(c.offset, c.data, direct, ev); err != nil {
				return err
			}
		case chunkAck:
			l.onAck(now, c.data, ev)
		case chunkWindow:
			l.onWindow(c.data)
		case chunkSkip:
			l.in[c.lane].skipTo(c.offset, c.link)
			if direct {
				if err := l.in[c.lane].take(ev, noLimit); err != nil {
					return err
				}
			}
		case chunkRow:
			l.onRow(c.data, direct, ev)
		case chunkClose:
			l.end(now, ErrPeerClosed, false, ev)
			return nil
		}
	}
	return nil
}

// onWindow takes the peer's credit, which only rises.
func (l *link) onWindow(b []byte) {
	limits, burst := parseWindow(b)
	for i, limit := range limits {
		l.out[i].limit = max(l.out[i].limit, limit)
	}
	l.peerBurst, l.peerCredit = uint64(burst), true
}

func (l *link) onRow(b []byte, direct bool, ev *events) {
	r, _ := fabric.ParseRow(b)
	if !r.Newer(&l.lastRow) && l.lastRow.Owner != 0 {
		return
	}
	l.lastRow = r
	l.lastRow.Sections = nil
	l.stats.RowsReceived++
	if direct {
		l.hasInRow = false
		ev.row(b)
		return
	}
	l.inRow = append(l.inRow[:0], b...)
	l.hasInRow = true
}

// onAck settles packets (RFC 9002 §5 to §7).
func (l *link) onAck(now int64, b []byte, ev *events) {
	var a ackReader
	a.open(b)
	newest := l.sent.fresh(a.largest)
	any := false
	for a.left > 0 {
		lo, hi, _ := a.next()
		l.rowAcked = max(l.rowAcked, l.rowAsk.covered(lo, hi))
		for n := max(lo, l.sent.first); n <= hi; n++ {
			if p := l.sent.get(n); p != nil {
				l.packetAcked(now, n, p, ev)
				any = true
			}
		}
	}
	l.largestAcked, l.anyAcked = max(l.largestAcked, a.largest), true
	l.uncork(a.largest)
	if any && newest != nil {
		newest.acked = true
		l.rtt.sample(now-newest.at, int64(min(a.delay, uint64(maxAckDelay/time.Microsecond)))*1000)
	}
	if any {
		l.sent.trim()
		l.ptoCount, l.waitSince, l.asked = 0, 0, 0
		if l.sent.flying > 0 {
			l.waitSince = now
		}
	}
	l.detectLost(now)
}

func (l *link) packetAcked(now int64, number uint64, p *sentPacket, ev *events) {
	l.cc.acked(uint64(p.size), p.at, 2*l.ceiling())
	l.sent.settle(p)
	p.acked = true
	l.answered = l.answered || number >= l.probeFrom
	for _, x := range p.pieces[:p.count] {
		ev.settled = l.out[x.lane].onAcked(x, now, l.cfg.peer, ev.settled)
	}
	if p.hasRow {
		l.rowAcked = max(l.rowAcked, p.row)
	}
	l.windowAck = max(l.windowAck, p.window)
	for i, has := range p.hasSkip {
		if has {
			ev.settled = l.out[i].onSkipAcked(p.skipped[i], now, l.cfg.peer, ev.settled)
		}
	}
	if p.probe {
		l.mtu.probeAcked(int(p.size))
		l.cc.segment = uint64(min(l.mtu.size, maxSegment))
	} else {
		l.mtu.acked(int(p.size))
	}
}

// maxSegment bounds the datagram size that congestion control counts in.
const maxSegment = 16 << 10

// detectLost declares packets lost by packet and time threshold (RFC 9002
// §6.1), and sets the loss timer for those that may be.
func (l *link) detectLost(now int64) {
	l.lossAt = 0
	if !l.anyAcked {
		return
	}
	delay := l.rtt.lossDelay()
	var newest, runFrom int64 = -1, -1
	persistent := false
	for n := l.sent.first; n <= l.largestAcked && n < l.sent.next(); n++ {
		p := l.sent.ring.at(int(n - l.sent.first))
		if !p.flying {
			if p.acked {
				runFrom = -1
			}
			continue
		}
		if n+packetThreshold > l.largestAcked && p.at+delay > now {
			l.lossAt = p.at + delay
			break
		}
		if runFrom < 0 {
			runFrom = p.at
		}
		persistent = persistent || p.at-runFrom > l.rtt.persistent()
		if l.packetLost(now, p) {
			newest = p.at
		}
	}
	l.sent.trim()
	if newest >= 0 {
		l.cc.congested(newest, now)
		if persistent {
			l.cc.collapse()
		}
	}
}

// packetLost has the content of p sent again, and reports whether the loss
// speaks of congestion.
func (l *link) packetLost(now int64, p *sentPacket) bool {
	l.cc.forget(uint64(p.size))
	l.sent.settle(p)
	if p.probe {
		l.mtu.probeLost(int(p.size)) // says nothing about congestion (RFC 9000 §14.4)
		return false
	}
	l.unsend(p)
	l.stats.Retransmissions++
	l.mtu.dataLost(int(p.size), now, l.rtt.pto())
	return true
}

// unsend queues what p carried and is still wanted.
func (l *link) unsend(p *sentPacket) {
	for _, x := range p.pieces[:p.count] {
		l.out[x.lane].onLost(x)
	}
	if p.hasRow && p.row == l.rowSeq && p.row > l.rowAcked {
		l.rowSent, l.rowAt = l.rowAcked, p.at
	}
	if p.window != 0 && p.window == l.windowSeq && p.window > l.windowAck {
		l.windowAt = p.at
	}
	for i, has := range p.hasSkip {
		if has {
			l.out[i].onSkipLost(p.skipped[i])
		}
	}
}

// tick runs the timers.
func (l *link) tick(now int64, ev *events) {
	l.excuse(now)
	if l.phase == phaseUp {
		l.tickUp(now, ev)
	}
	if l.phase == phaseProbing && now >= l.probeAt {
		l.reportSilence(now)
		l.forget(now - l.cfg.idleTimeout)
		l.ping = true
		l.probeAt = now + l.probeGap
		l.probeGap = min(l.probeGap*3/2, int64(probeLast))
	}
}

func (l *link) tickUp(now int64, ev *events) {
	l.expireTickets(now, ev)
	l.askForRow(now)
	switch {
	case l.exhausted != nil:
		l.end(now, l.exhausted, false, ev)
		return
	case now-l.heardAt >= l.cfg.idleTimeout:
		l.fail(now, phaseProbing, l.noAnswer(), ev)
		return
	case l.waitSince != 0 && now-l.waitSince >= l.cfg.idleTimeout:
		l.fail(now, phaseProbing, fmt.Errorf("%w: %s acknowledged nothing for %v: firewall?", ErrOneWay, l.where, time.Duration(l.cfg.idleTimeout)), ev)
		return
	case now-l.elicitAt >= l.cfg.keepAlive:
		l.ping = true
	}
	if now < l.recoveryDeadline() {
		return
	}
	if l.lossAt != 0 {
		l.detectLost(now)
		return
	}
	l.probeTimeout(now)
}

// excuse moves the peer's time limits if this host has been late itself: what
// the peer said meanwhile was not read yet.
func (l *link) excuse(now int64) {
	late := now - max(l.deadline(), l.tickedAt)
	l.tickedAt = now
	if late < l.cfg.idleTimeout/keepAlivesPerIdle {
		return
	}
	l.heardAt = min(l.heardAt+late, now)
	if l.waitSince != 0 {
		l.waitSince = min(l.waitSince+late, now)
	}
}

func (l *link) noAnswer() error {
	return fmt.Errorf("%w from %s for %v: firewall, or another address to advertise?", ErrNoAnswer, l.where, time.Duration(l.cfg.idleTimeout))
}

// reportSilence has the handler told of a path that never worked.
func (l *link) reportSilence(now int64) {
	if l.reported == reportedNothing && now-l.started >= l.cfg.idleTimeout {
		l.setWhy(l.noAnswer())
		l.flapped = l.why
	}
}

func (l *link) expireTickets(now int64, ev *events) {
	since := now - l.cfg.ticketTimeout
	for i := range l.out {
		if f := &l.out[i].frames; f.len() > 0 && f.front().at <= since {
			ev.settled = l.out[i].expire(since, now, errTicketTimeout, l.cfg.peer, ev.settled)
		}
	}
}

var errTicketTimeout = fabric.Lost(fabric.ErrTimeout)

// probeTimeout sends the oldest unacknowledged content again, whatever the
// congestion window says (RFC 9002 §6.2.4). It does not mean loss.
func (l *link) probeTimeout(now int64) {
	l.ptoCount++
	l.force, l.ping = 1, true
	for n := l.sent.first; n < l.sent.next(); n++ {
		if p := l.sent.get(n); p != nil && !p.probe {
			l.unsend(p)
			l.stats.Retransmissions++
			return
		}
	}
}
