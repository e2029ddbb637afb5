package ordered

import (
	"github.com/raftdv/dv/fabric"
)

// station has an endpoint speak through a port: it numbers rows and tickets, and
// knows which frame a ticket was for. What it is called with is serialised by its
// owner, which drives it on a real port or a simulated one.
type station struct {
	endpoint    *Endpoint
	port        fabric.Port
	self        fabric.MemberID
	incarnation uint64
	version     uint64
	ticket      uint64
	flights     map[uint64]*flight
	sections    []byte
	batch       []fabric.Outgoing
	prompt      []fabric.MemberID
	relays      []*relay // at most one for each pair of members
}

// flight is a frame that not all destinations have settled.
type flight struct {
	send Send
	left int
}

func newStation(e *Endpoint, p fabric.Port) *station {
	return &station{endpoint: e, port: p, self: e.cfg.Self, incarnation: e.cfg.Incarnation, flights: map[uint64]*flight{}}
}

// transmit sends and publishes what the endpoint wants.
func (s *station) transmit(now Instant, a *Actions) {
	s.batch = s.batch[:0]
	for i := range a.Sends {
		m := &a.Sends[i]
		s.ticket++
		s.flights[s.ticket] = &flight{*m, len(m.To)}
		s.batch = append(s.batch, fabric.Outgoing{
			To: m.To, Body: m.Body, Lane: fabric.LaneAppend, Class: m.Class, Stream: m.Stream, Stamp: m.Stamp, Ticket: s.ticket,
		})
	}
	if len(s.batch) > 0 {
		s.refused(now, s.port.Send(s.batch))
	}
	if a.Publish {
		s.version++
		s.sections = s.endpoint.AppendSection(s.sections[:0])
		s.prompt = s.prompt[:0]
		for _, first := range [...]bool{true, false} { // who waits for it comes first
			for _, p := range s.endpoint.peers {
				if p.waits == first {
					s.prompt = append(s.prompt, p.id)
				}
			}
		}
		for _, p := range s.endpoint.peers {
			p.waits = false
		}
		// It is refused only by a port that is closed: the next beat comes anyway.
		_ = s.port.Publish(fabric.Row{Owner: s.self, Incarnation: s.incarnation, Version: s.version, Sections: s.sections}, s.prompt)
	}
}

func (s *station) refused(now Instant, err error) {
	refusals, _ := err.(*fabric.SendError)
	if refusals == nil {
		return
	}
	for _, r := range refusals.Refused {
		s.settle(now, r.To, r.Ticket, true)
	}
}

// row takes a peer's row, and passes it on to those that do not hear that peer.
func (s *station) row(now Instant, row *fabric.Row) error {
	return s.take(now, row.Owner, row, true)
}

// take takes a row that came from that peer, its own or not.
func (s *station) take(now Instant, from fabric.MemberID, row *fabric.Row, direct bool) error {
	b := s.endpoint.core.Barrier()
	was := b.Stirs()
	newer, err := s.endpoint.Row(now, row, direct)
	if newer && err == nil {
		s.pass(from, row, b.Stirs() != was && b.Patchy())
	}
	return err
}

// frame takes a frame of class agreed or safe, or a row that was passed on.
func (s *station) frame(now Instant, from fabric.MemberID, f *fabric.Frame) error {
	row, err := parsePassed(from, f)
	if err != nil || row == nil {
		if err == nil {
			return s.endpoint.Frame(now, from, f, true)
		}
		return s.endpoint.Blame(now, from, err)
	}
	s.endpoint.Heard(now, from)
	return s.take(now, from, row, false)
}

// settle takes what became of a ticket at one destination.
func (s *station) settle(now Instant, to fabric.MemberID, ticket uint64, lost bool) {
	f := s.flights[ticket]
	if f == nil {
		s.arrived(ticket)
		return
	}
	if f.left--; f.left == 0 {
		delete(s.flights, ticket)
	}
	if lost {
		s.endpoint.Lost(now, to, f.send)
	}
}
