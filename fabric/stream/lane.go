package stream

import (
	"encoding/binary"
	"sync"

	"github.com/raftdv/dv/fabric"
)

// chunk is a run of whole wire frames of one lane.
type chunk struct {
	b     []byte // capacity chunkLen
	off   int    // what was written or given up
	next  *chunk
	begun uint64 // sequence after the last frame whose first byte is in here; 0: none
	ended uint64 // sequence after the last frame whose last byte is in here; 0: none
}

func (k *chunk) len() int { return len(k.b) - k.off }

var chunkPool = sync.Pool{New: func() any { return &chunk{b: make([]byte, 0, chunkLen)} }}

func newChunk() *chunk { return chunkPool.Get().(*chunk) }

func (k *chunk) free() {
	*k = chunk{b: k.b[:0]}
	chunkPool.Put(k)
}

// entry is a frame that was accepted and not acked.
type entry struct {
	ticket uint64
	at     int64 // when it was accepted
	weight int   // against Queue.Bytes; 0: it was given up and resolved
	wire   int   // bytes on the wire
}

// ring is a queue that keeps its memory.
type ring struct {
	b       []entry // length a power of two
	head, n int
}

func (r *ring) at(i int) *entry { return &r.b[(r.head+i)&(len(r.b)-1)] }

func (r *ring) push(e entry) {
	if r.n == len(r.b) {
		b := make([]entry, max(64, 2*len(r.b)))
		for i := range r.n {
			b[i] = *r.at(i)
		}
		r.b, r.head = b, 0
	}
	r.n++
	*r.at(r.n - 1) = e
}

func (r *ring) pop() {
	r.head = (r.head + 1) & (len(r.b) - 1)
	r.n--
}

// sendLane is one lane of one connection. sendConn.mu guards it.
//
// Invariant: acked ≤ taken ≤ begun ≤ next; entries holds acked to next-1;
// the chunks hold the frames from begun on, and the rest of the one before it.
type sendLane struct {
	bound      Queue
	window     int // bytes that may be on the wire now, at most bound.Window
	head, tail *chunk
	entries    ring
	weight     int // of entries

	first uint64 // sequence that this connection started with
	next  uint64 // of the frame accepted next
	begun uint64 // frames before it have their first byte on the wire
	taken uint64 // frames before it are on the wire
	acked uint64 // frames before it are acked

	wire      uint64 // bytes on the wire so far
	wireAcked uint64 // of these, taken in by the receiver
	ackSeen   uint64 // sequence of the last ack

	voidFirst, voidCount uint64 // frames given up that the receiver does not know of
}

func (l *sendLane) start(next uint64, bound Queue) {
	l.bound, l.window = bound, bound.Window
	l.first, l.next, l.begun, l.taken, l.acked = next, next, next, next, next
}

// admits reports whether there is credit (F3).
func (l *sendLane) admits(weight int) bool {
	return l.entries.n < l.bound.Frames && (l.weight == 0 || l.weight+weight <= l.bound.Bytes)
}

// room returns a chunk that n bytes can be appended to.
func (l *sendLane) room(n int) *chunk {
	k := l.tail
	if k == nil || len(k.b)+n > chunkLen {
		k = newChunk()
		if l.tail == nil {
			l.head = k
		} else {
			l.tail.next = k
		}
		l.tail = k
	}
	return k
}

// append encodes a frame; h has everything but the link sequence.
func (l *sendLane) append(h *fabric.Header, patch, body []byte, e entry) {
	h.Link = l.next
	l.next++
	if len(body) <= pieceLen {
		k := l.room(fabric.FrameSize(h, patch, body))
		before := len(k.b)
		k.b = fabric.AppendFrame(k.b, h, patch, body)
		k.begun, k.ended = l.next, l.next
		e.wire = len(k.b) - before
	} else {
		e.wire = l.appendPieces(h, patch, body)
	}
	l.weight += e.weight
	l.entries.push(e)
}

func (l *sendLane) appendPieces(h *fabric.Header, patch, body []byte) (wire int) {
	has := h.Has
	h.Has |= fabric.HasFragment
	h.Fragment = fabric.Fragment{Count: pieces(len(body)), Total: uint64(len(body))}
	for len(body) > 0 {
		n := min(pieceLen, len(body))
		k := l.room(fabric.FrameSize(h, patch, body[:n]))
		before := len(k.b)
		k.b = fabric.AppendFrame(k.b, h, patch, body[:n])
		wire += len(k.b) - before
		if h.Fragment.Index == 0 {
			k.begun = l.next
		}
		h.Fragment.Index++
		body, patch = body[n:], nil
		if len(body) == 0 {
			k.ended = l.next
		}
	}
	h.Has = has
	return wire
}

func pieces(body int) uint32 { return uint32((body + pieceLen - 1) / pieceLen) }

// ready returns the chunk to be written next, if the window lets it go.
func (l *sendLane) ready() *chunk {
	if l.limited() {
		return nil
	}
	return l.head
}

// limited reports whether something has to wait for the window.
func (l *sendLane) limited() bool {
	return l.head != nil && l.wire > l.wireAcked && l.wire-l.wireAcked+uint64(l.head.len()) > uint64(l.window)
}

// take removes the chunk that ready returned.
func (l *sendLane) take() *chunk {
	k := l.head
	if l.head = k.next; l.head == nil {
		l.tail = nil
	}
	k.next = nil
	l.wire += uint64(k.len())
	l.begun, l.taken = max(l.begun, k.begun), max(l.taken, k.ended)
	return k
}

// takeVoid appends the frame that stands for those given up.
func (l *sendLane) takeVoid(dst []byte, h *fabric.Header) []byte {
	h.Link = l.voidFirst
	before := len(dst)
	dst = fabric.AppendFrame(dst, h, nil, binary.LittleEndian.AppendUint64(nil, l.voidCount))
	l.wire += uint64(len(dst) - before)
	l.begun = max(l.begun, l.voidFirst+l.voidCount)
	l.taken = max(l.taken, l.begun)
	l.voidCount = 0
	return dst
}

// late reports whether a frame that is on the wire was accepted before the
// given time.
func (l *sendLane) late(before int64) bool {
	for i := range int(l.begun - l.acked) {
		if e := l.entries.at(i); e.weight > 0 {
			return e.at < before
		}
	}
	return false
}

// expire gives up the first frame that is not on the wire, if it was accepted
// before the given time, and returns its entry.
func (l *sendLane) expire(before int64) (e entry, ok bool) {
	seq := max(l.begun, l.voidFirst+l.voidCount)
	if seq >= l.next || l.begun != l.taken { // half a frame must be followed by its rest
		return entry{}, false
	}
	p := l.entries.at(int(seq - l.acked))
	if p.at >= before {
		return entry{}, false
	}
	e = *p
	l.cut(e.wire)
	l.weight -= e.weight
	p.weight = 0
	if l.voidCount == 0 {
		l.voidFirst = seq
	}
	l.voidCount++
	return e, true
}

// cut drops the first n bytes of the chunks.
func (l *sendLane) cut(n int) {
	for n > 0 {
		k := l.head
		m := min(n, k.len())
		k.off += m
		n -= m
		if k.len() > 0 {
			return
		}
		if l.head = k.next; l.head == nil {
			l.tail = nil
		}
		k.free()
	}
}

// release pops entries up to the sequence of an ack, at most limit of them, and
// calls visit for each that was not given up.
func (l *sendLane) release(upTo uint64, limit int, visit func(*entry)) {
	for ; l.acked < upTo && limit > 0; limit-- {
		if e := l.entries.at(0); e.weight > 0 {
			l.weight -= e.weight
			visit(e)
		}
		l.entries.pop()
		l.acked++
	}
}

func (l *sendLane) freeChunks() {
	for k := l.head; k != nil; {
		next := k.next
		k.free()
		k = next
	}
	l.head, l.tail = nil, nil
}
