package raftdv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/durable"
	"github.com/raftdv/dv/ordered"
	"github.com/raftdv/dv/raftdv/election"
)

// ordering is this member's part in views and in the total order (protocol §4): it
// drives an ordered.Endpoint, whose frames and rows take the same roads as raft's.
// Raft never waits for any of it.
//
// Whoever has an input does what comes of it, unless somebody is at it, who then
// does that, too. No lock is held while a port is called.
type ordering struct {
	t     *Transport
	saves chan []byte // holds one
	on    atomic.Bool // there is an endpoint
	hand  agreedQueue

	mu       sync.Mutex // guards the fields below
	endpoint *ordered.Endpoint
	config   barrier.Config
	acting   bool   // somebody does what comes of inputs
	again    bool   // there was another input since
	alarm    *alarm // for the endpoint's deadline
	why      string // why there is no endpoint
	mixed    string // why nothing is sent in agreed order
	flights  map[uint64]*orderFlight
	ticket   uint64
	linked   map[fabric.MemberID]link
	record   orderRecord
	lastView uint64 // of whoever acts: as delivered
}

// orderFlight is a frame that not all destinations have settled.
type orderFlight struct {
	send ordered.Send
	left int
}

// orderIdleBeat is how often the row goes out when nothing is ordered: more seldom
// than the arbiter has it go, which is as good.
const orderIdleBeat = idleBeat * 6 / 5

// orderTicket marks tickets of agreed frames; those of snapshots are lower.
const orderTicket = 1 << 63

// viewRetry is how long a member waits that could not write its votes on views.
const viewRetry = time.Second

var errNoViewFile = errors.New("there is no file to keep votes on views in: set Config.ViewFile")

func (o *ordering) init(t *Transport) {
	o.t, o.alarm, o.saves = t, newAlarm(), make(chan []byte, 1)
	o.flights, o.linked = map[uint64]*orderFlight{}, map[fabric.MemberID]link{}
	o.record.notSent = map[string]uint64{}
	o.hand.init()
	o.why = "the members are not known yet"
	if t.cfg.Members == nil {
		o.why = errNoMembers.Error()
	}
}

// start begins to act; the roads are open.
func (o *ordering) start() {
	o.t.wg.Go(o.run)
	o.t.wg.Go(o.save)
	o.t.wg.Go(o.handOver)
}

// now is the time of an input.
func (o *ordering) now() ordered.Instant {
	return ordered.Instant{Mono: time.Since(o.t.started), Clock: o.t.stream().port.Now()}
}

// input gives the endpoint something, if there is one, and does what comes of it.
func (o *ordering) input(f func(e *ordered.Endpoint, now ordered.Instant)) {
	if !o.on.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if o.t.elections.inRaft.Load() > 0 { // what peers say next waits behind that
		for _, p := range *o.t.peers.Load() {
			if p.inRaft.Load() > 0 {
				o.endpoint.Waits(now, p.member)
			}
		}
	}
	f(o.endpoint, now)
	o.act()
}

// act does what is to be done, with mu held, which it lets go of meanwhile.
func (o *ordering) act() {
	o.again = true
	if o.acting {
		return
	}
	o.acting = true
	for o.again {
		o.again = false
		now := o.now()
		a := o.endpoint.Take(now)
		o.again = o.endpoint.Deadline() <= now.Mono
		links := o.links()
		o.note(&a)
		o.mu.Unlock()
		o.perform(&a, links)
		o.mu.Lock()
	}
	o.acting = false
	if due := o.endpoint.Deadline(); due != o.alarm.at {
		o.alarm.set(due, time.Since(o.t.started))
	}
}

// link is what is known of the link with a peer.
type link struct {
	direct bool   // the two hear each other without a relay
	detour bool   // they do not, and somebody is linked with both
	stirs  uint64 // of the barrier, when that was so
}

// linkNews says that something else is known of a peer's link.
type linkNews struct {
	peer fabric.MemberID
	link
}

// links lists what is new about links; mu is held.
func (o *ordering) links() (news []linkNews) {
	b := o.endpoint.Core().Barrier()
	for _, id := range b.Peers() {
		if o.t.peer(types.ID(id)) == nil {
			delete(o.linked, id) // it is told when it is there
			continue
		}
		was, known := o.linked[id]
		if known && was.stirs == b.Stirs() {
			continue
		}
		l := link{direct: b.Linked(id), stirs: b.Stirs()}
		l.detour = !l.direct && len(b.Ways(id)) > 0
		o.linked[id] = l
		if !known || l.direct != was.direct || l.detour != was.detour {
			news = append(news, linkNews{id, l})
		}
	}
	return news
}

// perform does what the endpoint wants.
func (o *ordering) perform(a *ordered.Actions, links []linkNews) {
	if a.Save != nil {
		select { // the one that waits is older
		case <-o.saves:
		default:
		}
		o.saves <- a.Save
	}
	for i := range a.Events {
		o.happened(&a.Events[i])
	}
	o.transmit(a.Sends)
	if a.Publish {
		o.t.rows.toAll(o.t)
		o.t.rows.publish(o.t)
	}
	for _, f := range a.Faults {
		if p := o.t.peer(types.ID(f.Member)); p != nil {
			p.refuse(refused(f.Member, RefusedOrder, "%w", f.Err))
		}
	}
	for _, l := range links {
		if p := o.t.peer(types.ID(l.peer)); p != nil {
			p.setLink(l.link)
		}
	}
}

// transmit gives frames to the roads that their destinations are reached by.
func (o *ordering) transmit(sends []ordered.Send) {
	for i := range sends {
		s := &sends[i]
		batches := map[*road][]fabric.MemberID{}
		var lost []fabric.MemberID
		for _, to := range s.To {
			p := o.t.peer(types.ID(to))
			if p == nil || p.paused.Load() {
				lost = append(lost, to)
			} else if r := p.bestRoad(len(s.Body)); r == nil {
				lost = append(lost, to)
			} else {
				batches[r] = append(batches[r], to)
			}
		}
		o.mu.Lock()
		o.ticket++
		ticket := o.ticket | orderTicket
		o.flights[ticket] = &orderFlight{*s, len(s.To)}
		o.mu.Unlock()
		for _, r := range o.t.roads { // in their order
			if len(batches[r]) == 0 {
				continue
			}
			err := r.port.Send([]fabric.Outgoing{{
				To: batches[r], Body: s.Body, Lane: fabric.LaneControl, Class: s.Class, Stream: s.Stream, Stamp: s.Stamp, Ticket: ticket,
			}})
			if refusals, ok := errors.AsType[*fabric.SendError](err); ok {
				for _, f := range refusals.Refused {
					lost = append(lost, f.To)
				}
			}
		}
		for _, to := range lost {
			o.settled(to, ticket, true)
		}
	}
}

// settled takes what became of a frame at one destination.
func (o *ordering) settled(to fabric.MemberID, ticket uint64, lost bool) {
	o.mu.Lock()
	f := o.flights[ticket]
	if f != nil {
		if f.left--; f.left == 0 {
			delete(o.flights, ticket)
		}
	}
	o.mu.Unlock()
	if f != nil && lost {
		o.input(func(e *ordered.Endpoint, now ordered.Instant) { e.Lost(now, to, f.send) })
	}
}

// row takes a peer's row. direct: it came by no relay.
func (o *ordering) row(row *fabric.Row, direct bool) {
	o.input(func(e *ordered.Endpoint, now ordered.Instant) { _, _ = e.Row(now, row, direct) }) // Faults say it
}

// frame takes a frame of class agreed or safe. direct: it came by no relay.
func (o *ordering) frame(from fabric.MemberID, f *fabric.Frame, direct bool) {
	own := fabric.Frame{Header: f.Header, Body: slices.Clone(f.Body)}
	own.Seal, own.Destinations, own.Extensions = nil, nil, nil
	o.input(func(e *ordered.Endpoint, now ordered.Instant) { _ = e.Frame(now, from, &own, direct) }) // Faults say it
}

// signEvery bounds how often frames of a peer count as signs of life: rows are, too.
const signEvery = 2 * time.Millisecond

// met takes frames of other classes: a sign of life, if they came directly, and the
// latest of their stamps.
func (o *ordering) met(p *peer, latest fabric.Stamp, direct bool) {
	if !o.on.Load() {
		return
	}
	sign := direct && p.signAt.every(time.Now(), signEvery)
	if !sign && latest.IsZero() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if err := o.endpoint.See(now, latest); err != nil {
		o.record.ahead++
	}
	if sign {
		o.endpoint.Heard(now, p.member)
		o.act()
	}
}

// reserve stamps n frames that are about to be sent; without a view to come there
// are no stamps.
func (o *ordering) reserve(n int) (first fabric.Stamp) {
	if !o.on.Load() {
		return first
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.endpoint.Reserve(o.now(), n)
}

// published: the row goes out to all members for another reason.
func (o *ordering) published() {
	if o.on.Load() {
		o.mu.Lock()
		o.endpoint.Published(o.now())
		o.mu.Unlock()
	}
}

// link takes a fabric's word about a peer: up by any road of its own, or by a relay.
func (o *ordering) link(p *peer, relay bool) {
	up := p.reached(relay)
	o.input(func(e *ordered.Endpoint, now ordered.Instant) {
		if relay {
			e.Relay(now, p.member, up)
		} else {
			e.Link(now, p.member, up)
		}
	})
}

// ways lists the members through which a peer may be reached.
func (o *ordering) ways(to fabric.MemberID) []fabric.MemberID {
	if !o.on.Load() {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.endpoint.Core().Barrier().Ways(to)
}

// linkedWith reports whether this member and a peer hear each other directly.
func (o *ordering) linkedWith(id fabric.MemberID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.linked[id].direct
}

// appendSection is called by whoever encodes the row.
func (o *ordering) appendSection(dst []byte) []byte {
	if !o.on.Load() {
		return dst
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.endpoint.AppendSection(dst)
}

// run lets time pass.
func (o *ordering) run() {
	defer o.alarm.stop()
	for {
		select {
		case <-o.alarm.C:
		case <-o.t.ctx.Done():
			return
		}
		o.input(func(*ordered.Endpoint, ordered.Instant) { o.alarm.rang() }) // Take lets it pass
	}
}

// save writes votes on views, one after the other.
func (o *ordering) save() {
	for {
		var b []byte
		select {
		case b = <-o.saves:
		case <-o.t.ctx.Done():
			return
		}
		for {
			err := durable.Write(o.t.cfg.ViewFile, b)
			o.wrote(err)
			if err == nil {
				break
			}
			select {
			case <-time.After(viewRetry):
			case <-o.t.ctx.Done():
				return
			}
		}
	}
}

func (o *ordering) wrote(err error) {
	if err != nil {
		o.t.lg.Error("votes on views cannot be written: this member takes no part in changes of the view",
			zap.String("local-member-id", o.t.ID.String()), zap.Error(err), zap.Duration("again-in", viewRetry))
	}
	o.input(func(e *ordered.Endpoint, now ordered.Instant) {
		o.record.saveErr = err
		if err == nil {
			e.Saved(now)
		}
	})
}

// configure takes the configuration that raft has applied; stock says why a voter
// takes no part in elections, "" if all do.
func (o *ordering) configure(m *election.Members, stock string) {
	cfg := barrier.Config{Epoch: m.Epoch, Voters: m.Voters, Outgoing: m.Outgoing, Learners: m.Learners}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mixed = stock
	switch {
	case m.Epoch == 0:
		if o.endpoint == nil {
			o.why = "the epoch of the configuration is not known: have Config.Members tell it"
		}
		return
	case o.endpoint == nil:
		o.begin(cfg)
		if o.endpoint == nil {
			return
		}
	case cfg.Epoch == o.config.Epoch:
		return
	default:
		if err := o.endpoint.SetConfig(o.now(), cfg); err != nil {
			o.record.configErr = err
			return
		}
	}
	o.config, o.record.configErr = cfg, nil
	o.act()
}

// begin makes the endpoint; mu is held.
func (o *ordering) begin(cfg barrier.Config) {
	why := func(err error) {
		if text := err.Error(); text != o.why {
			o.why = text
			o.t.lg.Warn("this member takes part in no view", zap.String("local-member-id", o.t.ID.String()), zap.Error(err))
		}
	}
	if o.t.cfg.ViewFile == "" {
		o.why = errNoViewFile.Error()
		return
	}
	saved, err := os.ReadFile(o.t.cfg.ViewFile)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err != nil && !isNew {
		why(fmt.Errorf("read its votes: %w: make the file readable", err))
		return
	}
	ec := ordered.EndpointConfig{
		Settings: ordered.Settings{Settings: barrier.Settings{Self: o.t.member(), Incarnation: o.t.incarnation, Config: cfg, Fresh: true}},
		Detector: barrier.DetectorConfig{SuspectAfter: suspectAfter},
		Beat:     o.t.cfg.Beat, IdleBeat: max(orderIdleBeat, o.t.cfg.Beat), StallAfter: o.t.cfg.ElectionTimeout,
	}
	if isNew {
		if saved, err = barrier.Begin(ec.Settings.Settings); err != nil {
			why(err)
			return
		}
		if err := durable.Write(o.t.cfg.ViewFile, saved); err != nil {
			why(fmt.Errorf("keep that this member is new: %w", err))
			return
		}
	}
	e, err := ordered.NewEndpoint(ec, saved, o.now())
	if err != nil {
		why(fmt.Errorf("%s: %w", o.t.cfg.ViewFile, err))
		return
	}
	o.endpoint, o.why = e, ""
	for _, p := range *o.t.peers.Load() {
		if p.reached(false) {
			e.Link(o.now(), p.member, true)
		}
	}
	o.alarm.rang() // for nobody, if it did; act sets it
	o.on.Store(true)
}
