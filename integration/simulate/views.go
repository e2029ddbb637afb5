package simulate

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/ordered"
	"github.com/raftdv/dv/raftdv"
)

// viewed is what a node keeps for views and for the agreed order (protocol §4): it
// drives an ordered.Endpoint as the transport does.
type viewed struct {
	ord              *ordered.Endpoint // or nil
	flights          map[uint64]*agreedFlight
	acting           bool
	again            bool
	ordAt            time.Duration // a timer is set for then, by the member's clock; 0: none is
	chatter          *rand.Rand
	chats            int
	seen             orderRecord
	framing          bool
	rowFor, rowSpare []fabric.MemberID // whom the newest row has not been passed on to

	// relayed says by ticket whom a frame is for that somebody passes on; 0: it is
	// somebody else's.
	relayed map[uint64]fabric.MemberID
}

// agreedFlight is an agreed frame that not all destinations have settled.
type agreedFlight struct {
	send ordered.Send
	left int
}

// The settings of views: those of the transport, and of the elections of the same
// run (elector.go).
const (
	viewBeat     = 10 * time.Millisecond
	viewIdleBeat = 100 * time.Millisecond
	// Members say things in the agreed order, so that there is one: chatterBurst of
	// them, one after chatterEvery on average, then nothing for chatterPause.
	chatterEvery = 50 * time.Millisecond
	chatterBurst = 16
	chatterPause = 5 * time.Second
	chatterLen   = 16
)

// view begins the endpoint, once the member has a configuration.
func (n *node) view() {
	if !n.c.cfg.Views || n.ord != nil || n.conf == nil || len(n.conf.GetVoters()) == 0 {
		return
	}
	suspect := 60 * time.Millisecond
	if n.c.cfg.lab == nil && n.c.cfg.Seed%2 == 1 {
		suspect = slowSuspicion
	}
	cfg := ordered.EndpointConfig{
		Settings: ordered.Settings{Settings: barrier.Settings{Self: n.m.id, Incarnation: n.inc, Config: n.viewConfig(), Fresh: n.m.disk.votes == nil}},
		Detector: barrier.DetectorConfig{SuspectAfter: suspect}, Beat: viewBeat, IdleBeat: viewIdleBeat,
	}
	if n.m.disk.votes == nil {
		b, err := barrier.Begin(cfg.Settings.Settings)
		n.must(err)
		n.m.disk.votes = b
	}
	var err error
	if n.ord, err = ordered.NewEndpoint(cfg, n.m.disk.votes, n.instant()); err != nil {
		n.c.fail(checkOrder, "%s: %v", n.m.id, err)
		return
	}
	n.flights, n.relayed = map[uint64]*agreedFlight{}, map[uint64]fabric.MemberID{}
	n.chatter = stream(n.c.cfg.Seed, streamChatter+uint64(n.m.id)<<20+n.inc)
	n.seen = orderRecord{}
	if n.c.cfg.lab == nil {
		n.sim.After(n.nextChat(), n.chat)
	}
	n.act()
}

func (n *node) viewConfig() barrier.Config {
	return barrier.Config{
		Epoch: 1 + n.state.confs, Voters: memberIDs(n.conf.GetVoters()), Outgoing: memberIDs(n.conf.GetVotersOutgoing()), Learners: memberIDs(n.conf.GetLearners()),
	}
}

// instant is now: no two members' clocks agree.
func (n *node) instant() ordered.Instant {
	now := n.m.clock()
	return ordered.Instant{Mono: now, Clock: fabric.Time{Nanos: int64(now) + int64(n.m.rank)*int64(time.Second), Logical: true}}
}

// input gives the endpoint something, if there is one.
func (n *node) input(f func(e *ordered.Endpoint, now ordered.Instant)) {
	if n.ord != nil && !n.m.dead {
		f(n.ord, n.instant())
		n.act()
	}
}

// ordRow is input for a row, the most frequent of all.
func (n *node) ordRow(row *fabric.Row, direct bool) {
	if n.ord != nil && !n.m.dead {
		_, _ = n.ord.Row(n.instant(), row, direct)
		n.act()
	}
}

// act does what the endpoint wants; calls from within one only note that there is
// more.
func (n *node) act() {
	n.again = true
	if n.acting {
		return
	}
	n.acting = true
	for n.again && !n.m.dead {
		n.again = false
		now := n.instant()
		a := n.ord.Take(now)
		n.again = n.ord.Deadline() <= now.Mono
		n.c.checks.orders.acted(n)
		if a.Save != nil {
			n.saveVotes(a.Save)
		}
		for i := range a.Events {
			n.c.checks.orders.happened(n, &a.Events[i])
		}
		n.transmit(a.Sends)
		n.announce = n.announce || a.Publish
		for _, f := range a.Faults {
			n.c.fail(checkOrder, "%s: %s: %v", n.m.id, f.Member, f.Err) // nobody here lies
		}
	}
	n.acting = false
	n.rearm()
}

func (n *node) rearm() {
	due := n.ord.Deadline()
	if n.ordAt != 0 && n.ordAt <= due {
		return
	}
	n.ordAt = due
	wait := time.Duration(float64(due-n.m.clock())/n.m.pace()) + 1
	n.sim.After(max(1, wait), func() {
		if n.ordAt != due {
			return // an earlier one was set
		}
		n.ordAt = 0
		n.input(func(*ordered.Endpoint, ordered.Instant) {})
		n.settle()
	})
}

// saveVotes writes votes on views; what a crash finds under way is lost or not.
func (n *node) saveVotes(b []byte) {
	d := &n.m.disk
	d.pendingVotes = b
	n.sim.After(n.m.syncTime(), func() {
		d.votes, d.pendingVotes = b, nil
		n.input(func(e *ordered.Endpoint, now ordered.Instant) { e.Saved(now) })
		n.settle()
	})
}

func (n *node) nextChat() time.Duration {
	mean := chatterEvery
	if n.chats++; n.chats%chatterBurst == 0 {
		mean = chatterPause
	}
	return time.Duration(n.chatter.ExpFloat64() * float64(mean))
}

// chat says something to all, in the agreed order or in the safe one.
func (n *node) chat() {
	n.sim.After(n.nextChat(), n.chat)
	class := fabric.ClassAgreed
	if n.chatter.IntN(4) == 0 {
		class = fabric.ClassSafe
	}
	body := binary.LittleEndian.AppendUint64(nil, n.chatter.Uint64())
	n.say(class, append(body, make([]byte, chatterLen-len(body))...))
	n.settle()
}

// say sends an agreed frame, if there is a view to send it in.
func (n *node) say(class fabric.Class, body []byte) {
	n.input(func(e *ordered.Endpoint, now ordered.Instant) {
		life, view := e.Core().Barrier().Self(), n.seen.view
		if seq, err := e.Send(now, class, body); err == nil {
			n.c.checks.orders.sent(life, view, seq, class, body)
			n.c.report.Agreed++
		}
	})
}

// copies puts copies of what decides elections into the agreed order.
func (n *node) copies(msgs []*raftpb.Message) {
	if n.ord == nil {
		return
	}
	for _, m := range msgs {
		switch m.GetType() {
		case raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgTimeoutNow:
			n.say(fabric.ClassAgreed, raftdv.AppendPatch(nil, m))
		}
	}
}

// The first byte of the patch of a frame that is none of raft's: see agreedPatch and
// relayPatch.
const (
	patchAgreed = 0xa0
	patchRelay  = 0xb0
)

// agreedPatch says what a port would carry in a frame's header: here that names the
// frame for the checks.
func agreedPatch(s *ordered.Send) []byte {
	le := binary.LittleEndian
	b := []byte{patchAgreed, byte(s.Class)}
	b = le.AppendUint64(b, s.Stream)
	b = le.AppendUint64(b, uint64(s.Stamp.Time))
	return le.AppendUint32(b, s.Stamp.Logical)
}

func agreedFrame(f *fabric.Frame) *fabric.Frame {
	le, b := binary.LittleEndian, f.Patch
	own := &fabric.Frame{Body: bytes.Clone(f.Body)}
	own.Class, own.Has = fabric.Class(b[1]), fabric.HasStamp
	own.Stream, own.Stamp = le.Uint64(b[2:]), fabric.Stamp{Time: int64(le.Uint64(b[10:])), Logical: le.Uint32(b[18:])}
	return own
}

// transmit sends agreed frames, to whom is not linked with this member by way of
// others.
func (n *node) transmit(sends []ordered.Send) {
	for i := range sends {
		s := &sends[i]
		n.c.checks.orders.stamped(n, s)
		f := &agreedFlight{*s, len(s.To)}
		for _, to := range s.To {
			n.c.streams++
			n.flights[n.c.streams] = f
			o := fabric.Outgoing{
				To: []fabric.MemberID{to}, Patch: [][]byte{agreedPatch(s)}, Body: s.Body,
				Lane: fabric.LaneControl, Class: fabric.ClassUnordered, Stream: n.c.streams, Ticket: n.c.streams,
			}
			if hop := n.hop(to); hop != to {
				o.To[0], o.Patch[0] = hop, relayPatch(n.m.id, to, maxHops, o.Patch[0])
				n.relayed[o.Ticket] = to
			}
			n.refusals(n.port.Send([]fabric.Outgoing{o}))
		}
	}
}

// settled takes what became of a ticket of an agreed frame. It reports whether it
// was one.
func (n *node) settled(to fabric.MemberID, ticket uint64, lost bool) bool {
	f := n.flights[ticket]
	if f == nil {
		return false
	}
	if whom := n.relayed[ticket]; whom != 0 {
		to = whom
	}
	delete(n.flights, ticket)
	delete(n.relayed, ticket)
	if lost {
		n.input(func(e *ordered.Endpoint, now ordered.Instant) { e.Lost(now, to, f.send) })
	}
	return true
}

// Relays. In the transport they are connections that pass a third member; here that
// member passes on single frames, with which it has as little to do.

// maxHops bounds how many members pass on one frame.
const maxHops = 8

// relayPatch begins the patch of a frame, or of a row, that is passed on.
func relayPatch(of, to fabric.MemberID, hops byte, patch []byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint64([]byte{patchRelay, hops}, uint64(of))
	b = le.AppendUint64(b, uint64(to))
	return append(b, patch...)
}

const relayHeader = 18

// hop is whom a frame for a member is sent to: that member, or the first on the way
// there.
func (n *node) hop(to fabric.MemberID) fabric.MemberID {
	if n.ord == nil {
		return to
	}
	b := n.ord.Core().Barrier()
	if b.Linked(to) {
		return to
	}
	if ways := b.Ways(to); len(ways) > 0 {
		return ways[0]
	}
	return to
}

// special takes a frame that is none of raft's own to this member. It reports
// whether it was one.
func (n *node) special(from fabric.MemberID, f *fabric.Frame, hopped bool) bool {
	if len(f.Patch) == 0 {
		return false
	}
	switch f.Patch[0] {
	case patchAgreed:
		n.input(func(e *ordered.Endpoint, now ordered.Instant) { _ = e.Frame(now, from, agreedFrame(f), !hopped) })
		return true
	case patchRelay:
		n.passed(f)
		return true
	}
	if !hopped {
		n.input(func(e *ordered.Endpoint, now ordered.Instant) { e.Heard(now, from) })
	}
	return false
}

// passed takes a frame that was passed on, or passes it on.
func (n *node) passed(f *fabric.Frame) {
	le := binary.LittleEndian
	hops := f.Patch[1]
	of, to := fabric.MemberID(le.Uint64(f.Patch[2:])), fabric.MemberID(le.Uint64(f.Patch[10:]))
	inner := fabric.Frame{Header: f.Header, Patch: f.Patch[relayHeader:], Body: f.Body}
	switch {
	case to == n.m.id && len(inner.Patch) == 0:
		row, err := fabric.ParseRow(inner.Body)
		n.must(err)
		n.takeRow(of, &row, false)
	case to == n.m.id:
		n.take(of, &inner, true)
	case hops == 0:
		// Members on the way do not agree on it: it is lost.
	default:
		n.c.report.Relayed++
		n.c.streams++
		n.relayed[n.c.streams] = 0
		n.refusals(n.port.Send([]fabric.Outgoing{{
			To: []fabric.MemberID{n.hop(to)}, Patch: [][]byte{relayPatch(of, to, hops-1, inner.Patch)}, Body: bytes.Clone(f.Body),
			Lane: f.Lane, Class: f.Class, Stream: n.c.streams, Ticket: n.c.streams,
		}}))
	}
}

// relayRows sends the row to those who wait for it that it reaches by way of others
// only.
func (n *node) relayRows() {
	prompt := n.rowFor
	n.rowFor, n.rowSpare = n.rowSpare, nil
	defer func() { n.rowSpare = prompt[:0] }()
	if n.ord == nil {
		return
	}
	row := fabric.Row{Owner: n.m.id, Incarnation: n.inc, Version: n.version, Sections: n.sections}
	for _, to := range prompt {
		hop := n.hop(to)
		if hop == to {
			continue
		}
		n.c.streams++
		n.relayed[n.c.streams] = 0
		n.refusals(n.port.Send([]fabric.Outgoing{{
			To: []fabric.MemberID{hop}, Patch: [][]byte{relayPatch(n.m.id, to, maxHops, nil)}, Body: fabric.AppendRow(nil, &row),
			Lane: fabric.LaneControl, Class: fabric.ClassUnordered, Stream: n.c.streams, Ticket: n.c.streams,
		}}))
	}
}

// published: those members were told of the row.
func (n *node) published(prompt []fabric.MemberID) {
	if n.ord == nil {
		return
	}
	for _, id := range n.ord.Core().Barrier().Peers() {
		if !slices.Contains(prompt, id) {
			return
		}
	}
	n.ord.Published(n.instant())
}
