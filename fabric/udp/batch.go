package udp

// batch is a set of datagrams of one size, the last one perhaps shorter, that
// one call hands to the kernel.
type batch struct {
	buf     []byte // maxBatch bytes
	n       int
	seg     int
	packets [maxSegments]packet
	count   int
	nonce   [nonceLen]byte
	sent    int // bytes that the kernel has taken
}

// fill builds what the link wants to send now. With segments it goes on while
// datagrams are full and alike.
func (t *batch) fill(l *link, now int64, segments bool) {
	t.n, t.count, t.sent = 0, 0, 0
	l.beginBatch(now)
	t.build(l, now, segments)
	if t.count > 0 && l.endBatch(now) {
		last := &t.packets[t.count-1]
		askAck(t.buf[t.n-last.size:])
	}
}

func (t *batch) build(l *link, now int64, segments bool) {
	for limit := maxDatagram; ; limit = t.seg {
		pk, ok := l.build(now, t.buf[t.n:], limit)
		if !ok {
			return
		}
		if t.count == 0 {
			t.seg = pk.size
		}
		t.packets[t.count] = pk
		t.count++
		t.n += pk.size
		// Control data needs minDatagram; a shorter datagram ends the batch.
		if !segments || pk.size < max(t.seg, minDatagram) || t.count == maxSegments || t.n+t.seg > maxBatch {
			return
		}
	}
}

// seal seals the datagrams. It needs no lock: keys do not change.
func (t *batch) seal() {
	at := 0
	for i := range t.packets[:t.count] {
		p := &t.packets[i]
		p.key.seal(t.buf[at:at+p.size], p.number, &t.nonce)
		at += p.size
	}
}

func (t *batch) rest() []byte { return t.buf[t.sent:t.n] }
