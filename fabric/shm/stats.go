package shm

import (
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

// peerStats outlives sessions.
type peerStats struct {
	bytesSent, bytesReceived atomic.Uint64
	slotsSent, slotsReceived atomic.Uint64
	rowsSent, rowsReceived   atomic.Uint64
	refused                  atomic.Uint64
	lane                     [fabric.Lanes]laneStats
}

type laneStats struct {
	frames, delivered, acked, lost, noCredit, gaps atomic.Uint64
	rtt                                            atomic.Int64
}

func (s *peerStats) sent(lane fabric.Lane, slots, bytes int) {
	s.lane[lane].frames.Add(1)
	s.slotsSent.Add(uint64(slots))
	s.bytesSent.Add(uint64(bytes + slots*prelude))
}

func (s *peerStats) received(bytes int) {
	s.slotsReceived.Add(1)
	s.bytesReceived.Add(uint64(bytes))
}

// smooth moves an average by an eighth towards a sample. Each average has one
// writer at a time. A reader that read the clock before the frame was sent has
// a sample below 0: none.
func smooth(avg *atomic.Int64, sample time.Duration) {
	if sample < 0 {
		return
	}
	old := avg.Load()
	if old == 0 {
		old = int64(sample)
	}
	avg.Store(old + (int64(sample)-old)/8)
}

// Stats implements fabric.StatsReporter: one entry for each connected peer.
// Counters include former sessions. Datagrams are slots; Refused counts what
// broke the protocol, each of which has ended a session.
func (p *Port) Stats(dst []fabric.LinkStats) []fabric.LinkStats {
	for _, pe := range p.peers.Load().list {
		dst = append(dst, pe.linkStats())
	}
	return dst
}

func (pe *peer) linkStats() fabric.LinkStats {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if pe.sess != nil {
		pe.collect(pe.port.now(), pe.sess)
	}
	s := &pe.stats
	r := fabric.LinkStats{
		Peer: pe.id, BytesSent: s.bytesSent.Load(), BytesReceived: s.bytesReceived.Load(),
		DatagramsSent: s.slotsSent.Load(), DatagramsReceived: s.slotsReceived.Load(),
		RowsSent: s.rowsSent.Load(), RowsReceived: s.rowsReceived.Load(), Refused: s.refused.Load(),
	}
	for l := range r.Lane {
		from := &s.lane[l]
		r.Lane[l] = fabric.LaneStats{
			Sent: from.frames.Load(), Delivered: from.delivered.Load(), Acked: from.acked.Load(), Lost: from.lost.Load(),
			NoCredit: from.noCredit.Load(), Gaps: from.gaps.Load(), RTT: time.Duration(from.rtt.Load()),
		}
		if rtt := r.Lane[l].RTT; rtt != 0 && (r.RTT == 0 || rtt < r.RTT) {
			r.RTT = rtt
		}
	}
	if pe.want != nil {
		r.Incarnation = pe.want.PeerIncarnation
	}
	if c := pe.sess; c != nil {
		r.Up = true
		for i := range c.lane {
			l, to := &c.lane[i], &r.Lane[i]
			to.Queued, to.QueuedBytes = l.entries.n, l.entries.slots*c.shape.slot
			to.CreditBytes = l.ring.free() * c.shape.slot
		}
	}
	return r
}
