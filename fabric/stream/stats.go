package stream

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

// peerStats outlives connections.
type peerStats struct {
	rtt                      atomic.Int64
	bytesSent, bytesReceived atomic.Uint64
	rowsSent, rowsReceived   atomic.Uint64
	refused                  atomic.Uint64
	lane                     [fabric.Lanes]laneStats
}

type laneStats struct {
	delivered, acked, lost, noCredit, gaps atomic.Uint64
	rtt                                    atomic.Int64
}

// smooth moves an average by an eighth towards a sample. Each average has one
// writer at a time.
func smooth(avg *atomic.Int64, sample time.Duration) {
	old := avg.Load()
	if old == 0 {
		old = int64(sample)
	}
	avg.Store(old + (int64(sample)-old)/8)
}

// Stats implements fabric.StatsReporter; peers are in the order of their ids.
func (p *Port) Stats(dst []fabric.LinkStats) []fabric.LinkStats {
	first := len(dst)
	for _, q := range *p.peers.Load() {
		dst = append(dst, q.linkStats())
	}
	slices.SortFunc(dst[first:], func(a, b fabric.LinkStats) int {
		if a.Peer < b.Peer {
			return -1
		}
		return 1
	})
	return dst
}

func (q *peer) linkStats() fabric.LinkStats {
	s := &q.stats
	r := fabric.LinkStats{
		Peer: q.id, RTT: time.Duration(s.rtt.Load()),
		BytesSent: s.bytesSent.Load(), BytesReceived: s.bytesReceived.Load(),
		RowsSent: s.rowsSent.Load(), RowsReceived: s.rowsReceived.Load(), Refused: s.refused.Load(),
	}
	for l := range r.Lane {
		from := &s.lane[l]
		r.Lane[l] = fabric.LaneStats{
			Delivered: from.delivered.Load(), Acked: from.acked.Load(), Lost: from.lost.Load(),
			NoCredit: from.noCredit.Load(), Gaps: from.gaps.Load(), RTT: time.Duration(from.rtt.Load()),
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	r.Incarnation = q.incarnation
	for l := range r.Lane {
		r.Lane[l].Sent = q.sent[l]
	}
	if c := q.send.Load(); c != nil {
		r.Up = true
		c.addTo(&r)
	}
	return r
}

// addTo adds what only the connection knows.
func (c *sendConn) addTo(r *fabric.LinkStats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.lanes {
		l, to := &c.lanes[i], &r.Lane[i]
		to.Sent += l.next - l.first
		to.Queued = l.entries.n
		to.QueuedBytes = l.weight
		to.CreditBytes = max(0, l.bound.Bytes-l.weight)
		if l.entries.n >= l.bound.Frames {
			to.CreditBytes = 0
		}
	}
}
