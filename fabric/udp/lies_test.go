package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// digest is a hash of everything that a datagram may change.
func (l *link) digest() uint64 {
	h := fnv.New64a()
	c := *l
	c.cfg, c.sendKeys, c.scratch, c.row = linkConfig{}, sendKeys{}, nil, nil
	c.recvKeys = recvKeys{}
	c.stats.Refused = 0
	for i := range c.out {
		c.out[i].ring = nil
	}
	fmt.Fprintf(h, "%+v", c)
	return h.Sum64()
}

// liar is a peer that holds the right keys and sends what it likes.
type liar struct {
	t      *testing.T
	s      *sim
	victim *simNode
	number uint64
}

func newLiar(t *testing.T) *liar {
	s := newSim(1, t.Errorf)
	a, b := simPair(s, simFaults{delay: time.Millisecond}, nil)
	s.run(100e6)
	if b.l.phase != phaseUp {
		t.Fatal("link is not up")
	}
	a.mute = true
	return &liar{t: t, s: s, victim: b, number: b.l.rcvd.next}
}

// say sends one payload.
func (x *liar) say(payload []byte) verdict {
	l := x.victim.l
	h := header{number: x.number, index: l.cfg.recvIndex}
	x.number++
	v := l.receive(x.s.now, &h, l.recvKeys.cur, bytes.Clone(payload), !x.victim.busy, &x.victim.ev)
	x.victim.resolve()
	if err := l.check(); err != nil {
		x.t.Fatal(err)
	}
	return v
}

func stream(lane fabric.Lane, offset uint64, data []byte) []byte {
	return append(appendStreamHead(nil, lane, offset, len(data)), data...)
}

func ackOf(n uint64) []byte {
	b := binary.AppendUvarint([]byte{chunkAck, 0}, n)
	return append(b, 0, 0)
}

// TestLies: what no honest peer says is refused whole, and changes nothing.
func TestLies(t *testing.T) {
	window := uint64(64 << 10)
	good := appendSkip(nil, fabric.LaneControl, 0, 1)
	for name, lie := range map[string][]byte{
		"ack of what was never sent":    ackOf(1 << 40),
		"ack below zero":                {chunkAck, 0, 3, 1, 1, 5, 0},
		"ack range beyond its start":    {chunkAck, 0, 3, 0, 9},
		"bytes beyond the credit":       stream(fabric.LaneControl, window-5, make([]byte, 10)),
		"bytes at the end of the world": stream(fabric.LaneControl, 1<<64-3, make([]byte, 10)),
		"skip beyond the credit":        appendSkip(nil, fabric.LaneControl, window+1, 2),
		"a row that is none":            appendRow(nil, []byte("no row")),
		"another member's row":          appendRow(nil, fabric.AppendRow(nil, &fabric.Row{Owner: 77, Incarnation: 1, Version: 1})),
		"unknown chunk":                 {99},
		"good, then bad":                append(bytes.Clone(good), 99),
	} {
		t.Run(name, func(t *testing.T) {
			x := newLiar(t)
			before := x.victim.l.digest()
			if v := x.say(lie); v != badContent {
				t.Errorf("%v, want %v", v, badContent)
			}
			if x.victim.l.digest() != before {
				t.Error("the state has changed")
			}
			if v := x.say(good); v != accepted {
				t.Errorf("afterwards the truth is refused: %v", v)
			}
			if x.victim.l.digest() == before {
				t.Error("the digest sees no change where there is one")
			}
		})
	}
}

// TestUnreadableStreamEndsTheSession: bytes within the credit that are no frame.
func TestUnreadableStreamEndsTheSession(t *testing.T) {
	frame := func(link uint64, lane fabric.Lane, n int) []byte {
		return fabric.AppendFrame(nil, &fabric.Header{Kind: fabric.KindData, Link: link, Lane: lane}, nil, make([]byte, n))
	}
	for name, data := range map[string][]byte{
		"no frame":           bytes.Repeat([]byte("garbage "), 10),
		"too large":          frame(1, fabric.LaneBulk, 41<<10)[:100],
		"numbered wrong":     frame(2, fabric.LaneBulk, 5),
		"numbered backwards": append(frame(1, fabric.LaneBulk, 5), frame(1, fabric.LaneBulk, 5)...),
	} {
		t.Run(name, func(t *testing.T) {
			x := newLiar(t)
			x.victim.send(fabric.LaneAppend, 10, 0)
			if v := x.say(stream(fabric.LaneBulk, 0, data)); v != accepted {
				t.Fatal(v)
			}
			if l := x.victim.l; l.phase != phaseDead || !strings.Contains(fmt.Sprint(l.why), ErrProtocol.Error()) {
				t.Fatalf("phase %d, %v", l.phase, l.why)
			}
			if x.victim.tickets[1].state != "lost" {
				t.Error("F2: the ticket in flight was not resolved")
			}
			if v := x.say([]byte{chunkPing}); v != gateShut {
				t.Errorf("the session goes on: %v", v)
			}
		})
	}
}

// TestMemoryUnderALiar: holes, skips and packet numbers that cost the liar
// little cost the victim no more than its bounds (F3). check runs after each.
func TestMemoryUnderALiar(t *testing.T) {
	t.Run("holes", func(t *testing.T) {
		x := newLiar(t)
		refused := 0
		for offset := uint64(2); offset < 60<<10; offset += 2 {
			switch v := x.say(stream(fabric.LaneControl, offset, []byte{1})); v {
			case accepted:
			case noRoom:
				refused++
			default:
				t.Fatal(v)
			}
		}
		if in := &x.victim.l.in[fabric.LaneControl]; refused == 0 || len(in.holes) > maxHoles {
			t.Errorf("%d holes are kept, %d refused", len(in.holes), refused)
		}
	})
	t.Run("skips while the handler is stuck", func(t *testing.T) {
		x := newLiar(t)
		x.victim.busy = true
		refused := 0
		for i := range uint64(100) {
			x.say(stream(fabric.LaneControl, 10*i+2, []byte{1}))
			if x.say(appendSkip(nil, fabric.LaneControl, 10*i+2, i+2)) == noRoom {
				refused++
			}
		}
		if n := x.victim.l.in[fabric.LaneControl].skips.len(); refused == 0 || n > maxSkips {
			t.Errorf("%d skips are kept, %d refused", n, refused)
		}
	})
	t.Run("a full window while the handler is stuck", func(t *testing.T) {
		x := newLiar(t)
		x.victim.busy = true
		for lane, w := range x.victim.l.cfg.windows {
			for at := 0; at < w; at += 1024 {
				if v := x.say(stream(fabric.Lane(lane), uint64(at), make([]byte, min(1024, w-at)))); v != accepted {
					t.Fatalf("%d of %d: %v", at, w, v)
				}
			}
			if v := x.say(stream(fabric.Lane(lane), uint64(w), []byte{1})); v != badContent {
				t.Errorf("beyond the window: %v", v)
			}
		}
	})
	t.Run("packet numbers", func(t *testing.T) {
		x := newLiar(t)
		for range 1000 {
			x.number += 1 << 40
			if v := x.say([]byte{chunkPing}); v != accepted {
				t.Fatal(v)
			}
			x.victim.buf.fill(x.victim.l, x.s.now, true)
		}
	})
	t.Run("never an ack", func(t *testing.T) {
		x := newLiar(t)
		say := func() { x.say([]byte{chunkPing}) } // it lives, and hears nothing
		for range 4000 {
			x.s.now += 1e6
			say()
			x.victim.send(fabric.LaneAppend, 1000, 0)
			x.victim.settleDown()
		}
		if n := x.victim.l.sent.ring.len(); n > 2*maxSpan {
			t.Errorf("%d packets are remembered", n)
		}
		if x.victim.l.phase == phaseUp {
			t.Error("a peer that never acknowledges is up")
		}
	})
}

// TestWindowLies: credit that is taken back or exaggerated.
func TestWindowLies(t *testing.T) {
	x := newLiar(t)
	l := x.victim.l
	before := l.out[0].limit
	if v := x.say(appendWindow(nil, &[fabric.Lanes]uint64{}, 0)); v != accepted {
		t.Fatal(v)
	}
	if l.out[0].limit != before {
		t.Error("credit fell: a frame that was accepted could never be sent")
	}
	if w := l.window(); w < minDatagram {
		t.Errorf("window %d: a burst of 0 stops the link", w)
	}
	x.say(appendWindow(nil, &[fabric.Lanes]uint64{1 << 62, 1 << 62, 1 << 62}, 1<<32-1))
	accepted := 0
	for x.victim.send(fabric.LaneControl, 1000, 0) {
		accepted += 1000
	}
	if bound := l.cfg.windows[fabric.LaneControl]; accepted > bound || accepted < bound/2 {
		t.Errorf("%d bytes are queued, the configuration allows %d", accepted, bound)
	}
}
