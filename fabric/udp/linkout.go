package udp

import "github.com/raftdv/dv/fabric"

// minPiece: a smaller rest of a datagram is not worth a stream chunk.
const minPiece = 64

// packet is a datagram that build wrote and that is still to be sealed.
type packet struct {
	number uint64
	size   int // of the datagram, with the tag
	key    *sealKey
}

// build writes the next datagram into b, which holds at least maxDatagram
// bytes, if there is something to send now. limit bounds its size; a datagram
// that must be larger waits.
func (l *link) build(now int64, b []byte, limit int) (pk packet, ok bool) {
	if l.phase == phaseGated || l.phase == phaseDead && !l.bye {
		return pk, false
	}
	if n := l.probeSize(now); n > 0 {
		if n > limit {
			return pk, false
		}
		return l.buildProbe(now, b, n)
	}
	if !l.wants(now, true) {
		l.held, l.paceAt, l.cc.limited = l.sent.stuffed(), 0, false
		return pk, false
	}
	room := l.room(now)
	if !l.wants(now, room > 0) {
		return pk, false
	}
	size := min(l.datagram(), limit)
	rec := sentPacket{at: now}
	w := l.appendControl(now, b[:headerLen], &rec)
	if room > 0 {
		w = l.appendContent(now, w, size-tagLen, min(size, room)-tagLen, &rec)
		if rec.hasRow {
			w = l.rowLeaves(now, w, &rec)
		}
	}
	if len(w) == headerLen {
		return pk, false
	}
	return l.finish(now, w, &rec)
}

// wants reports whether a datagram is due. room: content may be sent.
func (l *link) wants(now int64, room bool) bool {
	if l.sent.stuffed() {
		return false
	}
	if l.ping || l.bye || l.rcvd.due(now) {
		return true
	}
	if l.phase != phaseUp {
		return false
	}
	if now >= l.windowAt || room && l.rowPending() && now >= l.rowAt {
		return true
	}
	for i := range l.out {
		if o := &l.out[i]; room && !l.waits && o.pending() || !o.skipSent && !o.skipAcked {
			return true
		}
	}
	return false
}

// room is the number of bytes that a datagram of content may have now; 0: none.
func (l *link) room(now int64) int {
	n := l.computeRoom(now)
	l.held = n == 0
	return n
}

func (l *link) computeRoom(now int64) int {
	l.paceAt = 0
	if l.phase != phaseUp || l.sent.full() {
		return 0
	}
	size, queued := l.datagram(), l.queuedBytes()
	if l.force > 0 {
		return size
	}
	// Small rests of the window are left alone until they are worth a
	// datagram; a row does not wait for that.
	want := int(min(uint64(size), queued+overhead+chunkHead*fabric.Lanes))
	if l.rowPending() && now >= l.rowAt {
		want = min(want, minDatagram)
	}
	window := l.window()
	l.cc.limited = l.cc.limited && queued > 0
	if free := int(window - min(window, l.cc.inFlight)); free < size {
		if free < want {
			l.cc.limited = queued > 0
			if l.cc.inFlight > 0 {
				return 0
			}
		}
		size = max(free, minDatagram)
	}
	// A stall of this host leaves round trips behind that are far too long.
	// Pacing only spreads what the window allows: it may err on the fast side.
	rtt := min(l.rtt.smoothed, l.rtt.latest, paceMost*l.rtt.min)
	l.cc.refill(now, rtt, window, size)
	if wait := l.cc.paceDelay(uint64(min(want, size)), rtt, window); wait > 0 {
		if queued > 0 || l.rowPending() {
			l.paceAt = now + wait
		}
		return 0
	}
	return size
}

// queuedBytes counts stream bytes that wait to be sent.
func (l *link) queuedBytes() uint64 {
	n := uint64(0)
	for i := range l.out {
		n += l.out[i].pendingBytes()
	}
	return n
}

// appendControl appends what congestion control does not hold back.
func (l *link) appendControl(now int64, w []byte, rec *sentPacket) []byte {
	acks := l.rcvd.pending > 0
	if acks {
		w = l.rcvd.appendAck(w, now)
	}
	if l.bye {
		l.bye = false
		return append(w, chunkClose)
	}
	if l.ping {
		l.ping, rec.flying = false, true
		w = append(w, chunkPing)
	}
	if (rec.flying || acks) && l.windowSeq > l.windowAck && l.phase != phaseUp {
		l.windowAt = now // until it is known to have arrived
	}
	if now >= l.windowAt || acks && l.owed() {
		var limits [fabric.Lanes]uint64
		for i := range l.in {
			limits[i] = l.in[i].grant()
		}
		w = appendWindow(w, &limits, l.cfg.burst)
		l.windowSeq++
		l.windowAt, rec.window, rec.flying = farFuture, l.windowSeq, true
	}
	for i := range l.out {
		if o := &l.out[i]; !o.skipSent && !o.skipAcked {
			w = appendSkip(w, o.lane, o.skip, o.skipLink)
			o.skipSent, rec.flying = true, true
			rec.skipped[i], rec.hasSkip[i] = o.skip, true
		}
	}
	return w
}

func (l *link) owed() bool {
	for i := range l.in {
		if in := &l.in[i]; in.owed() >= in.window/creditGrain {
			return true
		}
	}
	return false
}

// appendContent appends row and stream bytes: the row may use the datagram up
// to size, the streams up to streamSize.
func (l *link) appendContent(now int64, w []byte, size, streamSize int, rec *sentPacket) []byte {
	if l.rowPending() && len(w)+rowHead+len(l.row)+pingLen <= size {
		w = appendRow(w, l.row)
		l.rowSent, l.rowAt = l.rowSeq, farFuture
		rec.row, rec.hasRow = l.rowSeq, true
		l.stats.RowsSent++
	}
	first := fabric.LaneControl
	if l.turn++; l.turn%bulkTurn == 0 {
		first = fabric.LaneBulk
	}
	for i := range fabric.Lane(fabric.Lanes) {
		o := &l.out[(first+i)%fabric.Lanes]
		for o.pending() && rec.count < maxPieces {
			n := streamSize - len(w) - chunkHead
			if n < minPiece {
				return w
			}
			w, rec.pieces[rec.count] = o.take(w, n)
			rec.count++
			rec.flying = true
		}
	}
	return w
}

// probeSize is the size of the path MTU probe that is due, or 0.
func (l *link) probeSize(now int64) int {
	if l.phase != phaseUp || l.sent.full() || l.force > 0 {
		return 0
	}
	return l.mtu.probe(now)
}

func (l *link) buildProbe(now int64, b []byte, size int) (packet, bool) {
	w := append(b[:headerLen], chunkPing)
	clear(b[len(w) : size-tagLen])
	l.mtu.probeSent()
	return l.finish(now, b[:size-tagLen], &sentPacket{at: now, flying: true, probe: true})
}

// finish writes the header around the payload that ends at the end of w, and
// accounts for the packet.
func (l *link) finish(now int64, w []byte, rec *sentPacket) (packet, bool) {
	number := l.sent.next()
	key, err := l.sendKeys.use(number, l.largestAcked, l.anyAcked)
	if err != nil {
		l.exhausted = err
		return packet{}, false
	}
	h := header{index: l.cfg.sendIndex, number: number, gen: byte(key.gen)}
	if key.sealed {
		h.flags |= flagSealed
	}
	size := len(w) + tagLen
	if rec.flying && l.askAck(size) {
		h.flags |= flagAckNow
	}
	putHeader(w, &h)
	rec.size = uint32(size)
	l.sent.add(rec)
	if rec.flying {
		l.cc.sent(uint64(size))
		l.elicitAt = now
		l.force -= min(l.force, 1)
		if l.waitSince == 0 {
			l.waitSince = now
		}
	}
	l.stats.DatagramsSent++
	l.stats.BytesSent += uint64(size)
	return packet{number: number, size: size, key: key}, true
}

// askAck decides whether the receiver should acknowledge at once: about three
// times per window, and whenever the sender waits for it. Otherwise
// acknowledgements travel with the answers or after ackDelay.
func (l *link) askAck(size int) bool {
	l.asked += uint64(size)
	if l.phase == phaseUp && l.force == 0 && l.asked < l.window()/3 {
		return false
	}
	l.asked = 0
	return true
}
