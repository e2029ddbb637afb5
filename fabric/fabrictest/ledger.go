package fabrictest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/raftdv/dv/fabric"
)

// msg is a frame that a case wants to be sent.
type msg struct {
	to    []fabric.MemberID
	lane  fabric.Lane
	class fabric.Class
	kind  fabric.Kind
	stamp fabric.Stamp
	size  int // of the body
	// patch is the size of the first destination's patch; the others' are
	// smaller and never all alike. Negative: no patches.
	patch    int
	strand   int // one for each goroutine that sends; frames of a strand keep their order
	noTicket bool
}

// unordered is the strand of frames that several goroutines send.
const unordered = -1

// sentFrame is what the suite knows about a frame. Its id is its stream
// sequence, which ports carry unread.
type sentFrame struct {
	msg
	id   uint64
	from fabric.MemberID
	gen  int
	dest []destination
}

type destination struct {
	to        fabric.MemberID
	gen       int  // incarnation of the receiver when the frame was offered
	dead      bool // the receiver was dead when the frame was offered
	state     state
	delivered bool
	err       error
}

type state uint8

const (
	offered state = iota
	refused
	acked
	lost
)

// pattern is what bodies and patches are cut from.
var pattern = func() []byte {
	rng, b := rand.NewPCG(1, 2), make([]byte, 0, 1<<20)
	for len(b) < cap(b) {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b
}()

const patternMask = 1<<12 - 1

func (s *sentFrame) body() []byte {
	if s.kind == fabric.KindVoid {
		return binary.LittleEndian.AppendUint64(nil, 1)
	}
	return cutPattern(s.id, s.size)
}

// patchFor gives each destination bytes and a length of its own.
func (s *sentFrame) patchFor(i int) []byte {
	return cutPattern(s.id+1+uint64(i)*7, max(0, s.patch-i*13))
}

func cutPattern(id uint64, n int) []byte {
	at := int(id * 17 & patternMask)
	if at+n > len(pattern) {
		at = 0
	}
	return pattern[at : at+n]
}

func (s *sentFrame) ticket() uint64 {
	if s.noTicket {
		return 0
	}
	return s.id ^ ticketBits
}

// ticketBits keeps tickets apart from stream sequences.
const ticketBits = 0x5a5a_0000_0000

// frame returns a frame by its id, or nil; env.mu is held.
func (e *env) frame(id uint64) *sentFrame {
	if id == 0 || id > uint64(len(e.sent)) {
		return nil
	}
	return e.sent[id-1]
}

func (s *sentFrame) to(id fabric.MemberID) *destination {
	for i := range s.dest {
		if s.dest[i].to == id {
			return &s.dest[i]
		}
	}
	return nil
}

// enter records msgs as offered, before the port may deliver them.
func (e *env) enter(from fabric.MemberID, msgs []msg) []*sentFrame {
	e.mu.Lock()
	defer e.mu.Unlock()
	frames := make([]*sentFrame, len(msgs))
	for i, m := range msgs {
		s := &sentFrame{msg: m, id: uint64(len(e.sent)) + 1, from: from, gen: e.members[from].gen}
		for _, to := range m.to {
			d := destination{to: to}
			if r := e.members[to]; r != nil {
				d.gen, d.dead = r.gen, r.ended
			}
			s.dest = append(s.dest, d)
		}
		e.sent = append(e.sent, s)
		frames[i] = s
	}
	return frames
}

func (s *sentFrame) outgoing() fabric.Outgoing {
	o := fabric.Outgoing{
		To: slices.Clone(s.msg.to), Body: bytes.Clone(s.body()), Lane: s.lane, Class: s.class, Kind: s.kind,
		Stream: s.id, Stamp: s.stamp, Ticket: s.ticket(),
	}
	if s.patch >= 0 {
		for i := range s.dest {
			o.Patch = append(o.Patch, bytes.Clone(s.patchFor(i)))
		}
	}
	return o
}

// send offers one batch and books what the port says. The caller's bytes are
// overwritten at once (duty 1).
func (e *env) send(from fabric.MemberID, msgs ...msg) ([]*sentFrame, error) {
	frames := e.enter(from, msgs)
	batch := make([]fabric.Outgoing, len(frames))
	for i, s := range frames {
		batch[i] = s.outgoing()
	}
	err := e.port(from).Send(batch)
	for _, o := range batch {
		scribble(o.Body)
		for i := range o.Patch {
			scribble(o.Patch[i])
			o.Patch[i] = nil
		}
		clear(o.To)
	}
	clear(batch)
	e.book(frames, err)
	return frames, err
}

// book notes the refusals of one Send.
func (e *env) book(frames []*sentFrame, err error) {
	if err == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var se *fabric.SendError
	if !errors.As(err, &se) || len(se.Refused) == 0 {
		e.violateLocked("F3: Send returned %T (%v), want a *fabric.SendError that lists what was refused", err, err)
		return
	}
	for _, r := range se.Refused {
		if r.Index < 0 || r.Index >= len(frames) {
			e.violateLocked("F3: refusal of frame %d of a batch of %d", r.Index, len(frames))
			continue
		}
		e.bookRefusal(frames[r.Index], r)
	}
}

var reasons = []error{
	fabric.ErrNoCredit, fabric.ErrUnknownPeer, fabric.ErrLinkDown, fabric.ErrTooLarge, fabric.ErrClosed, fabric.ErrBadFrame,
}

func (e *env) bookRefusal(s *sentFrame, r fabric.Refusal) {
	if !slices.ContainsFunc(reasons, func(want error) bool { return errors.Is(r.Err, want) }) {
		e.violateLocked("F3: refusal for %s with an untyped reason: %v", r.To, r.Err)
	}
	d := s.to(r.To)
	switch {
	case d == nil:
		e.violateLocked("F3: frame %d refused for %s, which it was not sent to", s.id, r.To)
	case r.Ticket != s.ticket():
		e.violateLocked("F3: refusal names ticket %d, the frame's is %d", r.Ticket, s.ticket())
	case d.state == refused:
		e.violateLocked("F3: frame %d refused twice for %s", s.id, r.To)
	case d.state != offered:
		e.violateLocked("F2: frame %d to %s was resolved and refused", s.id, r.To)
	case d.delivered:
		e.violateLocked("F1: frame %d to %s was delivered and refused", s.id, r.To)
	default:
		d.state, d.err = refused, r.Err
	}
}

// push sends one frame and waits for credit or the link as long as it takes.
func (e *env) push(from fabric.MemberID, m msg) *sentFrame {
	e.tb.Helper()
	s := e.offer(from, m)
	if s == nil {
		e.tb.FailNow()
	}
	return s
}

// offer is push for goroutines that are not the test's; nil is failure.
func (e *env) offer(from fabric.MemberID, m msg) *sentFrame {
	var s *sentFrame
	ok := e.eventually(e.ticketTime()+e.f.Patience, func() bool {
		frames, _ := e.send(from, m)
		s = frames[0]
		m.to = e.toRetry(s)
		return m.to == nil
	})
	if !ok {
		e.violate("F3: credit comes back: %s is still refused at %v: %v", from, m.to, e.reasonOf(s, m.to[0]))
		return nil
	}
	return s
}

// toRetry lists the destinations that refused a frame for now.
func (e *env) toRetry(s *sentFrame) (again []fabric.MemberID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range s.dest {
		if d.state != refused {
			continue
		}
		if !errors.Is(d.err, fabric.ErrNoCredit) && !errors.Is(d.err, fabric.ErrLinkDown) {
			e.violateLocked("F3: send from %s to %s: %v", s.from, d.to, d.err)
		}
		again = append(again, d.to)
	}
	return again
}

func (e *env) reasonOf(s *sentFrame, to fabric.MemberID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return s.to(to).err
}

// resolved settles one ticket.
func (e *env) resolved(m *member, r fabric.Resolution) {
	if r.Ticket == 0 {
		if r.Acked() {
			e.violateLocked("F2: an ack was reported for ticket 0")
		}
		return
	}
	s := e.frame(r.Ticket ^ ticketBits)
	var d *destination
	if s != nil {
		d = s.to(r.To)
	}
	switch {
	case d == nil || s.from != m.id || s.gen != m.gen:
		e.violateLocked("F2: member %s was told of ticket %d to %s, which it never sent", m.id, r.Ticket, r.To)
	case d.state != offered:
		e.violateLocked("F2: ticket of frame %d to %s resolved (%v) after it was settled (%v)", s.id, r.To, r.Err, d.err)
	case r.Lane != s.lane:
		e.violateLocked("F2: ticket of frame %d in %v resolved in %v", s.id, s.lane, r.Lane)
	case r.Err != nil && !errors.Is(r.Err, fabric.ErrLost):
		e.violateLocked("F2: loss of frame %d with a reason that does not wrap ErrLost: %v", s.id, r.Err)
	case r.Acked() && d.dead && d.gen == e.members[r.To].gen:
		e.violateLocked("F2: acked implies received: frame %d to %s, which was dead when it was sent", s.id, r.To)
	case r.Acked():
		d.state = acked
	default:
		d.state, d.err = lost, r.Err
	}
}

// count returns at how many destinations frames satisfy want.
func (e *env) count(want func(*sentFrame, *destination) bool) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, s := range e.sent {
		for i := range s.dest {
			if want(s, &s.dest[i]) {
				n++
			}
		}
	}
	return n
}

// pending: accepted, with a ticket, not resolved, and the sender lives.
func (e *env) pending(s *sentFrame, d *destination) bool {
	m := e.members[s.from]
	return d.state == offered && !s.noTicket && s.gen == m.gen && !m.ended
}

// resolveAll waits until every ticket is settled (F2).
func (e *env) resolveAll() {
	e.tb.Helper()
	if !e.eventually(e.ticketTime(), func() bool { return e.count(e.pending) == 0 }) {
		e.tb.Fatalf("%s: F2: %d tickets not resolved within %v", e.f.Name, e.count(e.pending), e.ticketTime())
	}
}

// ackedArrive waits until every frame that was acked has been delivered, if its
// receiver still lives and its sender has not crashed (F2).
func (e *env) ackedArrive() {
	e.tb.Helper()
	missing := func(s *sentFrame, d *destination) bool {
		to, from := e.members[d.to], e.members[s.from]
		return d.state == acked && !d.delivered && s.kind != fabric.KindVoid &&
			(to.gen == d.gen || d.dead) && !to.ended && from.gen == s.gen && !from.crashed
	}
	if !e.eventually(e.f.Patience, func() bool { return e.count(missing) == 0 }) {
		e.tb.Fatalf("%s: F2: acked implies received: %d acked frames were never delivered", e.f.Name, e.count(missing))
	}
}

// whyLost is what the port says about the tickets that were lost, and about the
// links that went down.
func (e *env) whyLost() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	why := make(map[string]bool)
	for _, s := range e.sent {
		for i := range s.dest {
			if d := &s.dest[i]; d.state == lost {
				why[fmt.Sprintf("%s to %s: %v", s.from, d.to, d.err)] = true
			}
		}
	}
	for _, m := range e.everyone {
		for id, p := range m.peers {
			for _, l := range p.links {
				if !l.Up {
					why[fmt.Sprintf("%s was told that the link to %s is down: %v", m.id, id, l.Err)] = true
				}
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(why)), "; ")
}

// checkLosses: without a fault nothing is lost, with one every loss is known.
func (e *env) checkLosses() {
	if !e.faced {
		n := e.count(func(_ *sentFrame, d *destination) bool { return d.state == lost })
		if n > 0 {
			e.violate("F1, F2: %d tickets were lost without a fault (%s)", n, e.whyLost())
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.everyone {
		for from, p := range m.peers {
			for l := range p.lanes {
				voids := e.voids(from, m.id, fabric.Lane(l))
				if n := p.lanes[l].gapped; n != voids && !e.faced {
					e.violateLocked("F1: %d frames from %s to %s reported missing in %v without a fault", n-voids, from, m.id, fabric.Lane(l))
				}
			}
		}
	}
}

// voids counts the frames that the suite itself sent as missing; env.mu is held.
func (e *env) voids(from, to fabric.MemberID, lane fabric.Lane) (n uint64) {
	for _, s := range e.sent {
		if d := s.to(to); d != nil && s.kind == fabric.KindVoid && s.from == from && s.lane == lane && d.state != refused {
			n++
		}
	}
	return n
}

// accepted counts the frames that were accepted from a member's newest
// incarnation for another's.
func (e *env) accepted(from, to fabric.MemberID, lane fabric.Lane) int {
	return e.count(func(s *sentFrame, d *destination) bool {
		return s.from == from && d.to == to && s.lane == lane && d.state != refused &&
			s.gen == e.members[from].gen && d.gen == e.members[to].gen
	})
}

// settled checks that delivered and missing frames add up to those accepted,
// for two members that were not restarted, once a last frame was acked: an
// omission is never silent (F1).
func (e *env) settled(from, to fabric.MemberID, lane fabric.Lane) {
	e.tb.Helper()
	e.must("F1: after the fault frames are delivered again", e.ticketTime()+e.f.Patience, func() bool {
		s := e.push(from, msg{to: one(to), lane: lane, size: 8, patch: -1})
		if !e.eventually(e.ticketTime(), func() bool { return e.stateOf(s, to) != offered }) {
			e.tb.Fatalf("%s: F2: ticket not resolved within %v", e.f.Name, e.ticketTime())
		}
		return e.stateOf(s, to) == acked
	})
	e.ackedArrive()
	want := e.accepted(from, to, lane)
	e.mu.Lock()
	defer e.mu.Unlock()
	v := &e.members[to].peer(from).lanes[lane]
	if got := int(v.delivered + v.gapped); got != want {
		e.violateLocked("F1: a loss is never silent: %d frames accepted from %s to %s in %v, %d delivered and %d reported missing",
			want, from, to, lane, v.delivered, v.gapped)
	}
}

func (e *env) stateOf(s *sentFrame, to fabric.MemberID) state {
	e.mu.Lock()
	defer e.mu.Unlock()
	return s.to(to).state
}
