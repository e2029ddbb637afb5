package fabrictest

import (
	"errors"
	"fmt"
	"time"

	"github.com/raftdv/dv/fabric"
)

var reportCases = []testCase{
	{
		name:  "report/capabilities",
		quote: "P8: Capabilities are what the port can do, and do not change",
		fn:    reportCapabilities,
	},
	{
		name:  "report/clock",
		quote: "P7: Now is the fabric's clock with an error bound; without synchronised clocks it is logical and says so",
		fn:    reportClock,
	},
	{
		name:  "report/stats",
		quote: "LinkStats: counters only rise, and add up",
		needs: []Ability{AbleStats},
		fn:    reportStats,
	},
}

func reportCapabilities(e *env) {
	first := e.port(e.ids[0]).Capabilities()
	if first.Name == "" || first.MaxFrame <= fabric.MaxPatch || first.MaxFrame > e.opt.MaxFrame ||
		first.MaxRow < 256 || first.MaxRow > fabric.MaxRowSections || first.TicketTimeout <= 0 || first.TicketTimeout > e.opt.TicketTimeout {
		e.violate("P8: asked for %+v, got %+v", e.opt, first)
	}
	e.push(e.ids[0], msg{to: e.others(e.ids[0]), lane: fabric.LaneAppend, size: 10, patch: -1})
	e.resolveAll()
	for _, id := range e.ids {
		if got := e.port(id).Capabilities(); got != first {
			e.violate("P8: capabilities of %s are %+v, those of the first member were %+v", id, got, first)
		}
	}
}

func reportClock(e *env) {
	last := make(map[fabric.MemberID]fabric.Time)
	for range 200 {
		before := e.port(e.ids[0]).Now()
		for _, id := range e.ids {
			now := e.port(id).Now()
			if before, ok := last[id]; ok && now.Nanos < before.Nanos {
				e.violate("P7: the clock of %s went back from %d to %d", id, last[id].Nanos, now.Nanos)
			}
			last[id] = now
			after := e.port(e.ids[0]).Now()
			if now.Logical || after.Logical {
				continue
			}
			off := time.Duration(max(before.Nanos-now.Nanos, now.Nanos-after.Nanos))
			if now.Error < 0 || off > now.Error+after.Error {
				e.violate("P7: the clock of %s is off by %v, its bound is %v and the other's %v", id, off, now.Error, after.Error)
			}
		}
		e.eventually(virtualStep, func() bool { return e.c.Advance == nil })
	}
}

func reportStats(e *env) {
	a := e.ids[0]
	before := e.stats(a)
	for i := range 60 {
		e.push(a, msg{to: e.others(a), lane: fabric.Lane(i % fabric.Lanes), size: 100, patch: -1})
		e.mustPublish(a, uint64(i+1), e.ids[1:])
	}
	e.resolveAll()
	e.ackedArrive()
	e.rowArrives(a, 60, e.others(a)...)
	after := e.stats(a)
	if len(after) != len(e.ids)-1 {
		e.violate("Stats has %d entries for %d peers", len(after), len(e.ids)-1)
	}
	for peer, s := range after {
		if falls(before[peer], s) {
			e.violate("Stats: counters of %s fell: %+v, then %+v", peer, before[peer], s)
		}
		if !s.Up || s.BytesSent == 0 || s.RowsSent == 0 {
			e.violate("Stats: link to %s after 60 frames and rows: %+v", peer, s)
		}
	}
}

func falls(old, now fabric.LinkStats) bool {
	f := now.BytesSent < old.BytesSent || now.BytesReceived < old.BytesReceived || now.DatagramsSent < old.DatagramsSent ||
		now.DatagramsReceived < old.DatagramsReceived || now.Retransmissions < old.Retransmissions || now.Refused < old.Refused ||
		now.RowsSent < old.RowsSent || now.RowsReceived < old.RowsReceived
	for l := range now.Lane {
		o, n := &old.Lane[l], &now.Lane[l]
		f = f || n.Sent < o.Sent || n.Delivered < o.Delivered || n.Acked < o.Acked || n.Lost < o.Lost || n.NoCredit < o.NoCredit || n.Gaps < o.Gaps
	}
	return f
}

func (e *env) stats(id fabric.MemberID) map[fabric.MemberID]fabric.LinkStats {
	stats := make(map[fabric.MemberID]fabric.LinkStats)
	r, ok := e.port(id).(fabric.StatsReporter)
	if !ok {
		return stats
	}
	for _, s := range r.Stats(nil) {
		stats[s.Peer] = s
	}
	return stats
}

// checkStats holds the ports' own books against the suite's, for clusters
// without faults.
func (e *env) checkStats() {
	if e.faced {
		return
	}
	for _, id := range e.ids {
		if _, ok := e.port(id).(fabric.StatsReporter); !ok {
			return
		}
		for _, peer := range e.others(id) {
			for _, lane := range allLanes {
				if !e.eventually(e.f.Patience, func() bool { return e.booked(id, peer, lane) == "" }) {
					e.violate("Stats of %s about %s in %v: %s", id, peer, lane, e.booked(id, peer, lane))
					return
				}
			}
		}
	}
}

// booked compares one lane's counters with what the suite counted.
func (e *env) booked(id, peer fabric.MemberID, lane fabric.Lane) string {
	got := e.stats(id)[peer].Lane[lane]
	at := func(want func(*sentFrame, *destination) bool) int {
		return e.count(func(s *sentFrame, d *destination) bool { return s.lane == lane && want(s, d) })
	}
	to := func(d *destination, s *sentFrame) bool { return s.from == id && d.to == peer }
	sent := at(func(s *sentFrame, d *destination) bool { return to(d, s) && d.state != refused })
	acks := at(func(s *sentFrame, d *destination) bool { return to(d, s) && d.state == acked })
	refusals := at(func(s *sentFrame, d *destination) bool {
		return to(d, s) && d.state == refused && errorIsNoCredit(d.err)
	})
	delivered := at(func(s *sentFrame, d *destination) bool { return s.from == peer && d.to == id && d.delivered })
	switch {
	case got.Queued != 0 || got.QueuedBytes != 0:
		return differs("Queued", got.Queued, 0)
	case int(got.Sent) < acks || int(got.Sent) > sent:
		return differs("Sent", int(got.Sent), sent)
	case int(got.Acked) < acks || int(got.Acked) > sent:
		return differs("Acked", int(got.Acked), acks)
	case got.Lost != 0:
		return differs("Lost", int(got.Lost), 0)
	case int(got.NoCredit) != refusals:
		return differs("NoCredit", int(got.NoCredit), refusals)
	case int(got.Delivered) != delivered:
		return differs("Delivered", int(got.Delivered), delivered)
	}
	return ""
}

func differs(what string, got, want int) string {
	return fmt.Sprintf("%s is %d, want %d", what, got, want)
}

func errorIsNoCredit(err error) bool { return errors.Is(err, fabric.ErrNoCredit) }
