package udp

import (
	"log/slog"

	"github.com/raftdv/dv/fabric"
)

// Stats implements fabric.StatsReporter: one entry for each connected peer.
// Counters include former sessions.
func (p *Port) Stats(dst []fabric.LinkStats) []fabric.LinkStats {
	for _, pe := range p.peers.Load().list {
		s := fabric.LinkStats{Peer: pe.id}
		pe.mu.Lock()
		if pe.link != nil {
			pe.link.snapshot(&s)
		}
		addStats(&s, &pe.past)
		pe.mu.Unlock()
		dst = append(dst, s)
	}
	return dst
}

// addStats adds the counters of s to dst.
func addStats(dst, s *fabric.LinkStats) {
	dst.BytesSent += s.BytesSent
	dst.BytesReceived += s.BytesReceived
	dst.DatagramsSent += s.DatagramsSent
	dst.DatagramsReceived += s.DatagramsReceived
	dst.Retransmissions += s.Retransmissions
	dst.Refused += s.Refused
	dst.RowsSent += s.RowsSent
	dst.RowsReceived += s.RowsReceived
	for i := range dst.Lane {
		d, l := &dst.Lane[i], &s.Lane[i]
		d.Sent += l.Sent
		d.Delivered += l.Delivered
		d.Acked += l.Acked
		d.Lost += l.Lost
		d.NoCredit += l.NoCredit
		d.Gaps += l.Gaps
	}
}

// Refused counts the datagrams that were dropped on receipt, by reason, over
// all peers and strangers. A stranger is never answered.
func (p *Port) Refused() map[string]uint64 {
	counts := make(map[string]uint64, verdicts)
	for v := badVersion; v < verdicts; v++ {
		counts[v.String()] = p.refusals[v].Load()
	}
	return counts
}

// refuse counts a dropped datagram, for the peer too if one is given.
func (p *Port) refuse(v verdict, pe *peer) {
	p.refusals[v].Add(1)
	if pe != nil {
		pe.mu.Lock()
		if pe.link != nil {
			pe.link.stats.Refused++
		}
		pe.mu.Unlock()
	}
	now, last := p.now(), p.loggedAt.Load()
	if last != 0 && now-last < int64(logEvery) || !p.loggedAt.CompareAndSwap(last, max(now, 1)) {
		return
	}
	p.cfg.Logger.Warn("datagrams refused", slog.String("member", p.cfg.Self.String()), slog.Uint64("incarnation", p.cfg.Incarnation), slog.Any("since-start", p.Refused()))
}
