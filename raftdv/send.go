package raftdv

import (
	"errors"
	"slices"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
)

// maxKeptScratch bounds the bytes that a scratch keeps for its next use.
const maxKeptScratch = 1 << 20

// scratch is what one Send needs; the ports copy all of it.
type scratch struct {
	bytes []byte // patches and bodies
	roads []roadBatch
	inner []*raftpb.Message
	stamp fabric.Stamp // of the next frame; zero: frames have none
}

func (s *scratch) nextStamp() (now fabric.Stamp) {
	if now = s.stamp; !now.IsZero() {
		s.stamp = barrier.Next(now)
	}
	return now
}

// roadBatch is what goes out on one road.
type roadBatch struct {
	out  []fabric.Outgoing
	msgs []*raftpb.Message // the MsgApp that out[i]'s body was made of, or nil
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) reset(roads int) {
	s.bytes, s.stamp = s.bytes[:0], fabric.Stamp{}
	if cap(s.bytes) > maxKeptScratch {
		s.bytes = nil
	}
	for len(s.roads) < roads {
		s.roads = append(s.roads, roadBatch{})
	}
	for i := range s.roads {
		b := &s.roads[i]
		clear(b.msgs)
		b.out, b.msgs = b.out[:0], b.msgs[:0]
	}
	clear(s.inner)
	s.inner = s.inner[:0]
}

// Send sends messages, each to the peer in its To; messages to 0 and to
// members that are not known are dropped, as rafthttp does. It never blocks.
// What cannot be sent is reported to raft as unreachable.
func (t *Transport) Send(msgs []*raftpb.Message) {
	t.elections.sent(msgs)
	t.ordering.sent(msgs)
	s := scratches.Get().(*scratch)
	s.reset(len(t.roads))
	s.stamp = t.ordering.reserve(len(msgs))
	for _, m := range msgs {
		if m.GetTo() == 0 {
			continue
		}
		p := t.peer(types.ID(m.GetTo()))
		if p == nil {
			s.inner = append(s.inner, m) // perhaps a remote
			continue
		}
		if !p.paused.Load() {
			p.sort(s, m)
		}
	}
	t.rows.publish(t)
	t.flush(s)
}

// flush sends what was sorted and gives the scratch back.
func (t *Transport) flush(s *scratch) {
	for i := range t.roads {
		if b := &s.roads[i]; len(b.out) > 0 {
			t.refusals(b, t.roads[i].port.Send(b.out))
		}
	}
	if len(s.inner) > 0 {
		t.inner.Send(s.inner)
	}
	s.reset(0)
	scratches.Put(s)
}

// sort puts m where it goes: into the row, a snapshot transfer, a batch of a
// road, or to rafthttp.
func (p *peer) sort(s *scratch, m *raftpb.Message) {
	if m.GetType() == raftpb.MsgSnap {
		p.sendSnapMessage(m)
		return
	}
	if p.t.ordering.carries(m) {
		p.metrics.sent(m.GetType(), formAgreed)
		return
	}
	if p.speaksRows() && p.t.rows.take(p, m) {
		p.metrics.sent(m.GetType(), formRow)
		return
	}
	p.sortFrame(s, m)
}

// sortFrame is sort for what must not go into the row.
func (p *peer) sortFrame(s *scratch, m *raftpb.Message) {
	path := p.path.Load()
	if path < 0 {
		p.sendLast(s, m)
		return
	}
	asProto := travelsAsProto(m)
	start := len(s.bytes)
	s.bytes = appendPatch(s.bytes, m, asProto)
	patch := s.bytes[start:len(s.bytes):len(s.bytes)]
	if !asProto && s.roads[path].join(p, m, patch) {
		return
	}
	start = len(s.bytes)
	s.bytes = appendBody(s.bytes, m, asProto)
	body := s.bytes[start:len(s.bytes):len(s.bytes)]
	r := p.bestRoad(len(patch) + len(body))
	if r == nil {
		p.sendLast(s, m)
		return
	}
	class, lane := Classify(m)
	var joinable *raftpb.Message
	if m.GetType() == raftpb.MsgApp && !asProto {
		joinable = m
	}
	s.roads[r.index].add(p, joinable, fabric.Outgoing{Body: body, Class: class, Lane: lane, Stamp: s.nextStamp()}, patch)
	p.sentFrame(m, len(patch)+len(body))
}

func (p *peer) sentFrame(m *raftpb.Message, size int) {
	p.metrics.sent(m.GetType(), formFrame)
	p.metrics.sentBytes(size)
}

// sendLast sends m without a fabric.
func (p *peer) sendLast(s *scratch, m *raftpb.Message) {
	if p.t.cfg.Require {
		p.lostMessage(fabric.ErrLinkDown)
		return
	}
	s.inner = append(s.inner, m)
	p.metrics.sent(m.GetType(), formRafthttp)
	if p.path.Load() >= 0 {
		p.metrics.fallback("too-large")
	}
}

// joinWithin bounds how many frames join looks back over for the same body:
// raft appends to each follower in turn.
const joinWithin = 8

// join adds a destination to a frame with the same body. What travels as
// protobuf never joins.
func (b *roadBatch) join(p *peer, m *raftpb.Message, patch []byte) bool {
	if m.GetType() != raftpb.MsgApp || len(m.Entries) == 0 {
		return false
	}
	for i := len(b.out) - 1; i >= max(0, len(b.out)-joinWithin); i-- {
		o := &b.out[i]
		if b.msgs[i] == nil || !sameEntries(b.msgs[i], m) || contains(o.To, p.member) {
			continue
		}
		o.To = append(o.To, p.member)
		o.Patch = append(o.Patch, patch)
		p.sentFrame(m, len(patch)+len(o.Body))
		return true
	}
	return false
}

func contains(ids []fabric.MemberID, id fabric.MemberID) bool {
	return slices.Contains(ids, id)
}

// add appends a frame, with the slices of the one that stood there before.
// joinable is the message if others may join its body, else nil.
func (b *roadBatch) add(p *peer, joinable *raftpb.Message, o fabric.Outgoing, patch []byte) {
	n := len(b.out)
	if n < cap(b.out) {
		old := b.out[:n+1][n]
		o.To, o.Patch = old.To[:0], old.Patch[:0]
	}
	o.To, o.Patch = append(o.To, p.member), append(o.Patch, patch)
	o.Stream = p.t.streams[o.Class].Add(1)
	b.out, b.msgs = append(b.out, o), append(b.msgs, joinable)
}

// bestRoad is the road in use, or the next one that is up and carries size
// bytes in one frame; nil if there is none.
func (p *peer) bestRoad(size int) *road {
	i := p.path.Load()
	if i < 0 {
		return nil
	}
	if r := p.t.roads[i]; size <= r.caps.MaxFrame {
		return r
	}
	return p.roadUp(int(i)+1, size)
}

// roadUp is the first road from an index on that is up and carries size bytes.
func (p *peer) roadUp(from, size int) *road {
	for _, r := range p.t.roads[from:] {
		if r.port != nil && size <= r.caps.MaxFrame && p.isUp(r.index) {
			return r
		}
	}
	return nil
}

// refusals reports what a port did not take.
func (t *Transport) refusals(b *roadBatch, err error) {
	if err == nil {
		return
	}
	refused, ok := errors.AsType[*fabric.SendError](err)
	if !ok {
		t.lg.Sugar().Warnf("port refused a batch: %v", err)
		return
	}
	for _, r := range refused.Refused {
		p := t.peer(types.ID(r.To))
		if p == nil {
			continue
		}
		p.metrics.dropped(b.out[r.Index].Lane, r.Err)
		p.lostMessage(r.Err)
	}
}

// lostMessage: raft hears of it at once, the metric counts it.
func (p *peer) lostMessage(error) {
	p.metrics.sendFailed()
	p.report.note()
}

func (p *peer) speaksRows() bool { return Feature(p.speaks.Load())&FeatureRowAcks != 0 }
