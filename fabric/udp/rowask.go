package udp

import "time"

const (
	// rowAskAfter is how long a row travels without a word on whether it came: a
	// newer one replaces it, and only the newest is wanted. It is the least probe
	// timeout, which would otherwise be the first to notice that it was lost.
	rowAskAfter = maxAckDelay + timerGrain
	// rowPause and rowRegular: after so many rows without a longer pause between
	// two of them it is a slow stream, as idle members have, and the next row is
	// waited for as long.
	rowPause   = 200 * time.Millisecond
	rowRegular = 8
	// rowAskEvery: one row in so many asks for an acknowledgement in any case, so
	// that what only sends rows has round trips measured and losses noticed (RFC
	// 9000 §13.2.4).
	rowAskEvery = 16
)

// rowAsk decides which rows ask for an acknowledgement: those after which no
// newer one follows for rowAskAfter, or that come after a pause of it; in a slow
// stream the pause is rowPause. A stream of rows is its own retransmission;
// acknowledged one by one it costs the peer a datagram for each and both a few
// switches between threads.
type rowAsk struct {
	sentAt  int64  // when the last row was sent
	at      int64  // when the row that asked for nothing has to be sent again; farFuture: not
	row     uint64 // that row
	packet  uint64 // the number of its packet
	silent  int    // rows since the last that asked
	regular int    // rows since the last longer pause
}

// asks decides for a row that leaves in a packet of its own.
func (r *rowAsk) asks(now int64) bool {
	pause := now - r.sentAt
	return r.silent >= rowAskEvery-1 || pause > int64(rowPause) || pause > int64(rowAskAfter) && r.regular < rowRegular
}

// rowLeaves decides whether the packet that w becomes, with the row in it, asks
// for an acknowledgement. There is room for a ping.
func (l *link) rowLeaves(now int64, w []byte, rec *sentPacket) []byte {
	if !rec.flying && l.rowAsk.asks(now) {
		w, rec.flying = append(w, chunkPing), true
	}
	l.rowAsk.sent(now, rec.row, l.sent.next(), rec.flying)
	return w
}

// sent notes how a row has left.
func (r *rowAsk) sent(now int64, row, packet uint64, asked bool) {
	pause := now - r.sentAt
	r.sentAt = now
	if r.regular++; pause > int64(rowPause) {
		r.regular = 0
	}
	if asked {
		r.at, r.silent = farFuture, 0
		return
	}
	r.at, r.row, r.packet = now+int64(rowAskAfter), row, packet
	if pause > int64(rowAskAfter) {
		r.at = now + int64(rowPause)
	}
	r.silent++
}

// insist has the next row ask.
func (r *rowAsk) insist() { r.at, r.silent, r.regular = farFuture, rowAskEvery, 0 }

// covered returns the row that a range of acknowledged packets confirms although
// it did not ask; 0: none.
func (r *rowAsk) covered(lo, hi uint64) uint64 {
	if r.at == farFuture || r.packet < lo || r.packet > hi {
		return 0
	}
	r.at = farFuture
	return r.row
}

// askForRow has the newest row sent again, with the wish for an acknowledgement,
// if nothing newer has replaced it in time.
func (l *link) askForRow(now int64) {
	if now < l.rowAsk.at {
		return
	}
	l.rowAsk.insist()
	if l.rowSent > l.rowAcked {
		l.rowSent, l.rowAt = l.rowAcked, now
	}
}
