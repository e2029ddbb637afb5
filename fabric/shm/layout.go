package shm

import (
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// The offsets of the tables in doc.go. The owner of a segment only reads it: what
// it has to say to the peer it writes to the peer's segment. A credit word counts
// the slots of a lane that its writer has taken in since the session began:
// those that the owner of the segment has written over there. The word beside it
// asks the owner to ring when it has taken in that many itself.
const (
	line       = fabric.SlotAlign
	page       = 4096
	askedAt    = 8
	rowWordAt  = line * fabric.Lanes
	rowBytesAt = rowWordAt + line
	ringsAt    = page

	bellLen     = page
	bellSleepAt = line

	// minSlot holds all sections that this port writes and a piece of the body.
	minSlot = 2048
	// maxSlot and maxSlots bound what a peer may ask to be mapped.
	maxSlot    = 64 << 10
	maxSlots   = 1 << 16
	maxSegment = 1 << 30
)

// geometry is the shape of a segment. Its owner chooses it and states it at the
// rendezvous.
type geometry struct {
	slot  int // bytes
	slots [fabric.Lanes]int
	// maxFrame bounds the frames that the owner takes: patch plus body.
	maxFrame int
}

func (g *geometry) validate() error {
	if g.slot < minSlot || g.slot > maxSlot || g.slot%line != 0 {
		return fmt.Errorf("slots of %d bytes: between %d and %d, a multiple of %d", g.slot, minSlot, maxSlot, line)
	}
	if g.maxFrame < 1 || g.maxFrame > fabric.MaxBody {
		return fmt.Errorf("frames of %d bytes: between 1 and %d", g.maxFrame, fabric.MaxBody)
	}
	least, total := leastSlots(g.maxFrame, g.slot), int64(ringsAt)
	for lane, n := range g.slots {
		if n < least || n > maxSlots {
			return fmt.Errorf("%d slots in the %v lane: between %d (one frame of %d bytes) and %d", n, fabric.Lane(lane), least, g.maxFrame, maxSlots)
		}
		total += int64(n) * int64(g.slot)
	}
	if total > maxSegment {
		return fmt.Errorf("segment of %d bytes: at most %d", total, maxSegment)
	}
	return nil
}

// ringAt is where the ring of a lane begins.
func (g *geometry) ringAt(lane int) int {
	at := ringsAt
	for _, n := range g.slots[:lane] {
		at += n * g.slot
	}
	return at
}

func (g *geometry) size() int {
	return (g.ringAt(fabric.Lanes) + page - 1) &^ (page - 1)
}

// ring is the memory of a lane's ring.
func (g *geometry) ring(segment []byte, lane int) []byte {
	at := g.ringAt(lane)
	return segment[at : at+g.slots[lane]*g.slot]
}
