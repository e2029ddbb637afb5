package raftdv

import (
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// receiver takes what one road has to say.
type receiver struct {
	t    *Transport
	road *road

	mu       sync.Mutex // guards the map; each decoder belongs to its peer's calls
	decoders map[fabric.MemberID]*Decoder
}

var _ fabric.Handler = (*receiver)(nil)

// Deliver hands messages to raft. raft takes them at its own pace: what waits
// uses up the peer's credit, and the peer's transport drops and reports.
func (r *receiver) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	p := r.t.peer(types.ID(from))
	if p == nil || p.paused.Load() {
		return
	}
	d := r.decoder(from)
	direct := r.name() != FabricRelay
	var latest fabric.Stamp
	for i := range frames {
		f := &frames[i]
		p.metrics.receivedBytes(len(f.Patch) + len(f.Body))
		if f.Class >= fabric.ClassAgreed {
			r.t.ordering.frame(from, f, direct)
			continue
		}
		if f.Has&fabric.HasStamp != 0 && latest.Before(f.Stamp) {
			latest = f.Stamp
		}
		if err := p.receive(d, f); err != nil {
			p.refuse(err)
		}
	}
	r.t.ordering.met(p, latest, direct)
}

func (r *receiver) decoder(from fabric.MemberID) *Decoder {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.decoders[from]
	if d == nil {
		if r.decoders == nil {
			r.decoders = map[fabric.MemberID]*Decoder{}
		}
		d = new(Decoder)
		r.decoders[from] = d
	}
	return d
}

// forget lets go of what is kept for a peer; its fabric delivers no more.
func (r *receiver) forget(from fabric.MemberID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.decoders, from)
}

func (p *peer) receive(d *Decoder, f *fabric.Frame) error {
	if len(f.Patch) > 0 && f.Patch[0] == patchSnapshot {
		return p.t.transfers.receive(p, f)
	}
	var h PatchHeader
	if err := ParsePatch(f.Patch, &h); err != nil {
		return err
	}
	if err := CheckHeader(&h, p.member, p.t.member()); err != nil {
		return err
	}
	m, err := d.DecodeBody(&h, f.Patch, f.Body)
	if err != nil {
		return err
	}
	if err := CheckMessage(m, p.member); err != nil {
		return err
	}
	p.metrics.received(h.Type, formFrame)
	return p.handToRaft(m)
}

var errProposalsFull = errors.New("queue of forwarded proposals is full: raft takes none, probably for want of a leader")

func (p *peer) handToRaft(m *raftpb.Message) error {
	if m.GetType() != raftpb.MsgProp {
		p.process(m)
		return nil
	}
	select {
	case p.props <- m:
		return nil
	default:
		return &RefusedError{From: p.member, Reason: RefusedBusy, Err: errProposalsFull}
	}
}

// refuseLogEvery bounds the log lines about what a peer sends.
const refuseLogEvery = time.Second

// refuse counts and logs what was not used.
func (p *peer) refuse(err error) {
	p.metrics.refused(RefuseReasonOf(err))
	if !p.refusedAt.every(time.Now(), refuseLogEvery) {
		return
	}
	p.t.lg.Warn("refused a message of peer", zap.String("local-member-id", p.t.ID.String()),
		zap.String("remote-peer-id", p.id.String()), zap.Error(err))
}

// Gap: raft's own retransmission fills it; the sender was told as well.
func (r *receiver) Gap(from fabric.MemberID, gap fabric.Gap) {
	if p := r.t.peer(types.ID(from)); p != nil {
		p.metrics.gap(gap)
	}
}

// Row turns a peer's row into the messages that it stands for.
func (r *receiver) Row(from fabric.MemberID, row fabric.Row) {
	p := r.t.peer(types.ID(from))
	if p == nil || p.paused.Load() {
		return
	}
	r.t.ordering.row(&row, r.name() != FabricRelay)
	if err := errors.Join(r.t.elections.row(&row), p.observe(&row)); err != nil {
		p.refuse(err)
	}
}

// Resolve hears of losses; only frames of snapshots and of the order have tickets, and
// so acks as well.
func (r *receiver) Resolve(settled []fabric.Resolution) {
	for i := range settled {
		s := &settled[i]
		switch {
		case s.Ticket&orderTicket != 0:
			r.t.ordering.settled(s.To, s.Ticket, !s.Acked())
		case s.Ticket != 0:
			r.t.transfers.settled(s.Ticket, r.road, !s.Acked())
		case !s.Acked():
			if p := r.t.peer(types.ID(s.To)); p != nil {
				p.metrics.dropped(s.Lane, s.Err)
				p.lostMessage(s.Err)
			}
		}
	}
}

func (r *receiver) name() string { return r.road.name }

// Link changes the path.
func (r *receiver) Link(id fabric.MemberID, state fabric.LinkState) {
	if p := r.t.peer(types.ID(id)); p != nil {
		p.linkChanged(r.road, state)
	}
}
