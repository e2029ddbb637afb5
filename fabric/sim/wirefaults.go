package sim

import (
	"errors"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fault"
)

var _ fault.WireFaulter = (*Port)(nil)

// SetWireFaults implements [fault.WireFaulter]: it replaces those probabilities
// of the link to a peer.
func (p *Port) SetWireFaults(to fabric.MemberID, w fault.WireFaults) error {
	if p.n.Port(to) == nil {
		return errors.New("sim: member " + to.String() + " never joined")
	}
	f := p.n.cfg.Faults
	if l := p.known[p.n.rank[to]]; l != nil {
		f = *l.faults
	}
	f.Loss, f.Duplicate, f.Corrupt, f.Reorder = w.Loss, w.Duplicate, w.Corrupt, w.Reorder
	return p.n.SetLink(p.m.id, to, f)
}
