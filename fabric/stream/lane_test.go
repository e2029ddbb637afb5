package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/raftdv/dv/fabric"
)

// laneModel drives a sendLane and keeps the books beside it.
type laneModel struct {
	lane     sendLane
	header   fabric.Header
	now      int64
	wire     []byte // what was taken
	tickets  map[uint64]int64
	resolved map[uint64]string
	bytes    map[uint64]int // body length by sequence
}

func newLaneModel(first uint64, bound Queue) *laneModel {
	m := &laneModel{tickets: map[uint64]int64{}, resolved: map[uint64]string{}, bytes: map[uint64]int{}}
	m.header = fabric.Header{Kind: fabric.KindData, Lane: fabric.LaneAppend}
	m.lane.start(first, bound)
	return m
}

// body is recognisable by its sequence.
func laneBody(seq uint64, n int) []byte {
	return bytes.Repeat([]byte{byte(seq*7 + 1)}, n)
}

func (m *laneModel) add(n int) bool {
	weight := frameWeight + n
	if !m.lane.admits(weight) {
		return false
	}
	seq := m.lane.next
	m.lane.append(&m.header, nil, laneBody(seq, n), entry{ticket: seq, at: m.now, weight: weight})
	m.tickets[seq], m.bytes[seq] = m.now, n
	return true
}

func (m *laneModel) take() {
	if m.lane.voidCount > 0 {
		m.wire = m.lane.takeVoid(m.wire, &fabric.Header{Kind: fabric.KindVoid, Lane: fabric.LaneAppend})
	}
	if m.lane.ready() != nil {
		k := m.lane.take()
		m.wire = append(m.wire, k.b[k.off:]...)
		k.free()
	}
}

func (m *laneModel) settle(ticket uint64, how string) error {
	if old := m.resolved[ticket]; old != "" {
		return fmt.Errorf("ticket %d resolved as %s after %s", ticket, how, old)
	}
	m.resolved[ticket] = how
	return nil
}

func (m *laneModel) expire(before int64) error {
	for {
		e, ok := m.lane.expire(before)
		if !ok {
			return nil
		}
		if at := m.tickets[e.ticket]; at >= before {
			return fmt.Errorf("ticket %d of time %d expired before %d", e.ticket, at, before)
		}
		if err := m.settle(e.ticket, "lost"); err != nil {
			return err
		}
	}
}

func (m *laneModel) ack(upTo, bytes uint64) (err error) {
	m.lane.wireAcked = bytes
	m.lane.release(upTo, 1<<30, func(e *entry) {
		if e := m.settle(e.ticket, "acked"); e != nil {
			err = e
		}
	})
	return err
}

// check holds the lane's books against the model's.
func (m *laneModel) check() error {
	l := &m.lane
	if l.acked > l.taken || l.taken > l.begun || l.begun > l.next || l.entries.n != int(l.next-l.acked) {
		return fmt.Errorf("acked %d, taken %d, begun %d, next %d, %d entries", l.acked, l.taken, l.begun, l.next, l.entries.n)
	}
	weight := 0
	for seq := l.acked; seq < l.next; seq++ {
		if m.resolved[seq] == "" {
			weight += frameWeight + m.bytes[seq]
		}
	}
	if weight != l.weight {
		return fmt.Errorf("weight %d, want %d", l.weight, weight)
	}
	if over := l.weight > l.bound.Bytes && l.entries.n > 1; over && l.weight-frameWeight-m.bytes[l.next-1] > 0 {
		return fmt.Errorf("F3: weight %d of at most %d", l.weight, l.bound.Bytes)
	}
	return nil
}

// checkWire reads what a lane has written: every sequence from first on is
// there, once and in order, as a whole frame or in a void; what is in a void
// was lost (F1).
func checkWire(wire []byte, first uint64, size func(uint64) int, lost func(uint64) bool) (next uint64, err error) {
	next = first
	var pieces int
	for len(wire) > 0 {
		var f fabric.Frame
		if wire, err = fabric.ParseFrame(wire, pieceLen, &f); err != nil {
			return next, err
		}
		if f.Link != next {
			return next, fmt.Errorf("sequence %d, want %d", f.Link, next)
		}
		if f.Kind == fabric.KindVoid {
			for range binary.LittleEndian.Uint64(f.Body) {
				if !lost(next) {
					return next, fmt.Errorf("frame %d is in a void and was not lost", next)
				}
				next++
			}
			continue
		}
		if !bytes.Equal(f.Body, laneBody(next, len(f.Body))) {
			return next, fmt.Errorf("frame %d has the bytes of another", next)
		}
		pieces += len(f.Body)
		if f.Has&fabric.HasFragment != 0 && f.Fragment.Index+1 < f.Fragment.Count {
			continue
		}
		if pieces != size(next) {
			return next, fmt.Errorf("frame %d has %d bytes, want %d", next, pieces, size(next))
		}
		pieces = 0
		next++
	}
	return next, nil
}

func TestLaneModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bound := Queue{
			Bytes:  rapid.IntRange(1, 400<<10).Draw(t, "bytes"),
			Frames: rapid.IntRange(1, 200).Draw(t, "frames"),
			Window: rapid.IntRange(1, 300<<10).Draw(t, "window"),
		}
		first := rapid.Uint64Range(1, 1<<60).Draw(t, "first")
		m := newLaneModel(first, bound)
		size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 3*pieceLen))
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add":    func(t *rapid.T) { m.add(size.Draw(t, "size")) },
			"take":   func(*rapid.T) { m.take() },
			"time":   func(t *rapid.T) { m.now += int64(rapid.IntRange(0, 10).Draw(t, "passes")) },
			"expire": func(t *rapid.T) { must(m.expire(m.now - int64(rapid.IntRange(0, 20).Draw(t, "age")))) },
			"ack": func(t *rapid.T) {
				upTo := rapid.Uint64Range(m.lane.acked, m.lane.taken).Draw(t, "up to")
				must(m.ack(upTo, rapid.Uint64Range(m.lane.wireAcked, m.lane.wire).Draw(t, "bytes")))
			},
			"": func(*rapid.T) { must(m.check()) },
		})
		for m.lane.head != nil || m.lane.voidCount > 0 { // all of it leaves
			m.lane.wireAcked = m.lane.wire
			m.take()
		}
		if uint64(len(m.wire)) != m.lane.wire {
			t.Fatalf("%d bytes written, counted as %d", len(m.wire), m.lane.wire)
		}
		next, err := checkWire(m.wire, first, func(seq uint64) int { return m.bytes[seq] }, func(seq uint64) bool { return m.resolved[seq] == "lost" })
		must(err)
		if next != m.lane.next {
			t.Fatalf("the wire ends at %d, the lane at %d", next, m.lane.next)
		}
		must(m.ack(m.lane.next, m.lane.wire))
		must(m.check())
		if len(m.resolved) != len(m.tickets) {
			t.Fatalf("F2: %d of %d tickets resolved", len(m.resolved), len(m.tickets))
		}
	})
}

// The checker of the model test finds what it is there for.
func TestLaneModelNegativeControl(t *testing.T) {
	fill := func() *laneModel {
		m := newLaneModel(1, Queue{Bytes: 1 << 20, Frames: 100, Window: 1 << 20})
		for i := range 5 {
			m.add(100 * i)
			m.take()
		}
		return m
	}
	verdict := func(m *laneModel, wire []byte) error {
		_, err := checkWire(wire, 1, func(seq uint64) int { return m.bytes[seq] }, func(uint64) bool { return false })
		return err
	}
	m := fill()
	if err := verdict(m, m.wire); err != nil {
		t.Fatalf("nothing is wrong: %v", err)
	}
	second := 32 + 32 // behind the first frame, which is empty
	for name, wire := range map[string][]byte{
		"lost":    append(bytes.Clone(m.wire[:32]), m.wire[32+132:]...),
		"twice":   append(bytes.Clone(m.wire[:32]), m.wire...),
		"altered": changed(bytes.Clone(m.wire), second, 0),
		"cut":     m.wire[:len(m.wire)-1],
		"void":    fabric.AppendFrame(nil, &fabric.Header{Kind: fabric.KindVoid, Link: 1}, nil, u64(1)),
	} {
		if verdict(m, wire) == nil {
			t.Errorf("%s: not found", name)
		}
	}
	m.lane.weight++
	if m.check() == nil {
		t.Error("wrong weight: not found")
	}
	m = fill()
	if m.settle(1, "lost") != nil || m.ack(2, 0) == nil {
		t.Error("a ticket resolved twice: not found")
	}
}
