package raftdv

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"strings"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/ordered"
)

// orderRecord counts what happened.
type orderRecord struct {
	views, left, sent, delivered, faults, ahead uint64
	notSent                                     map[string]uint64
	saveErr, configErr                          error
	// Of the view: its number as delivered, and the digest of what was delivered in
	// it, in its order.
	view   uint64
	inView uint64
	digest uint64
}

// OrderState is what a member knows of views and of the agreed order.
type OrderState struct {
	// Delivery is the one that was set.
	Delivery string `json:"delivery"`
	// Why says why this member takes part in no view, Mixed why nothing is sent in
	// agreed order although it could be.
	Why   string `json:"why,omitempty"`
	Mixed string `json:"mixed,omitempty"`
	// View is the number of the newest view that is known, Members those that belong
	// to it; Member: this member does; Changing: the next one is being made.
	View     uint64   `json:"view"`
	Members  []string `json:"members"`
	Member   bool     `json:"member"`
	Changing bool     `json:"changing"`
	// Views counts those that were installed here, Left the times that this member had
	// to begin anew.
	Views uint64 `json:"views"`
	Left  uint64 `json:"left"`
	// Sent and Delivered count agreed frames, NotSent those that could not be, by
	// reason.
	Sent      uint64            `json:"sent"`
	Delivered uint64            `json:"delivered"`
	NotSent   map[string]uint64 `json:"not_sent,omitempty"`
	// InView counts the frames that were delivered in this view; Digest, of what they
	// were and their order, is the same at all members that have the same InView.
	InView uint64 `json:"in_view"`
	Digest string `json:"digest"`
	// Faults counts what peers did against the rules, Ahead the stamps of theirs that
	// were too far ahead of this member's clock.
	Faults uint64 `json:"faults"`
	Ahead  uint64 `json:"ahead"`
	// Error is why votes cannot be written, or a configuration was refused.
	Error string `json:"error,omitempty"`
}

// note keeps what happened, mu is held.
func (o *ordering) note(a *ordered.Actions) {
	r := &o.record
	r.faults += uint64(len(a.Faults))
	for i := range a.Events {
		e := &a.Events[i]
		if e.View == nil {
			r.delivered++
			r.inView++
			r.digest = digestOf(r.digest, e)
			continue
		}
		r.views++
		if !e.View.Stayed && r.views > 1 {
			r.left++
		}
		r.view, r.inView, r.digest = e.View.View.Number, 0, 0
	}
}

// digestOf goes on from a digest with another delivery.
func digestOf(d uint64, e *ordered.Event) uint64 {
	h := fnv.New64a()
	var b [48]byte
	le := binary.LittleEndian
	for i, v := range [...]uint64{d, uint64(e.From.Member), e.From.Incarnation, e.Seq, uint64(e.Stamp.Time), uint64(e.Stamp.Logical)} {
		le.PutUint64(b[8*i:], v)
	}
	h.Write(b[:])
	h.Write(e.Body)
	return h.Sum64()
}

// happened acts on an event, in the order of events.
func (o *ordering) happened(e *ordered.Event) {
	if e.View == nil {
		o.delivered(e, o.lastView)
		return
	}
	v := e.View.View
	o.lastView = v.Number
	o.t.lg.Info("view", zap.String("local-member-id", o.t.ID.String()), zap.Uint64("number", v.Number),
		zap.Strings("members", lifeNames(v.Members)), zap.Bool("member", e.View.Member), zap.Bool("stayed", e.View.Stayed))
	happened.add(Event{Time: time.Now(), Member: o.t.ID.String(), View: &ViewEvent{v.Number, lifeNames(v.Members), e.View.Member, e.View.Stayed}})
}

func lifeNames(lives []barrier.Life) (names []string) {
	for _, l := range lives {
		names = append(names, types.ID(l.Member).String())
	}
	return names
}

// describe adds what is known of views and of the order.
func (o *ordering) describe(s *State) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := &o.record
	s.Order = &OrderState{
		Delivery: o.t.cfg.Delivery.String(), Why: o.why, Mixed: o.mixed, Members: []string{}, Views: r.views, Left: r.left, Sent: r.sent,
		Delivered: r.delivered, NotSent: maps.Clone(r.notSent), InView: r.inView, Digest: fmt.Sprintf("%016x", r.digest), Faults: r.faults, Ahead: r.ahead,
	}
	var errs []string
	for _, err := range []error{r.saveErr, r.configErr} {
		if err != nil {
			errs = append(errs, err.Error())
		}
	}
	s.Order.Error = strings.Join(errs, "; ")
	if o.endpoint == nil {
		return
	}
	b := o.endpoint.Core().Barrier()
	v, member := b.View()
	s.Order.View, s.Order.Member, s.Order.Changing = v.Number, member, b.Wedged()
	s.Order.Members = append(s.Order.Members, lifeNames(v.Members)...)
	for i := range s.Peers {
		if id, err := types.IDFromString(s.Peers[i].Member); err == nil {
			s.Peers[i].Linked = o.linked[fabric.MemberID(id)].direct
		}
	}
}
