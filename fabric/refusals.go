package fabric

import "fmt"

// Refusals collects, for a port, what one Send does not accept. The zero value
// is empty. Not for concurrent use.
type Refusals struct {
	err *SendError
	bad []bool // frames refused for all destinations
}

// Check refuses the frames of a batch that no peer is asked about: all if the
// port is closed (ErrClosed), else those that CheckOutgoing refuses. It returns
// the number of destinations that the others have.
func (r *Refusals) Check(batch []Outgoing, caps *Capabilities, closed bool) (destinations int) {
	for i := range batch {
		err := ErrClosed
		if !closed {
			err = CheckOutgoing(&batch[i], caps)
		}
		if err != nil {
			r.frame(batch, i, err)
		} else {
			destinations += len(batch[i].To)
		}
	}
	return destinations
}

// Add refuses frame i, which is o, for one destination.
func (r *Refusals) Add(i int, o *Outgoing, to MemberID, why error) {
	if r.err == nil {
		r.err = &SendError{}
	}
	r.err.Refused = append(r.err.Refused, Refusal{Index: i, To: to, Ticket: o.Ticket, Err: why})
}

func (r *Refusals) frame(batch []Outgoing, i int, why error) {
	if r.bad == nil {
		r.bad = make([]bool, len(batch))
	}
	r.bad[i] = true
	o := &batch[i]
	for _, to := range o.To {
		r.Add(i, o, to, why)
	}
	if len(o.To) == 0 {
		r.Add(i, o, 0, why)
	}
}

// Skip reports whether Check has refused frame i.
func (r *Refusals) Skip(i int) bool { return r.bad != nil && r.bad[i] }

// Unknown refuses what is for members that are not known, with ErrUnknownPeer.
func (r *Refusals) Unknown(batch []Outgoing, known func(MemberID) bool) {
	for i := range batch {
		if r.Skip(i) {
			continue
		}
		for _, to := range batch[i].To {
			if !known(to) {
				r.Add(i, &batch[i], to, fmt.Errorf("%w: %s", ErrUnknownPeer, to))
			}
		}
	}
}

// Err is what Send returns: a *SendError, or nil if nothing was refused.
func (r *Refusals) Err() error {
	if r.err == nil {
		return nil // not a nil *SendError
	}
	return r.err
}
