package udp

import (
	"fmt"

	"github.com/raftdv/dv/fabric"
)

type eventKind uint8

const (
	eventFrames eventKind = iota
	eventGap
	eventRow
	eventLink
)

// event is one thing that a link has to tell the handler.
type event struct {
	kind  eventKind
	lane  fabric.Lane
	data  []byte // whole frames, or a row
	link  uint64 // of the first frame
	count int    // of frames
	gap   fabric.Gap
	state fabric.LinkState
}

// events is what one step of a link produced: in order what concerns the peer,
// and the tickets that were settled. Its owner reuses it.
type events struct {
	list    []event
	settled []fabric.Resolution
}

func (e *events) reset() {
	clear(e.list) // do not keep what the bytes belong to
	clear(e.settled)
	e.list, e.settled = e.list[:0], e.settled[:0]
}

func (e *events) frames(lane fabric.Lane, data []byte, link uint64, count int) {
	e.list = append(e.list, event{kind: eventFrames, lane: lane, data: data, link: link, count: count})
}

func (e *events) gap(g fabric.Gap) { e.list = append(e.list, event{kind: eventGap, gap: g}) }

// rowOnly: all that there is for the handler is a row.
func (e *events) rowOnly() bool {
	return len(e.list) == 1 && e.list[0].kind == eventRow && len(e.settled) == 0
}

func (e *events) row(b []byte) { e.list = append(e.list, event{kind: eventRow, data: b}) }

func (e *events) state(s fabric.LinkState) {
	e.list = append(e.list, event{kind: eventLink, state: s})
}

// parse decodes frames from the event's data, as many as fit out. The event
// then holds the rest.
func (e *event) parse(out []fabric.Frame, maxBody int) (n int, err error) {
	for n < len(out) && e.count > 0 {
		f := &out[n]
		if e.data, err = fabric.ParseFrame(e.data, maxBody, f); err != nil {
			return n, err
		}
		if f.Link != e.link || f.Lane != e.lane || len(f.Patch)+len(f.Body) > maxBody {
			return n, fmt.Errorf("frame %d of the %v lane where frame %d of the %v lane is due", f.Link, f.Lane, e.link, e.lane)
		}
		e.link++
		e.count--
		n++
	}
	return n, nil
}
