package fault

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/raftdv/dv/fabric"
)

// Port is a wrapped port.
type Port struct {
	c     *Controller
	id    fabric.MemberID
	h     fabric.Handler
	inner fabric.Port
	caps  fabric.Capabilities

	killed atomic.Bool
	held   atomic.Int64 // frames in all lanes
	ending sync.Once
	endErr error

	mu      sync.Mutex
	peers   map[fabric.MemberID]*peer
	wire    map[fabric.MemberID]WireFaults
	lanes   map[laneKey]*holdLane
	tickets map[ticketKey]ticket
	last    uint64 // internal ticket
	closed  bool
	pumps   int // lanes that are pumping
	pumped  *sync.Cond

	// calls is held for reading while this package calls the handler by itself;
	// Close waits for that, and muted says that it has.
	calls sync.RWMutex
	muted bool
}

type laneKey struct {
	to   fabric.MemberID
	lane fabric.Lane
}

// compare orders keys, so that what happens to all lanes happens in one order.
func (k laneKey) compare(o laneKey) int {
	return cmp.Or(cmp.Compare(k.to, o.to), cmp.Compare(k.lane, o.lane))
}

// Wrap makes the decorator of a member's port. open makes the port itself, with
// the handler that it is given in place of h. A member that is wrapped again
// (after a restart) has the same rules.
func (c *Controller) Wrap(id fabric.MemberID, h fabric.Handler, open func(fabric.Handler) (fabric.Port, error)) (fabric.Port, error) {
	p := &Port{
		c: c, id: id, h: h, peers: make(map[fabric.MemberID]*peer),
		wire: make(map[fabric.MemberID]WireFaults), lanes: make(map[laneKey]*holdLane), tickets: make(map[ticketKey]ticket),
	}
	p.pumped = sync.NewCond(&p.mu)
	inner, err := open(handler{p})
	if err != nil {
		return nil, err
	}
	p.inner, p.caps = inner, inner.Capabilities()
	p.caps.TicketTimeout += c.cfg.MaxHold
	c.mu.Lock()
	c.ports[id] = p
	c.mu.Unlock()
	if err := c.applyWire(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if _, ok := inner.(fabric.StatsReporter); ok {
		return statsPort{p}, nil
	}
	return p, nil
}

// setWire passes wire faults on to the port, if they change.
func (p *Port) setWire(to fabric.MemberID, w WireFaults) error {
	p.mu.Lock()
	same := p.wire[to] == w
	p.wire[to] = w
	p.mu.Unlock()
	if same {
		return nil
	}
	if f, ok := p.inner.(WireFaulter); ok {
		return f.SetWireFaults(to, w)
	}
	if (w != WireFaults{}) {
		return fmt.Errorf("%w: port %s of %s cannot damage what it sends (%T is no WireFaulter); use Drop, Corrupt and Reorder instead",
			ErrUnsupported, p.caps.Name, p.id, p.inner)
	}
	return nil
}

// Capabilities implements [fabric.Port]: those of the port, with the time that
// frames are held back added to the ticket timeout.
func (p *Port) Capabilities() fabric.Capabilities { return p.caps }

// Now implements [fabric.Port].
func (p *Port) Now() fabric.Time { return p.inner.Now() }

// Publish implements [fabric.Port]. Cuts and drops of rows happen at the
// receiver.
func (p *Port) Publish(row fabric.Row, prompt []fabric.MemberID) error {
	if p.isClosed() {
		return fabric.ErrClosed
	}
	return p.inner.Publish(row, prompt)
}

func (p *Port) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Send implements [fabric.Port].
func (p *Port) Send(batch []fabric.Outgoing) error {
	if p.untouched(batch) {
		return p.inner.Send(batch)
	}
	s := &sending{p: p, batch: batch}
	for i := range batch {
		s.sort(i)
	}
	if len(s.out) > 0 {
		s.refusedBy(p.inner.Send(s.out))
	}
	p.release(s)
	if len(s.refused) > 0 {
		return &fabric.SendError{Refused: s.refused}
	}
	return nil
}

// untouched reports whether nothing can happen to a batch.
func (p *Port) untouched(batch []fabric.Outgoing) bool {
	if !p.c.quiet.Load() || p.held.Load() > 0 || p.killed.Load() {
		return false
	}
	for i := range batch {
		if batch[i].Ticket&internal != 0 {
			return false
		}
	}
	return true
}

// sending is one Send: what goes on to the port, and whose it was.
type sending struct {
	p       *Port
	batch   []fabric.Outgoing
	out     []fabric.Outgoing
	of      []int // index into batch of each of out
	refused []fabric.Refusal
	passed  []*holdLane // counted in their passing
	held    []heldEntry
}

func (s *sending) refuse(i int, to fabric.MemberID, err error) {
	s.refused = append(s.refused, fabric.Refusal{Index: i, To: to, Ticket: s.batch[i].Ticket, Err: err})
}

func (s *sending) refuseAll(i int, err error) {
	if len(s.batch[i].To) == 0 {
		s.refuse(i, 0, err)
	}
	for _, to := range s.batch[i].To {
		s.refuse(i, to, err)
	}
}

func (s *sending) pass(i int, o fabric.Outgoing) {
	s.out = append(s.out, o)
	s.of = append(s.of, i)
}

// sort decides about one frame for each of its destinations. Those that nothing
// happens to stay together.
func (s *sending) sort(i int) {
	o := &s.batch[i]
	if s.p.isClosed() {
		s.refuseAll(i, fabric.ErrClosed)
		return
	}
	if fabric.CheckOutgoing(o, &s.p.caps) != nil {
		s.pass(i, *o) // the port says what is wrong with it
		return
	}
	var to []fabric.MemberID
	var patches [][]byte
	for k, id := range o.To {
		var patch []byte
		if o.Patch != nil {
			patch = o.Patch[k]
		}
		if s.one(i, id, patch) {
			to = append(to, id)
			patches = append(patches, patch)
		}
	}
	if len(to) == 0 {
		return
	}
	plain := *o
	plain.To = to
	if o.Patch != nil {
		plain.Patch = patches
	}
	if plain.Ticket&internal != 0 {
		plain.Ticket = s.p.newTicket(to, o.Ticket, nil)
	}
	s.pass(i, plain)
}

// one decides about one frame and destination. It reports whether the frame
// goes to the port as it is.
func (s *sending) one(i int, to fabric.MemberID, patch []byte) bool {
	o, p := &s.batch[i], s.p
	f := p.c.decide(p.id, to, o, patch)
	if f.err != nil {
		s.refuse(i, to, f.err)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		s.refuse(i, to, fabric.ErrClosed)
		return false
	}
	pr := p.peers[to]
	if pr == nil {
		return true // the port knows better
	}
	l := p.lane(laneKey{to, o.Lane})
	if f.hold == 0 && l.idle() {
		l.passing++
		s.passed = append(s.passed, l)
		if f.loss != nil {
			s.pass(i, fabric.Outgoing{
				To: []fabric.MemberID{to}, Lane: o.Lane, Kind: fabric.KindVoid, Body: fabric.VoidBody(),
				Ticket: p.newTicketLocked([]fabric.MemberID{to}, o.Ticket, f.loss),
			})
		}
		return f.loss == nil
	}
	if !pr.inner.Up {
		s.refuse(i, to, fabric.ErrLinkDown)
		return false
	}
	e, err := l.hold(o, patch, f)
	if err != nil {
		s.refuse(i, to, err)
		return false
	}
	s.held = append(s.held, heldEntry{l, e})
	return false
}

// refusedBy passes on what the port refused.
func (s *sending) refusedBy(err error) {
	if err == nil {
		return
	}
	var se *fabric.SendError
	if !errors.As(err, &se) {
		panic(fmt.Sprintf("fault: port %s breaks its contract: Send returns %T (%v)", s.p.caps.Name, err, err))
	}
	for _, r := range se.Refused {
		if r.Ticket&internal != 0 {
			s.p.takeTicket(r.To, r.Ticket)
		}
		s.refuse(s.of[r.Index], r.To, r.Err)
	}
}

// Close implements [fabric.Port].
func (p *Port) Close() error {
	p.ending.Do(p.end)
	return p.endErr
}

func (p *Port) end() {
	p.mu.Lock()
	p.closed = true
	for p.pumps > 0 {
		p.pumped.Wait()
	}
	held := p.giveUpLocked(func(*holdLane) bool { return true }, fabric.ErrClosed)
	p.mu.Unlock()
	p.resolve(held)
	p.endErr = p.inner.Close()
	p.calls.Lock()
	p.muted = true
	p.calls.Unlock()
}

// giveUpLocked gives up what some lanes hold back, but for what the port is
// being given just now.
func (p *Port) giveUpLocked(which func(*holdLane) bool, why error) (lost []fabric.Resolution) {
	for _, l := range slices.SortedFunc(maps.Values(p.lanes), func(a, b *holdLane) int { return a.key.compare(b.key) }) {
		for i := range l.queue {
			if e := l.queue[i]; which(l) && !e.settled && !e.sending {
				lost = append(lost, l.give(e, why))
			}
		}
	}
	return lost
}

// kill mutes the port at once and closes it a little later, since the caller
// may be one of its handlers.
func (p *Port) kill() {
	p.killed.Store(true)
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.c.clock.After(0, func() { p.Close() })
}

// statsPort is a Port around one that counts.
type statsPort struct{ *Port }

// Stats implements [fabric.StatsReporter]: the port's own counts, with what
// this package took and holds.
func (p statsPort) Stats(dst []fabric.LinkStats) []fabric.LinkStats {
	first := len(dst)
	dst = p.inner.(fabric.StatsReporter).Stats(dst)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range dst[first:] {
		s := &dst[first+i]
		if pr := p.peers[s.Peer]; pr != nil {
			s.Up = s.Up && pr.shown.Up
		}
		for lane := range s.Lane {
			if l := p.lanes[laneKey{s.Peer, fabric.Lane(lane)}]; l != nil {
				l.addTo(&s.Lane[lane])
			}
		}
	}
	return dst
}
