package ordered

import (
	"fmt"
	"slices"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
)

// relay passes the rows of one member on to another one that does not hear it:
// the newest one, when the one before it has arrived or is lost. Frames are passed on
// by the core, as those that a cut needs are.
//
// What is passed on is believed as the one who passes it on is: ports authenticate
// hops. See docs/decisions/0005-groups.md.
type relay struct {
	of, to fabric.MemberID
	body   []byte // of the newest row
	fresh  bool   // it has not been sent
	ticket uint64 // of the one that is under way, 0: none
}

// pass takes a row that is newer than all before it. all: it goes to everybody
// that can be reached, but to whom it came from; see barrier.Core.Patchy.
func (s *station) pass(from fabric.MemberID, row *fabric.Row, all bool) {
	passes := s.endpoint.core.Barrier().Passes()
	for _, p := range s.endpoint.peers {
		if p.id == row.Owner || p.id == from || !(all && s.endpoint.up[p.id] || slices.Contains(passes, barrier.Pass{Of: row.Owner, To: p.id})) {
			continue
		}
		r := s.relay(row.Owner, p.id)
		r.body, r.fresh = fabric.AppendRow(append(r.body[:0], flagRow), row), true
		s.forward(r)
	}
}

func (s *station) relay(of, to fabric.MemberID) *relay {
	for _, r := range s.relays {
		if r.of == of && r.to == to {
			return r
		}
	}
	r := &relay{of: of, to: to}
	s.relays = append(s.relays, r)
	return r
}

func (s *station) forward(r *relay) {
	if !r.fresh || r.ticket != 0 {
		return
	}
	s.ticket++
	r.fresh = false
	if s.port.Send([]fabric.Outgoing{{To: []fabric.MemberID{r.to}, Body: r.body, Lane: fabric.LaneControl, Class: fabric.ClassAgreed, Ticket: s.ticket}}) == nil {
		r.ticket = s.ticket
	}
}

// arrived reports whether a ticket was that of a row that was passed on.
func (s *station) arrived(ticket uint64) bool {
	for _, r := range s.relays {
		if r.ticket == ticket {
			r.ticket = 0
			s.forward(r)
			return true
		}
	}
	return false
}

// parsePassed reads the row that a frame passes on; nil if it passes none on.
func parsePassed(from fabric.MemberID, f *fabric.Frame) (*fabric.Row, error) {
	if f.Class != fabric.ClassAgreed || len(f.Body) == 0 || f.Body[0] != flagRow {
		return nil, nil
	}
	row, err := fabric.ParseRow(f.Body[1:])
	if err != nil || row.Owner == from {
		return nil, fmt.Errorf("%w: a row of %v passed on by %v: %w", ErrWire, row.Owner, from, err)
	}
	return &row, nil
}
