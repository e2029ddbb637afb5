package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftdv/dv/fabric"
)

// laneModel is a sending and a receiving lane with a path between them that
// does as it is told.
type laneModel struct {
	t   *rapid.T
	out sendLane
	in  recvLane
	ev  events
	now int64

	bodies  map[uint64][]byte // by link sequence, what was accepted
	tickets map[uint64]string // by link sequence: pending, acked, lost
	path    []carried
	arrived []carried // and not acknowledged
	next    uint64    // link sequence due
	busy    bool
}

// carried is a piece or a skip on its way.
type carried struct {
	p    piece
	data []byte
	skip bool
	off  uint64
	link uint64
}

func newLaneModel(t *rapid.T) *laneModel {
	m := &laneModel{t: t, bodies: make(map[uint64][]byte), tickets: make(map[uint64]string), next: firstLink}
	window := rapid.IntRange(300, 3000).Draw(t, "window")
	m.out.init(fabric.LaneAppend, window, 20)
	m.in.init(fabric.LaneAppend, window, 200)
	m.out.limit = m.in.limit
	if rapid.Bool().Draw(t, "resumed") {
		start := rapid.Uint64Range(2, 50).Draw(t, "from")
		m.out.resume(start)
		m.next = rapid.Uint64Range(firstLink, start).Draw(t, "receiver from")
		m.in.link = m.next
		for n := m.next; n < start; n++ {
			m.tickets[n] = "lost"
		}
	}
	return m
}

func (m *laneModel) pick(list *[]carried, name string, keep bool) (c carried, ok bool) {
	if len(*list) == 0 {
		return c, false
	}
	i := rapid.IntRange(0, len(*list)-1).Draw(m.t, name)
	c = (*list)[i]
	if !keep {
		*list = append((*list)[:i], (*list)[i+1:]...)
	}
	return c, true
}

func (m *laneModel) accept() {
	body := bytes.Repeat([]byte{byte(m.now)}, rapid.IntRange(0, 200).Draw(m.t, "body"))
	h := fabric.Header{Kind: fabric.KindData, Lane: fabric.LaneAppend}
	var scratch []byte
	if m.out.accept(&h, nil, body, m.out.link, m.now, &scratch) {
		m.bodies[h.Link], m.tickets[h.Link] = body, "pending"
	}
}

func (m *laneModel) transmit() {
	if !m.out.pending() {
		return
	}
	b, p := m.out.take(nil, rapid.IntRange(1, 400).Draw(m.t, "piece"))
	m.path = append(m.path, carried{p: p, data: b[chunkHead:]})
}

func (m *laneModel) sendSkip() {
	if o := &m.out; !o.skipAcked {
		m.path = append(m.path, carried{skip: true, off: o.skip, link: o.skipLink})
	}
}

func (m *laneModel) arrive() {
	c, ok := m.pick(&m.path, "arrives", rapid.IntRange(0, 9).Draw(m.t, "doubled") == 0)
	if !ok {
		return
	}
	if c.skip {
		if c.off > m.in.limit {
			m.t.Fatalf("skip to %d beyond the limit %d", c.off, m.in.limit)
		}
		if m.in.skips.len() >= maxSkips {
			return
		}
		m.in.skipTo(c.off, c.link)
	} else {
		if v := m.in.fits(c.p.offset, len(c.data)); v != accepted {
			m.t.Fatalf("an honest piece is refused: %v", v)
		}
		m.end(m.in.add(c.p.offset, bytes.Clone(c.data), !m.busy, &m.ev))
	}
	m.arrived = append(m.arrived, c)
	if !m.busy {
		m.end(m.in.take(&m.ev, noLimit))
		m.hear()
	}
}

func (m *laneModel) end(err error) {
	if err != nil {
		m.t.Fatalf("F1: an honest stream cannot be read: %v", err)
	}
}

func (m *laneModel) ack() {
	c, ok := m.pick(&m.arrived, "acked", false)
	if !ok {
		return
	}
	if c.skip {
		m.settle(m.out.onSkipAcked(c.off, m.now, 1, nil))
		return
	}
	m.settle(m.out.onAcked(c.p, m.now, 1, nil))
}

func (m *laneModel) lose() {
	list := &m.path
	if rapid.Bool().Draw(m.t, "only the ack") {
		list = &m.arrived
	}
	c, ok := m.pick(list, "lost", rapid.Bool().Draw(m.t, "spurious"))
	if !ok {
		return
	}
	if c.skip {
		m.out.onSkipLost(c.off)
		return
	}
	m.out.onLost(c.p)
}

func (m *laneModel) settle(list []fabric.Resolution) {
	for _, r := range list {
		if got := m.tickets[r.Ticket]; got != "pending" {
			m.t.Fatalf("F2: frame %d is settled (%v) and was %q", r.Ticket, r.Err, got)
		}
		m.tickets[r.Ticket] = "acked"
		if r.Err != nil {
			m.tickets[r.Ticket] = "lost"
		}
	}
}

// hear checks what was handed over.
func (m *laneModel) hear() {
	frames := make([]fabric.Frame, 3)
	for i := range m.ev.list {
		e := &m.ev.list[i]
		if e.kind == eventGap {
			m.gap(e.gap)
		}
		for e.kind == eventFrames && e.count > 0 {
			n, err := e.parse(frames, 200)
			if err != nil {
				m.t.Fatalf("F1: %v", err)
			}
			for _, f := range frames[:n] {
				if f.Link != m.next || !bytes.Equal(f.Body, m.bodies[f.Link]) {
					m.t.Fatalf("F1: frame %d of %d bytes where %d is due", f.Link, len(f.Body), m.next)
				}
				m.next++
			}
		}
	}
	m.ev.reset()
}

func (m *laneModel) gap(g fabric.Gap) {
	if g.First != m.next {
		m.t.Fatalf("F1: gap %+v where %d is due", g, m.next)
	}
	for range g.Count {
		if m.tickets[m.next] != "lost" {
			m.t.Fatalf("F1, F2: frame %d is missing, its ticket is %q", m.next, m.tickets[m.next])
		}
		m.next++
	}
}

func (m *laneModel) check() {
	if err := m.out.check(); err != nil {
		m.t.Fatalf("sender: %v", err)
	}
	if err := m.in.check(); err != nil {
		m.t.Fatalf("receiver: %v", err)
	}
}

// rest lets everything come to its end.
func (m *laneModel) rest() {
	m.busy = false
	for range 10_000 {
		m.in.release()
		m.end(m.in.take(&m.ev, noLimit))
		m.hear()
		m.in.release()
		m.out.limit = max(m.out.limit, m.in.grant())
		if len(m.path) == 0 && len(m.arrived) == 0 && !m.out.pending() && m.out.skipAcked {
			break
		}
		for _, c := range m.path {
			if !c.skip {
				m.out.onLost(c.p) // sent again below
			}
		}
		for m.out.pending() {
			b, p := m.out.take(nil, 300)
			m.path = append(m.path, carried{p: p, data: b[chunkHead:]})
		}
		m.sendSkip()
		for _, c := range m.path {
			if c.skip {
				m.in.skipTo(c.off, c.link)
			} else {
				m.end(m.in.add(c.p.offset, c.data, true, &m.ev))
			}
			m.end(m.in.take(&m.ev, noLimit))
			m.hear()
		}
		for _, c := range append(m.path, m.arrived...) {
			if c.skip {
				m.settle(m.out.onSkipAcked(c.off, m.now, 1, nil))
			} else {
				m.settle(m.out.onAcked(c.p, m.now, 1, nil))
			}
		}
		m.path, m.arrived = nil, nil
	}
	if m.next != m.out.link {
		m.t.Fatalf("F1: frames up to %d were accepted, the receiver is at %d", m.out.link, m.next)
	}
	for link, state := range m.tickets {
		if state == "pending" {
			m.t.Fatalf("F2: frame %d is never settled", link)
		}
	}
}

// TestLanes drives a lane's two halves through every order of events.
func TestLanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newLaneModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"accept":   func(*rapid.T) { m.accept() },
			"transmit": func(*rapid.T) { m.transmit() },
			"skip":     func(*rapid.T) { m.sendSkip() },
			"arrive":   func(*rapid.T) { m.arrive() },
			"arrive 2": func(*rapid.T) { m.arrive() },
			"ack":      func(*rapid.T) { m.ack() },
			"lose":     func(*rapid.T) { m.lose() },
			"expire": func(t *rapid.T) {
				since := m.now - rapid.Int64Range(0, 30).Draw(t, "age")
				m.settle(m.out.expire(since, m.now, fabric.Lost(fabric.ErrTimeout), 1, nil))
			},
			"credit": func(*rapid.T) { m.out.limit = max(m.out.limit, m.in.grant()) },
			"busy":   func(*rapid.T) { m.busy = true },
			"return": func(*rapid.T) {
				m.busy = false
				m.in.release()
				m.end(m.in.take(&m.ev, rapid.IntRange(1, 5).Draw(t, "limit")))
				m.hear()
				m.in.release()
			},
			"": func(*rapid.T) {
				m.now++
				m.check()
			},
		})
		m.rest()
	})
}

// TestSendRing: a frame that wraps around the ring's end comes out whole, and
// growing keeps what is in it.
func TestSendRing(t *testing.T) {
	var l sendLane
	l.init(fabric.LaneBulk, 1<<16, 1000)
	l.limit = 1 << 40
	var scratch, got, want []byte
	for i := range 400 {
		body := binary.LittleEndian.AppendUint64(bytes.Repeat([]byte{byte(i)}, i*7%1500), uint64(i))
		h := fabric.Header{Kind: fabric.KindData, Lane: fabric.LaneBulk}
		if !l.accept(&h, nil, body, 0, 0, &scratch) {
			t.Fatalf("frame %d is refused with %d bytes queued", i, l.end-l.base)
		}
		want = fabric.AppendFrame(want, &h, nil, body)
		for l.pending() && i%5 > 0 {
			b, p := l.take(nil, 1000)
			got = append(got, b[chunkHead:]...)
			l.onAcked(p, 0, 1, nil)
		}
	}
	for l.pending() {
		b, _ := l.take(nil, 1000)
		got = append(got, b[chunkHead:]...)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came out, %d went in", len(got), len(want))
	}
}

// TestQueueBounds: bytes, frames and the receiver's credit each bound a lane
// (F3).
func TestQueueBounds(t *testing.T) {
	fill := func(bound, frames int, limit uint64, size int) int {
		var l sendLane
		l.init(fabric.LaneAppend, bound, frames)
		l.limit = limit
		var scratch []byte
		for n := 0; ; n++ {
			h := fabric.Header{Kind: fabric.KindData, Lane: fabric.LaneAppend}
			if !l.accept(&h, nil, make([]byte, size), 0, 0, &scratch) {
				if l.stats.NoCredit != 1 || l.link != uint64(n)+firstLink {
					t.Errorf("after %d frames: %d refusals counted, next frame is %d", n, l.stats.NoCredit, l.link)
				}
				return n
			}
		}
	}
	for _, c := range []struct {
		what          string
		bound, frames int
		limit         uint64
		size, want    int
	}{
		{"bytes", 1000, 100, 1 << 30, 68, 10},
		{"frames", 1 << 20, 7, 1 << 30, 0, 7},
		{"credit", 1 << 20, 100, 500, 68, 5},
	} {
		if got := fill(c.bound, c.frames, c.limit, c.size); got != c.want {
			t.Errorf("bound by %s: %d frames accepted, want %d", c.what, got, c.want)
		}
	}
}

// TestEventParse: frames of a run are checked against what is due.
func TestEventParse(t *testing.T) {
	var data []byte
	for link := uint64(5); link < 10; link++ {
		data = fabric.AppendFrame(data, &fabric.Header{Kind: fabric.KindData, Lane: fabric.LaneBulk, Link: link}, []byte("p"), fmt.Append(nil, link))
	}
	frames := make([]fabric.Frame, 2)
	e := event{kind: eventFrames, lane: fabric.LaneBulk, data: data, link: 5, count: 5}
	for want := uint64(5); e.count > 0; {
		n, err := e.parse(frames, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames[:n] {
			if f.Link != want || string(f.Body) != fmt.Sprint(want) {
				t.Errorf("frame %d with body %q, want %d", f.Link, f.Body, want)
			}
			want++
		}
	}
	for name, e := range map[string]event{
		"other lane":   {kind: eventFrames, lane: fabric.LaneAppend, data: data, link: 5, count: 1},
		"other number": {kind: eventFrames, lane: fabric.LaneBulk, data: data, link: 6, count: 1},
		"too large":    {kind: eventFrames, lane: fabric.LaneBulk, data: data, link: 5, count: 1},
	} {
		limit := 100
		if name == "too large" {
			limit = 1
		}
		if _, err := e.parse(frames, limit); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
