package stream

import (
	"encoding/binary"
	"math"

	"github.com/raftdv/dv/fabric"
)

// opening is the body of the KindCredit frame that opens a connection.
//
// On the wire: epoch 8, then for each lane next 8, window 8, frames 8.
type opening struct {
	// epoch numbers the links of one incarnation of the sender: sequences start
	// at 1 when it rises.
	epoch uint64
	lane  [fabric.Lanes]laneOpening
}

type laneOpening struct {
	next   uint64 // link sequence of the next frame
	window uint64 // bytes that the sender leaves without an ack
	frames uint64 // frames that it leaves without an ack
}

const openingLen = 8 + fabric.Lanes*24

func (o *opening) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, o.epoch)
	for i := range o.lane {
		l := &o.lane[i]
		dst = le.AppendUint64(dst, l.next)
		dst = le.AppendUint64(dst, l.window)
		dst = le.AppendUint64(dst, l.frames)
	}
	return dst
}

func parseOpening(b []byte) (o opening, ok bool) {
	if len(b) != openingLen {
		return o, false
	}
	le := binary.LittleEndian
	o.epoch = le.Uint64(b)
	for i := range o.lane {
		at := b[8+24*i:]
		l := laneOpening{le.Uint64(at), le.Uint64(at[8:]), le.Uint64(at[16:])}
		if l.next == 0 || l.next == math.MaxUint64 || l.window == 0 || l.frames == 0 {
			return o, false
		}
		o.lane[i] = l
	}
	return o, o.epoch != 0
}

// ack is the body of a KindAck frame. All of it is cumulative.
//
// On the wire: for each lane next 8, bytes 8; rows 8.
type ack struct {
	lane [fabric.Lanes]laneAck
	rows uint64 // of this connection
}

type laneAck struct {
	next  uint64 // link sequence expected; 0 before the opening was read
	bytes uint64 // of this connection, taken in
}

const ackLen = fabric.Lanes*16 + 8

func (a *ack) append(dst []byte) []byte {
	le := binary.LittleEndian
	for i := range a.lane {
		dst = le.AppendUint64(dst, a.lane[i].next)
		dst = le.AppendUint64(dst, a.lane[i].bytes)
	}
	return le.AppendUint64(dst, a.rows)
}

func parseAck(b []byte) (a ack, ok bool) {
	if len(b) != ackLen {
		return a, false
	}
	le := binary.LittleEndian
	for i := range a.lane {
		a.lane[i] = laneAck{le.Uint64(b[16*i:]), le.Uint64(b[16*i+8:])}
	}
	a.rows = le.Uint64(b[16*fabric.Lanes:])
	return a, true
}

// ackBufferLen is the buffer for the ack direction: any header fits, and a body
// of maxHopBody, which none of its frames exceeds.
const (
	ackBufferLen = 16 << 10
	maxHopBody   = 256
)

// protection is what every frame of a session has.
func (s *Session) protection() fabric.Sections {
	if s.Checksum {
		return fabric.HasCRC
	}
	return 0
}

// parse decodes one frame of a session.
func (s *Session) parse(b []byte, maxBody int, f *fabric.Frame) (rest []byte, err error) {
	rest, err = fabric.ParseFrame(b, maxBody, f)
	switch {
	case err == fabric.ErrShort: //nolint:errorlint // ParseFrame says so
		return rest, err
	case err != nil:
		return rest, malformed(err)
	case s.Checksum && f.Has&fabric.HasCRC == 0:
		return rest, ErrUnprotected
	}
	return rest, nil
}
