package ordered

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/durable"
)

// The kinds of input.
const (
	inputTick = iota
	inputFrame
	inputRow
	inputLink
	inputSettled
	inputSaved
	inputRoom
	inputRequest
)

// input is one thing that happened. Its bytes are its own.
type input struct {
	kind    int
	from    fabric.MemberID
	frame   fabric.Frame
	row     fabric.Row
	up      bool
	settled fabric.Resolution
	saveErr error
	request *request
}

// request is what a user wants; err is written before done is closed.
type request struct {
	to     []fabric.MemberID
	class  fabric.Class
	body   []byte
	ticket *Ticket
	config *barrier.Config
	done   chan struct{}
	err    error
}

// maxInputs bounds the inputs that wait; callers of the port's handler wait
// beyond, users' too.
const maxInputs = 1 << 14

// maxBatches bounds what a caller works on for others: then a goroutine of the
// group's own carries on.
const maxBatches = 2

// loop is the queue of inputs, and the right to work on it.
type loop struct {
	g *Group

	mu      sync.Mutex // guards what follows
	queue   []input
	spare   []input
	running bool // somebody works
	ended   bool
	idle    *sync.Cond // running ended, or the queue is shorter
	news    chan struct{}
	blocked map[fabric.MemberID]int // peers whose Deliver waits for room
	loose   int                     // frames without an order that are queued or worked on
	hand    chan struct{}           // holds one: the right to work, for carryOn

	timer *time.Timer
	armed time.Duration
}

func (l *loop) init(g *Group) {
	l.g, l.running = g, true // nobody works until begin
	l.idle = sync.NewCond(&l.mu)
	l.news, l.hand = make(chan struct{}), make(chan struct{}, 1)
	l.blocked = map[fabric.MemberID]int{}
	l.timer = time.AfterFunc(time.Hour, func() { l.input(input{kind: inputTick}) })
	l.timer.Stop()
}

// begin works on what came while the group was made.
func (l *loop) begin() {
	l.mu.Lock()
	l.queue = append(l.queue, input{kind: inputTick})
	l.work(maxBatches)
	l.mu.Unlock()
}

// input queues something, and works on it unless somebody does.
func (l *loop) input(in input) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(in)
	l.kick()
}

// add is called with mu held; it waits for room.
func (l *loop) add(in input) {
	for len(l.queue) >= maxInputs && l.running && !l.ended {
		l.idle.Wait()
	}
	if !l.ended {
		l.queue = append(l.queue, in)
	}
}

// kick works unless somebody does; mu is held.
func (l *loop) kick() {
	if !l.running {
		l.running = true
		l.work(maxBatches)
	}
}

// work is called with mu held and running set, which it clears; or it hands over
// to carryOn.
func (l *loop) work(batches int) {
	for ; len(l.queue) > 0 && !l.ended; batches-- {
		if batches == 0 {
			l.hand <- struct{}{} // there is one right, and so there is room
			return
		}
		batch := l.queue
		l.queue, l.spare = l.spare[:0], nil
		var waits []fabric.MemberID
		for id := range l.blocked {
			waits = append(waits, id)
		}
		l.mu.Unlock()
		loose := l.g.run(batch, waits)
		clear(batch)
		l.mu.Lock()
		l.loose -= loose
		l.spare = batch
		l.idle.Broadcast()
	}
	l.running = false
	l.idle.Broadcast()
}

// carryOn works for as long as there is something to do, when it is handed the
// right to.
func (l *loop) carryOn() {
	for {
		select {
		case <-l.hand:
		case <-l.g.stop:
			select {
			case <-l.hand: // end came after that
			default:
				return
			}
		}
		l.mu.Lock()
		l.work(-1)
		l.mu.Unlock()
	}
}

// ask has a request done and returns its outcome.
func (l *loop) ask(r *request) error {
	r.done = make(chan struct{})
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return ErrClosed
	}
	l.mu.Unlock()
	l.input(input{kind: inputRequest, request: r})
	select {
	case <-r.done:
		return r.err
	case <-l.g.stop:
		l.quiesce() // whoever works may be at it
		select {
		case <-r.done:
			return r.err
		default:
			return ErrClosed
		}
	}
}

// changed is closed when the group's state changes.
func (l *loop) changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.news
}

func (l *loop) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.news)
	l.news = make(chan struct{})
}

// end keeps everybody from working from now on. It reports whether it was the
// first to.
func (l *loop) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.ended
	l.ended = true
	l.timer.Stop()
	l.idle.Broadcast()
	return !was
}

// quiesce waits until nobody works.
func (l *loop) quiesce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.running {
		l.idle.Wait()
	}
}

// run gives the endpoint a batch of inputs and does what comes of them. It returns
// how many of them were frames without an order.
func (g *Group) run(batch []input, waits []fabric.MemberID) (loose int) {
	e, now := g.endpoint, g.now()
	for _, id := range waits {
		e.Waits(now, id)
	}
	for i := range batch {
		in := &batch[i]
		switch in.kind {
		case inputFrame:
			if in.frame.Class < fabric.ClassAgreed {
				loose++
			}
			g.frame(now, in)
		case inputRow:
			_ = g.station.row(now, &in.row) // Faults say it
		case inputLink:
			e.Link(now, in.from, in.up)
		case inputSettled:
			g.settled(now, &in.settled)
		case inputSaved:
			g.wrote(now, in.saveErr)
		case inputRoom:
			g.full = false
			e.SetFull(now, false)
		case inputRequest:
			in.request.err = g.do(now, in.request)
			close(in.request.done)
		}
	}
	for {
		a := e.Take(now)
		g.act(now, &a)
		if e.Deadline() > now.Mono {
			break
		}
		now = g.now()
	}
	g.loop.arm(e.Deadline(), now.Mono)
	return loose
}

// arm has the loop look again at an instant.
func (l *loop) arm(at, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at != l.armed && !l.ended {
		l.armed = at
		l.timer.Reset(max(at-now, 0))
	}
}

// act does what the endpoint wants.
func (g *Group) act(now Instant, a *Actions) {
	if a.Save != nil {
		select { // the one that waits is older
		case <-g.saves:
		default:
		}
		g.saves <- a.Save
	}
	for i := range a.Events {
		g.happened(&a.Events[i])
	}
	if len(a.Events) > 0 && g.events.add(a.Events) && !g.full {
		g.full = true
		g.endpoint.SetFull(now, true)
	}
	g.station.transmit(now, a)
	g.note(a)
}

// happened settles the tickets that an event decides.
func (g *Group) happened(e *Event) {
	self := g.endpoint.core.Barrier().Self()
	switch {
	case e.View != nil && !e.View.Stayed:
		for n, t := range g.tickets {
			if n.generation < self.Generation {
				t.settle(ErrUncertain, false)
				delete(g.tickets, n)
			}
		}
	case e.View == nil && e.From.Member == self.Member && e.Class >= fabric.ClassAgreed:
		n := ownFrame{e.From.Generation, e.Seq}
		if t := g.tickets[n]; t != nil {
			t.settle(nil, e.Safe)
			delete(g.tickets, n)
		}
	}
}

// note keeps the state that others may ask for.
func (g *Group) note(a *Actions) {
	b := g.endpoint.core.Barrier()
	v, member := b.View()
	g.stateMu.Lock()
	s := &g.state
	news := s.View.Number != v.Number || s.Member != member || s.Changing != b.Wedged()
	s.Self, s.View, s.Member, s.Changing, s.Suspects = b.Self(), *v, member, b.Wedged(), g.endpoint.suspects
	if a != nil {
		for i := range a.Events {
			switch e := &a.Events[i]; {
			case e.View == nil:
				s.Delivered++
			default:
				s.Views++
				if !e.View.Stayed && s.Views > 1 {
					s.Left++
				}
			}
		}
		for _, f := range a.Faults {
			s.Faults++
			s.LastFault = fmt.Errorf("member %v: %w", f.Member, f.Err)
			g.log.Warn("a member broke the rules and is suspected for it", "member", f.Member, "error", f.Err)
		}
	}
	g.stateMu.Unlock()
	if news {
		g.log.Info("view", "number", v.Number, "members", v.Members, "member", member, "changing", b.Wedged())
		g.loop.tell()
	}
}

// do carries out what a user asked for.
func (g *Group) do(now Instant, r *request) error {
	switch {
	case r.config != nil:
		return g.endpoint.SetConfig(now, *r.config)
	case r.to != nil:
		return g.sendTo(r)
	}
	seq, err := g.endpoint.Send(now, r.class, r.body)
	if err == nil {
		g.tickets[ownFrame{g.endpoint.core.Barrier().Self().Generation, seq}] = r.ticket
	}
	return err
}

func (g *Group) sendTo(r *request) error {
	g.station.ticket++
	ticket := g.station.ticket
	stream := &g.streams[r.class-fabric.ClassUnordered]
	*stream++
	g.direct[ticket] = r.ticket
	err := g.port.Send([]fabric.Outgoing{{To: r.to, Body: r.body, Lane: fabric.LaneControl, Class: r.class, Stream: *stream, Ticket: ticket}})
	refused, _ := errors.AsType[*fabric.SendError](err)
	if refused == nil {
		return err
	}
	for _, f := range refused.Refused {
		g.direct[ticket].lost(f.To, f.Err)
	}
	g.finish(ticket)
	return nil
}

// lost notes that a frame did not reach a destination.
func (t *Ticket) lost(to fabric.MemberID, err error) {
	t.err = errors.Join(t.err, &LostError{to, err})
	t.left--
}

// finish settles a ticket of a fifo or unordered frame when all destinations are.
func (g *Group) finish(ticket uint64) {
	if t := g.direct[ticket]; t.left <= 0 {
		delete(g.direct, ticket)
		t.settle(t.err, false)
	}
}

// frame takes a frame; those that have no order are events at once.
func (g *Group) frame(now Instant, in *input) {
	f := &in.frame
	if f.Class >= fabric.ClassAgreed {
		_ = g.station.frame(now, in.from, f) // Faults say it
		return
	}
	g.endpoint.Heard(now, in.from)
	g.events.add([]Event{{From: barrier.Life{Member: in.from}, Class: f.Class, Seq: f.Stream, Body: f.Body}})
}

// settled takes what became of a frame at one destination.
func (g *Group) settled(now Instant, r *fabric.Resolution) {
	t := g.direct[r.Ticket]
	if t == nil {
		g.station.settle(now, r.To, r.Ticket, !r.Acked())
		return
	}
	if r.Acked() {
		t.left--
	} else {
		t.lost(r.To, r.Err)
	}
	g.finish(r.Ticket)
}

// save writes votes, one after the other.
func (g *Group) save() {
	for {
		var b []byte
		select {
		case b = <-g.saves:
		case <-g.stop:
			return
		}
		for {
			err := durable.Write(filepath.Join(g.cfg.Dir, viewFile), b)
			g.loop.input(input{kind: inputSaved, saveErr: err})
			if err == nil {
				break
			}
			select {
			case <-time.After(saveRetry):
			case <-g.stop:
				return
			}
		}
	}
}

func (g *Group) wrote(now Instant, err error) {
	g.stateMu.Lock()
	g.state.SaveError = err
	g.stateMu.Unlock()
	if err != nil {
		g.log.Error("this member's votes cannot be written: it takes no part in changes of the view, and is left out", "error", err, "again in", saveRetry)
		return
	}
	g.endpoint.Saved(now)
}
