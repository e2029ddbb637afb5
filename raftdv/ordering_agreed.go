package raftdv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/ordered"
)

// Delivery says which of raft's messages travel in the agreed order.
type Delivery uint8

const (
	// DeliveryAuto: none of them waits for it. Of those that decide elections a copy
	// is sent in that order, so that all members can tell the same story of an
	// election. The zero value.
	DeliveryAuto Delivery = iota
	// DeliveryAgreed: all but snapshots do, while a view stands; all members see all
	// of them. It is for experiments and costs at least a further round trip.
	DeliveryAgreed
)

var deliveryNames = [...]string{"auto", "agreed"}

// String is the delivery's name in settings.
func (d Delivery) String() string { return nameOf(deliveryNames[:], int(d)) }

// ParseDelivery is the inverse of String.
func ParseDelivery(s string) (Delivery, error) {
	if i := slices.Index(deliveryNames[:], s); i >= 0 {
		return Delivery(i), nil
	}
	return 0, fmt.Errorf("delivery %q is unknown: use one of %v", s, deliveryNames)
}

// AgreedMessage is a message of raft in the agreed order. Members that are in two
// views after each other are told the same ones between them, in the same order.
type AgreedMessage struct {
	View    uint64
	From    fabric.MemberID
	Seq     uint64 // among those of From's life
	Stamp   fabric.Stamp
	Message *raftpb.Message
	// Copy: the message itself went its own way.
	Copy bool
}

// An agreed frame of raft holds what it is (1: a copy, 2: a message), the length of
// a patch (uvarint), the patch and the body; see codec.go.
const (
	agreedCopy    = 1
	agreedMessage = 2
)

// maxAgreedQueue bounds the deliveries that wait for raft. When it is reached,
// nothing more is taken from the others.
const maxAgreedQueue = 4096

// inAgreedOrder reports whether a copy of m belongs into the agreed order.
func inAgreedOrder(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgTimeoutNow:
		return true
	}
	return false
}

// sent takes what raft handed to Send: copies go out.
func (o *ordering) sent(msgs []*raftpb.Message) {
	if !o.on.Load() || o.t.cfg.Delivery != DeliveryAuto || !slices.ContainsFunc(msgs, inAgreedOrder) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range msgs {
		if inAgreedOrder(m) {
			o.send(agreedCopy, m)
		}
	}
	o.act()
}

// carries sends a message in the agreed order, if that is what is wanted. Without
// room or a view it takes its own way: raft does not wait.
func (o *ordering) carries(m *raftpb.Message) bool {
	if !o.on.Load() || o.t.cfg.Delivery != DeliveryAgreed || m.GetType() == raftpb.MsgSnap {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	v, _ := o.endpoint.Core().Barrier().View()
	to := fabric.MemberID(m.GetTo())
	if !slices.ContainsFunc(v.Members, func(l barrier.Life) bool { return l.Member == to }) {
		o.record.notSent["addressee"]++
		return false
	}
	if !o.send(agreedMessage, m) {
		return false
	}
	o.act()
	return true
}

// send is called with mu held.
func (o *ordering) send(kind byte, m *raftpb.Message) bool {
	if o.mixed != "" {
		o.record.notSent["stock"]++
		return false
	}
	asProto := travelsAsProto(m)
	patch := appendPatch(nil, m, asProto)
	body := binary.AppendUvarint([]byte{kind}, uint64(len(patch)))
	body = appendBody(append(body, patch...), m, asProto)
	if len(body)+agreedOverhead > o.t.stream().caps.MaxFrame {
		o.record.notSent["too-large"]++
		return false
	}
	if _, err := o.endpoint.Send(o.now(), fabric.ClassAgreed, body); err != nil {
		o.record.notSent[notSentReason(err)]++
		return false
	}
	o.record.sent++
	return true
}

// agreedOverhead is what package ordered adds to a body at most.
const agreedOverhead = 64

func notSentReason(err error) string {
	switch {
	case errors.Is(err, barrier.ErrNoMember):
		return "no-view"
	case errors.Is(err, barrier.ErrWedged):
		return "view-changes"
	case errors.Is(err, ordered.ErrWindow):
		return "window"
	}
	return "other"
}

// parseAgreed reads the body of an agreed frame. What it returns points into it.
func parseAgreed(from fabric.MemberID, body []byte) (kind byte, h PatchHeader, patch, rest []byte, err error) {
	bad := func(format string, args ...any) (byte, PatchHeader, []byte, []byte, error) {
		return 0, h, nil, nil, refused(from, RefusedOrder, "agreed frame: "+format, args...)
	}
	if len(body) == 0 || body[0] != agreedCopy && body[0] != agreedMessage {
		return bad("%d bytes of no known kind", len(body))
	}
	n, used := binary.Uvarint(body[1:])
	if used <= 0 || n > uint64(len(body)-1-used) {
		return bad("%d bytes are too few for its patch", len(body))
	}
	patch, rest = body[1+used:1+used+int(n)], body[1+used+int(n):]
	if err := ParsePatch(patch, &h); err != nil {
		return bad("%w", err)
	}
	return body[0], h, patch, rest, nil
}

// agreedQueue holds what was delivered and waits to be handed over.
type agreedQueue struct {
	mu     sync.Mutex // guards the fields below
	items  []agreedItem
	full   bool          // others were told so
	queued chan struct{} // holds one: items is not empty
}

type agreedItem struct {
	event ordered.Event
	view  uint64
}

func (q *agreedQueue) init() { q.queued = make(chan struct{}, 1) }

// add reports whether the queue has just become full.
func (q *agreedQueue) add(it agreedItem) (full bool) {
	q.mu.Lock()
	q.items = append(q.items, it)
	full = !q.full && len(q.items) >= maxAgreedQueue
	q.full = q.full || full
	q.mu.Unlock()
	select {
	case q.queued <- struct{}{}:
	default:
	}
	return full
}

// next returns the first one. room: there is room again.
func (q *agreedQueue) next() (it agreedItem, room, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		q.items = nil
		return it, false, false
	}
	it, q.items = q.items[0], q.items[1:]
	room = q.full && len(q.items) <= maxAgreedQueue/2
	q.full = q.full && !room
	return it, room, true
}

// delivered takes a frame that was delivered.
func (o *ordering) delivered(e *ordered.Event, view uint64) {
	if o.hand.add(agreedItem{*e, view}) {
		o.input(func(e *ordered.Endpoint, now ordered.Instant) { e.SetFull(now, true) })
	}
}

// handOver gives raft, and whoever listens, what was delivered. It has a goroutine
// of its own: they may take their time.
func (o *ordering) handOver() {
	var d Decoder
	for {
		select {
		case <-o.hand.queued:
		case <-o.t.ctx.Done():
			return
		}
		for {
			it, room, ok := o.hand.next()
			if !ok {
				break
			}
			if room {
				o.input(func(e *ordered.Endpoint, now ordered.Instant) { e.SetFull(now, false) })
			}
			if err := o.give(&d, &it); err != nil {
				if p := o.t.peer(types.ID(it.event.From.Member)); p != nil {
					p.refuse(err)
				}
			}
			if o.t.ctx.Err() != nil {
				return
			}
		}
	}
}

func (o *ordering) give(d *Decoder, it *agreedItem) error {
	from := it.event.From.Member
	kind, h, patch, body, err := parseAgreed(from, it.event.Body)
	if err != nil {
		return err
	}
	mine := kind == agreedMessage && h.To == o.t.member()
	if err := CheckHeader(&h, from, h.To); err != nil {
		return err
	}
	if !mine && o.t.cfg.Agreed == nil {
		return nil
	}
	m, err := d.DecodeBody(&h, patch, body)
	if err != nil {
		return err
	}
	if o.t.cfg.Agreed != nil {
		o.t.cfg.Agreed(AgreedMessage{View: it.view, From: from, Seq: it.event.Seq, Stamp: it.event.Stamp, Message: m, Copy: kind == agreedCopy})
	}
	p := o.t.peer(types.ID(from))
	if !mine || p == nil || p.paused.Load() {
		return nil
	}
	if err := CheckMessage(m, from); err != nil {
		return err
	}
	p.metrics.received(h.Type, formAgreed)
	return p.handToRaft(m)
}
