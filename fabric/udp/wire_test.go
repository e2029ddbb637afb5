package udp

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// TestWireFormat pins the bytes: a change of them is a change of version.
func TestWireFormat(t *testing.T) {
	b := make([]byte, headerLen)
	putHeader(b, &header{flags: flagSealed | flagAckNow, gen: 3, index: 0x0102030405060708, number: 0x1112131415161718})
	var r received
	for _, n := range []uint64{0, 1, 2, 5, 6, 9} {
		r.add(n, 1_000_000)
	}
	b = append(b, chunkPing)
	b = r.appendAck(b, 1_300_000)
	b = appendWindow(b, &[fabric.Lanes]uint64{1, 2, 3}, 4)
	b = appendSkip(b, fabric.LaneBulk, 5, 6)
	b = appendRow(b, []byte("row"))
	b = append(appendStreamHead(b, fabric.LaneAppend, 7, 2), "ab"...)
	b = append(b, chunkClose, chunkPadding)
	want := "640103030807060504030201" + "1817161514131211" + // header
		"01" + // ping
		"02ac020902" + "00" + "0101" + "0102" + // ack: 300 µs, largest 9, two more ranges; 9; 6 and 5; 2 to 0
		"03010000000000000002000000000000000300000000000000" + "04000000" + // window
		"0402" + "0500000000000000" + "0600000000000000" + // skip
		"050300" + "726f77" + // row
		"110200" + "0700000000000000" + "6162" + // stream
		"0600"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var types []byte
	for rest := b[headerLen:]; len(rest) > 0; {
		var c chunk
		var err error
		if rest, err = nextChunk(rest, &c); err != nil {
			t.Fatal(err)
		}
		types = append(types, c.typ)
	}
	if want := []byte{chunkPing, chunkAck, chunkWindow, chunkSkip, chunkRow, chunkStream, chunkClose, chunkPadding}; !bytes.Equal(types, want) {
		t.Errorf("chunks %v, want %v", types, want)
	}
}

// TestChunksCutShort: no prefix of a chunk is taken for a whole one.
func TestChunksCutShort(t *testing.T) {
	var r received
	for _, n := range []uint64{0, 300, 302} {
		r.add(n, 0)
	}
	for name, b := range map[string][]byte{
		"ack":    r.appendAck(nil, 1<<40),
		"window": appendWindow(nil, &[fabric.Lanes]uint64{}, 0),
		"skip":   appendSkip(nil, 0, 1, 2),
		"row":    appendRow(nil, []byte("some row")),
		"stream": append(appendStreamHead(nil, 0, 9, 4), "abcd"...),
	} {
		var c chunk
		if rest, err := nextChunk(b, &c); err != nil || len(rest) != 0 {
			t.Errorf("%s: %v, rest %x", name, err, rest)
		}
		for n := 1; n < len(b); n++ {
			if rest, err := nextChunk(b[:n], &c); err == nil {
				t.Errorf("%s: %d bytes of %d are taken as chunk %d, rest %x", name, n, len(b), c.typ, rest)
			}
		}
	}
	for _, bad := range [][]byte{{7}, {chunkStream + fabric.Lanes}, {255}, append(appendStreamHead(nil, 0, 0, 0), 0), appendSkip(nil, fabric.Lanes, 0, 0)} {
		var c chunk
		if _, err := nextChunk(bad, &c); err == nil {
			t.Errorf("%x is taken as chunk %d", bad, c.typ)
		}
	}
}

func TestParseHeader(t *testing.T) {
	good := sealedDatagram(testKey(t, true), 5, []byte("payload"))
	var h header
	if v := parseHeader(good, &h); v != accepted || h.number != 5 || h.index != 7 || h.flags != flagSealed {
		t.Fatalf("%v: %+v", v, h)
	}
	for name, x := range map[string]struct {
		edit func(b []byte) []byte
		want verdict
	}{
		"empty":           {func(b []byte) []byte { return nil }, badFormat},
		"short":           {func(b []byte) []byte { return b[:overhead-1] }, badFormat},
		"magic":           {func(b []byte) []byte { b[0]++; return b }, badFormat},
		"version":         {func(b []byte) []byte { b[1]++; return b }, badVersion},
		"unknown flag":    {func(b []byte) []byte { b[2] |= 0x40; return b }, badVersion},
		"nothing in it":   {func(b []byte) []byte { return b[:overhead] }, accepted},
		"the peer's flag": {func(b []byte) []byte { b[2] |= flagAckNow; return b }, accepted},
	} {
		if got := parseHeader(x.edit(bytes.Clone(good)), &h); got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

// FuzzDatagram feeds payloads that carry a good seal: an honest member's link
// survives whatever its peer says, keeps its bounds (F3), and changes nothing
// for what it refuses.
func FuzzDatagram(f *testing.F) {
	var r received
	r.add(0, 0)
	frame := fabric.AppendFrame(nil, &fabric.Header{Kind: fabric.KindData, Link: 1, Lane: fabric.LaneAppend}, []byte("patch"), []byte("body"))
	row := fabric.AppendRow(nil, &fabric.Row{Owner: 2, Incarnation: 1, Version: 1})
	f.Add(r.appendAck(nil, 5), uint64(1))
	f.Add(appendWindow(nil, &[fabric.Lanes]uint64{1 << 20, 1 << 63, 1<<64 - 1}, 0), uint64(1))
	f.Add(appendSkip(nil, fabric.LaneAppend, 100, 7), uint64(2))
	f.Add(appendSkip(appendSkip(nil, 0, 1<<64-1, 1), 0, 5, 1<<64-1), uint64(2))
	f.Add(appendRow(nil, row), uint64(3))
	f.Add(append(appendStreamHead(nil, fabric.LaneAppend, 0, len(frame)), frame...), uint64(4))
	f.Add(append(appendStreamHead(nil, fabric.LaneAppend, 40, 20), frame[:20]...), uint64(9))
	f.Add([]byte{chunkPing, chunkClose}, uint64(5))
	f.Fuzz(func(t *testing.T, payload []byte, number uint64) {
		s := newSim(1, t.Errorf)
		a, b := simPair(s, simFaults{}, nil)
		a.send(fabric.LaneAppend, 100, 0)
		s.run(50e6)
		for range 3 {
			a.send(fabric.LaneAppend, 100, 3)
		}
		l := b.l
		before := l.digest()
		var ev events
		h := header{number: l.rcvd.next + number%replayWindow, index: l.cfg.recvIndex}
		v := l.receive(s.now, &h, l.recvKeys.cur, bytes.Clone(payload), number%2 == 0, &ev)
		if v != accepted && l.digest() != before {
			t.Fatalf("%v, and the state has changed", v)
		}
		if err := l.check(); err != nil {
			t.Fatal(err)
		}
		frames := make([]fabric.Frame, 4)
		for i := range ev.list {
			e := &ev.list[i]
			for e.kind == eventFrames && e.count > 0 {
				if _, err := e.parse(frames, l.cfg.maxFrame); err != nil {
					break
				}
			}
		}
		l.release(s.now)
		for range 50 {
			l.tick(s.now, &ev)
			b.buf.fill(l, s.now, true)
			if err := l.check(); err != nil {
				t.Fatal(err)
			}
			s.now += 50e6
		}
	})
}
