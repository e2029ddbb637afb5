package udp

import "github.com/raftdv/dv/fabric"

const (
	// maxSpan bounds the packet numbers between the oldest outstanding packet
	// and the newest: the memory of sentPackets, and less than replayWindow.
	maxSpan = 1 << 13
	// maxPieces bounds the stream chunks of one packet.
	maxPieces = 4
)

// piece is a range of a lane's stream.
type piece struct {
	offset uint64
	n      uint32
	lane   fabric.Lane
}

// sentPacket remembers what a packet carried, until it is settled.
type sentPacket struct {
	at      int64
	size    uint32
	pieces  [maxPieces]piece
	count   uint8
	flying  bool // wants an ack and is neither acked nor lost
	acked   bool
	probe   bool   // path MTU
	row     uint64 // version carried, if hasRow
	hasRow  bool
	window  uint64 // sequence of the credit carried; 0: none
	skipped [fabric.Lanes]uint64
	hasSkip [fabric.Lanes]bool
}

// sentPackets is the window of packets that are not settled. Packet numbers
// are consecutive, so it is a ring.
type sentPackets struct {
	ring  fifo[sentPacket]
	first uint64 // packet number of the front
	// flying counts packets that want an ack and have none.
	flying int
}

func (s *sentPackets) next() uint64 { return s.first + uint64(s.ring.len()) }

// add records the packet with number next. Packets that nobody acknowledges
// for their own sake only hold the place.
func (s *sentPackets) add(p *sentPacket) {
	if p.flying {
		s.flying++
	}
	s.ring.push(*p)
	s.trim()
}

// get returns an outstanding packet, or nil.
func (s *sentPackets) get(number uint64) *sentPacket {
	if number < s.first || number >= s.next() {
		return nil
	}
	if p := s.ring.at(int(number - s.first)); p.flying {
		return p
	}
	return nil
}

// fresh returns a packet of which no acknowledgement is known, whether it wants
// one or not, unless it was dropped; it stays valid until trim.
func (s *sentPackets) fresh(number uint64) *sentPacket {
	if number < s.first || number >= s.next() {
		return nil
	}
	if p := s.ring.at(int(number - s.first)); !p.acked {
		return p
	}
	return nil
}

// settle takes p out of the account.
func (s *sentPackets) settle(p *sentPacket) {
	p.flying = false
	s.flying--
}

// trim drops settled packets from the front.
func (s *sentPackets) trim() {
	for s.ring.len() > 0 && !s.ring.front().flying {
		s.ring.pop()
		s.first++
	}
}

// full: nothing that wants an ack may be sent but probes.
func (s *sentPackets) full() bool { return s.ring.len() >= maxSpan }

// stuffed: nothing at all may be sent.
func (s *sentPackets) stuffed() bool { return s.ring.len() >= 2*maxSpan-1 }
