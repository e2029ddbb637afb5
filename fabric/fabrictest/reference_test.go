package fabrictest

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// refNet is an in-memory fabric on the wall clock, as plain as the contract
// lets it be. bug plants one fault in it; see TestSuiteFindsPlantedBugs.
type refNet struct {
	bug string
	opt Options

	mu    sync.Mutex
	ports map[fabric.MemberID]*refPort
	ids   []fabric.MemberID
	cuts  map[[2]fabric.MemberID]bool
	end   chan struct{} // of the case
	ticks int           // counts occasions for bugs that do not strike each time
}

// refPort is one incarnation of a member. refNet.mu guards everything in it.
type refPort struct {
	n       *refNet
	id      fabric.MemberID
	inc     uint64
	h       fabric.Handler
	up      map[fabric.MemberID]uint64 // incarnation of each peer that is up
	out     map[fabric.MemberID]*outLink
	in      map[fabric.MemberID]*inbox
	settled []fabric.Resolution
	row     fabric.Row
	rowSet  bool
	killed  bool
	closed  bool
	wake    *sync.Cond
	wg      sync.WaitGroup
	stop    chan struct{}
	stats   map[fabric.MemberID]*fabric.LinkStats
}

type outLink struct {
	lanes [fabric.Lanes]struct {
		link  uint64
		queue []*refFrame
		bytes int
	}
	rowDue   time.Time
	rowAcked uint64 // version
	withheld bool   // the row is not sent
}

type refFrame struct {
	f        fabric.Frame
	ticket   uint64
	weight   int
	deadline time.Time
	moved    bool // in the receiver's memory, the ack is on its way
}

type inbox struct {
	links []fabric.LinkState
	rows  []fabric.Row // at most one, without a bug
	lanes [fabric.Lanes]struct {
		next  uint64
		queue []fabric.Frame
		bytes int
	}
	last fabric.Row
}

func (n *refNet) is(bug string) bool { return n.bug == bug }

// often is true each time that a bug which strikes now and then does.
func (n *refNet) often(bug string, every int) bool {
	if n.bug != bug {
		return false
	}
	n.ticks++
	return n.ticks%every == 0
}

func newRefNet(bug string, ids []fabric.MemberID, opt Options) *refNet {
	return &refNet{bug: bug, opt: opt, ids: ids, end: make(chan struct{}), ports: make(map[fabric.MemberID]*refPort), cuts: make(map[[2]fabric.MemberID]bool)}
}

// refFactory makes clusters of reference ports with one bug, or none.
func refFactory(bug string) Factory {
	return Factory{
		Name: "reference", Slack: 400 * time.Millisecond, Patience: time.Second,
		New: func(tb testing.TB, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt Options) *Cluster {
			if bug != "" { // what is found by waiting is found sooner
				opt.TicketTimeout = min(opt.TicketTimeout, 1500*time.Millisecond)
			}
			n := newRefNet(bug, ids, opt)
			tb.Cleanup(func() { close(n.end) })
			for _, id := range ids {
				n.start(id, 1, handlers[id])
			}
			return &Cluster{
				Port:    func(id fabric.MemberID) fabric.Port { return n.port(id) },
				Kill:    func(id fabric.MemberID) { n.port(id).kill() },
				Restart: func(id fabric.MemberID, h fabric.Handler) { n.restart(id, h) },
				Cut:     func(from, to fabric.MemberID) { n.cut(from, to, true) },
				Mend:    func(from, to fabric.MemberID) { n.cut(from, to, false) },
				Close: func() {
					for _, id := range ids {
						n.port(id).Close()
					}
				},
			}
		},
	}
}

func (n *refNet) port(id fabric.MemberID) *refPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ports[id]
}

func (n *refNet) cut(from, to fabric.MemberID, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]fabric.MemberID{from, to}] = on
	if p := n.ports[to]; p != nil && !on && n.is("what was not acked is delivered again") {
		for l := range p.out[from].lanes {
			for _, f := range p.out[from].lanes[l].queue {
				f.moved = false
			}
		}
	}
	if p := n.ports[from]; p != nil && !on && n.is("a cut loses frames silently") {
		for l := range p.out[to].lanes {
			p.out[to].lanes[l].link -= uint64(len(p.out[to].lanes[l].queue))
		}
		p.loseAll(to, fabric.ErrLinkDown)
	}
	for _, p := range n.ports {
		p.pump()
	}
}

func (n *refNet) start(id fabric.MemberID, inc uint64, h fabric.Handler) {
	p := &refPort{
		n: n, id: id, inc: inc, h: h, up: make(map[fabric.MemberID]uint64), out: make(map[fabric.MemberID]*outLink),
		in: make(map[fabric.MemberID]*inbox), wake: sync.NewCond(&n.mu), stop: make(chan struct{}),
		stats: make(map[fabric.MemberID]*fabric.LinkStats),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[id] = p
	for _, peer := range n.ids {
		if peer == id {
			continue
		}
		p.stats[peer] = &fabric.LinkStats{Peer: peer}
		p.renew(peer)
		p.wg.Go(func() { p.serve(peer) })
		if n.is("handler calls run at the same time") {
			p.wg.Go(func() { p.serve(peer) })
		}
		if q := n.ports[peer]; q != nil && !q.ended() {
			p.linkUp(q)
			q.linkUp(p)
		}
	}
	p.wg.Go(p.resolver)
	p.wg.Go(p.timer)
}

func (n *refNet) restart(id fabric.MemberID, h fabric.Handler) {
	inc := n.port(id).inc + 1
	if n.is("a restart keeps the incarnation") {
		inc--
	}
	n.start(id, inc, h)
}

func (p *refPort) ended() bool { return p.closed || p.killed }

// renew forgets what was exchanged with an earlier incarnation of a peer.
func (p *refPort) renew(peer fabric.MemberID) {
	var links []fabric.LinkState
	var last fabric.Row
	if old := p.in[peer]; old != nil {
		links, last = old.links, old.last
		if p.n.is("frames of an earlier incarnation arrive") {
			p.in[peer].links = append(links, fabric.LinkState{Up: true})
			p.out[peer] = &outLink{}
			return
		}
	}
	p.out[peer], p.in[peer] = &outLink{}, &inbox{links: links, last: last}
	for l := range fabric.Lanes {
		p.in[peer].lanes[l].next = 1
	}
}

func (p *refPort) linkUp(q *refPort) {
	again := p.up[q.id] != q.inc
	keep := p.out[q.id]
	if again {
		p.renew(q.id)
		if p.n.is("frames of a dead receiver go to its next incarnation") && keep != nil && q.inc > 1 {
			p.out[q.id] = keep
			for l := range keep.lanes {
				for i, f := range keep.lanes[l].queue {
					f.moved, f.f.Link = false, uint64(i)+1
				}
				keep.lanes[l].link = uint64(len(keep.lanes[l].queue))
			}
		}
	}
	p.up[q.id] = q.inc
	p.stats[q.id].Up, p.stats[q.id].Incarnation = true, q.inc
	p.in[q.id].links = append(p.in[q.id].links, fabric.LinkState{Up: true, Incarnation: q.inc})
	p.wake.Broadcast()
	p.pump()
}

func (p *refPort) linkDown(peer fabric.MemberID, why error) {
	if p.n.is("a peer's death is not told") || p.n.is("what waits for the dead has no bound") || p.n.is("the dead ack") {
		return
	}
	delete(p.up, peer)
	p.stats[peer].Up = false
	if p.n.is("a link is down without a reason") {
		why = nil
	}
	p.in[peer].links = append(p.in[peer].links, fabric.LinkState{Err: why})
	if !p.n.is("frames of a dead receiver go to its next incarnation") {
		p.loseAll(peer, fabric.ErrLinkDown)
	}
	p.wake.Broadcast()
}

func (p *refPort) loseAll(peer fabric.MemberID, why error) {
	o := p.out[peer]
	for l := range o.lanes {
		for _, f := range o.lanes[l].queue {
			p.settle(peer, fabric.Lane(l), f, fabric.Lost(why))
		}
		o.lanes[l].queue = nil
	}
}

// settle takes a frame's weight off its queue and resolves its ticket.
func (p *refPort) settle(peer fabric.MemberID, lane fabric.Lane, f *refFrame, err error) {
	q := &p.out[peer].lanes[lane]
	if !p.n.is("credit leaks") {
		q.bytes -= f.weight
	}
	s := &p.stats[peer].Lane[lane]
	s.Queued--
	if err == nil {
		s.Acked++
	} else {
		s.Lost++
	}
	if p.n.often("a ticket is forgotten", 50) || (f.ticket == 0 && err == nil && !p.n.is("acks of ticket 0 are reported")) {
		return
	}
	r := fabric.Resolution{To: peer, Ticket: f.ticket, Lane: lane, Err: err}
	if p.n.is("a resolution names the wrong lane") {
		r.Lane = fabric.LaneControl
	}
	if err != nil && p.n.is("a loss does not wrap ErrLost") {
		r.Err = errors.New("sorry")
	}
	if err != nil && p.n.is("a loss is called an ack") {
		r.Err = nil
	}
	p.settled = append(p.settled, r)
	if p.n.often("a ticket resolves twice", 50) {
		p.settled = append(p.settled, r)
	}
	p.wake.Broadcast()
}

func (p *refPort) Capabilities() fabric.Capabilities {
	c := fabric.Capabilities{
		Name: "reference", MaxFrame: p.n.opt.MaxFrame, MaxRow: fabric.MaxRowSections, Lossless: true, SameHost: true,
		TicketTimeout: p.n.opt.TicketTimeout,
	}
	if p.n.is("capabilities change") {
		p.n.mu.Lock()
		defer p.n.mu.Unlock()
		p.n.ticks++
		c.MaxRow -= p.n.ticks % 2
	}
	return c
}

func (p *refPort) Now() fabric.Time {
	now := fabric.Time{Nanos: time.Now().UnixNano(), Error: time.Microsecond}
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	if p.n.often("the clock goes back", 20) {
		now.Nanos -= int64(time.Hour)
	}
	if p.n.is("the clock is further off than it says") && p.id == p.n.ids[1] {
		now.Nanos += int64(time.Hour)
	}
	return now
}

func (p *refPort) Stats(dst []fabric.LinkStats) []fabric.LinkStats {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	for _, s := range p.stats {
		c := *s
		for l := range c.Lane {
			c.Lane[l].QueuedBytes = p.out[s.Peer].lanes[l].bytes
			c.Lane[l].CreditBytes = p.n.opt.QueueBytes - c.Lane[l].QueuedBytes
		}
		if p.n.is("the queue is misreported") {
			c.Lane[0].Queued++
		}
		if p.n.is("a counter falls") {
			c.BytesSent = 1 << 20 / (1 + c.BytesSent)
		}
		dst = append(dst, c)
	}
	return dst
}

func (p *refPort) Send(batch []fabric.Outgoing) error {
	caps := p.Capabilities()
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	se := &fabric.SendError{}
	for i := range batch {
		o := &batch[i]
		if err := fabric.CheckOutgoing(o, &caps); err != nil && !p.n.is("nothing is too large") {
			if p.n.is("a bad frame spoils the batch") {
				i, o = 0, &batch[0]
			}
			se.Refused = append(se.Refused, fabric.Refusal{Index: i, Ticket: o.Ticket, Err: err})
			continue
		}
		p.sendOne(i, o, se)
	}
	if p.n.is("a port that was closed says nothing") && p.closed || len(se.Refused) == 0 {
		return nil
	}
	if p.n.is("an untyped refusal") {
		return errors.New("no")
	}
	return se
}

func (p *refPort) sendOne(index int, o *fabric.Outgoing, se *fabric.SendError) {
	bad := false
	for i, to := range o.To {
		var patch []byte
		if o.Patch != nil {
			patch = o.Patch[i]
		}
		if p.n.is("all destinations get the first one's patch") && o.Patch != nil {
			patch = o.Patch[0]
		}
		err := p.admit(to, o, len(patch)+len(o.Body))
		if bad && p.n.is("a destination without credit spoils the others") {
			err = fabric.ErrNoCredit
		}
		if err != nil {
			bad = true
			se.Refused = append(se.Refused, fabric.Refusal{Index: index, To: to, Ticket: o.Ticket, Err: err})
			if errors.Is(err, fabric.ErrNoCredit) && !p.n.is("refusals are not counted") {
				p.stats[to].Lane[o.Lane].NoCredit++
			}
			if !p.n.is("refused and sent") || !errors.Is(err, fabric.ErrNoCredit) {
				continue
			}
		}
		p.enqueue(to, o, patch)
	}
	p.pump()
}

func (p *refPort) weigh(bytes int) int {
	if p.n.is("empty frames weigh nothing") {
		return bytes
	}
	return bytes + 32
}

func (p *refPort) admit(to fabric.MemberID, o *fabric.Outgoing, size int) error {
	out := p.out[to]
	switch {
	case p.ended():
		return fabric.ErrClosed
	case out == nil && p.n.is("an unknown peer is called down"):
		return fabric.ErrLinkDown
	case out == nil:
		return fabric.ErrUnknownPeer
	case p.up[to] == 0:
		return fabric.ErrLinkDown
	case p.n.is("an unbounded queue") || p.n.is("what waits for the dead has no bound") && p.n.ports[to].ended():
		return nil
	}
	lane := o.Lane
	if p.n.is("lanes share their credit") {
		lane = 0
	}
	for out.lanes[lane].bytes+p.weigh(size) > p.n.opt.QueueBytes-2048 {
		if !p.n.is("Send blocks") || p.ended() {
			return fabric.ErrNoCredit
		}
		p.wake.Wait()
	}
	return nil
}

func (p *refPort) enqueue(to fabric.MemberID, o *fabric.Outgoing, patch []byte) {
	lane := o.Lane
	q := &p.out[to].lanes[lane]
	q.link++
	link := q.link
	if p.n.is("a frame is numbered before it is queued") {
		p.n.mu.Unlock()
		runtime.Gosched()
		p.n.mu.Lock()
	}
	f := fabric.Frame{Header: fabric.Header{Kind: o.Kind, Class: o.Class, Lane: lane, Link: link, Stream: o.Stream, Stamp: o.Stamp}}
	if f.Kind == 0 {
		f.Kind = fabric.KindData
	}
	f.Body, f.Patch = o.Body, patch
	if !p.n.is("keeps the caller's bytes") {
		f.Body, f.Patch = bytes.Clone(o.Body), bytes.Clone(patch)
	}
	if p.n.is("large frames are cut short") && len(f.Body) > 60_000 {
		f.Body = f.Body[:60_000]
	}
	if p.n.is("the stamp is dropped") {
		f.Stamp = fabric.Stamp{}
	}
	if p.n.is("link sequences start at 0") {
		f.Link--
	}
	r := &refFrame{f: f, ticket: o.Ticket, weight: p.weigh(len(f.Body) + len(f.Patch)), deadline: time.Now().Add(p.n.opt.TicketTimeout)}
	q.queue = append(q.queue, r)
	acct := q
	if p.n.is("lanes share their credit") {
		acct = &p.out[to].lanes[0]
	}
	acct.bytes += r.weight
	s := p.stats[to]
	s.Lane[lane].Sent++
	s.Lane[lane].Queued++
	s.BytesSent += uint64(r.weight)
	if p.n.is("acks what it has not sent yet") || p.n.is("the dead ack") && p.n.ports[to].ended() {
		p.settle(to, lane, r, nil)
		r.ticket, r.weight = 0, 0
		s.Lane[lane].Queued++
	}
}

// pump moves what can be moved into the receivers' memory, and acks.
func (p *refPort) pump() {
	if p.ended() {
		return
	}
	for _, to := range p.n.ids {
		q := p.n.ports[to]
		if to == p.id || q == nil || q.ended() || p.up[to] != q.inc || q.up[p.id] != p.inc {
			continue
		}
		if !p.n.cuts[[2]fabric.MemberID{p.id, to}] {
			for l := range p.out[to].lanes {
				p.move(q, fabric.Lane(l))
			}
			p.moveRow(q)
		}
		if !p.n.cuts[[2]fabric.MemberID{to, p.id}] {
			p.ack(to)
		}
	}
}

func (p *refPort) move(q *refPort, lane fabric.Lane) {
	in := &q.in[p.id].lanes[lane]
	for _, f := range p.out[q.id].lanes[lane].queue {
		if f.moved {
			continue
		}
		if in.bytes+f.weight > p.n.opt.QueueBytes && !p.n.is("an unbounded queue") {
			return
		}
		f.moved = true
		if p.n.often("acked and dropped", 40) || p.n.is("a slow receiver's frames are dropped") && len(in.queue) > 8 {
			continue
		}
		in.queue = append(in.queue, f.f)
		in.bytes += f.weight
		if p.n.often("a frame arrives twice", 40) {
			in.queue = append(in.queue, f.f)
		}
		if n := len(in.queue); n > 1 && p.n.often("frames change places", 40) {
			in.queue[n-1], in.queue[n-2] = in.queue[n-2], in.queue[n-1]
		}
	}
	q.wake.Broadcast()
}

func (p *refPort) ack(to fabric.MemberID) {
	for l := range p.out[to].lanes {
		q := &p.out[to].lanes[l]
		if len(q.queue) == 0 || !q.queue[0].moved {
			continue
		}
		q.queue = slices.DeleteFunc(q.queue, func(f *refFrame) bool {
			if f.moved && f.weight > 0 {
				p.settle(to, fabric.Lane(l), f, nil)
			}
			return f.moved
		})
	}
}

func (p *refPort) moveRow(q *refPort) {
	o := p.out[q.id]
	if !p.rowSet || o.withheld || o.rowAcked == p.row.Version || time.Now().Before(o.rowDue) {
		return
	}
	in := q.in[p.id]
	if !p.n.is("every version of a row is queued") {
		in.rows = in.rows[:0]
	}
	in.rows = append(in.rows, p.row)
	o.rowAcked = p.row.Version
	p.stats[q.id].RowsSent++
	q.wake.Broadcast()
}

func (p *refPort) Publish(row fabric.Row, prompt []fabric.MemberID) error {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	switch {
	case p.ended():
		return fabric.ErrClosed
	case len(row.Sections) > fabric.MaxRowSections:
		return fmt.Errorf("%w: row of %d bytes", fabric.ErrTooLarge, len(row.Sections))
	case p.rowSet && row.Version <= p.row.Version && !p.n.is("stale rows are accepted"):
		return fabric.ErrStaleRow
	}
	if p.n.is("rows race") {
		p.n.mu.Unlock()
		time.Sleep(50 * time.Microsecond)
		p.n.mu.Lock()
	}
	if !p.n.is("keeps the caller's row") {
		row.Sections = bytes.Clone(row.Sections)
	}
	p.row, p.rowSet = row, true
	for _, to := range p.n.ids {
		o := p.out[to]
		if o == nil {
			continue
		}
		if slices.Contains(prompt, to) && !p.n.is("prompt is ignored") {
			o.rowDue = time.Time{}
		} else if !o.rowDue.After(time.Now()) {
			o.rowDue = time.Now().Add(p.n.opt.RowInterval)
		}
		if p.n.is("a row is sent once") && p.n.cuts[[2]fabric.MemberID{p.id, to}] {
			o.rowAcked = row.Version
		}
	}
	p.pump()
	return nil
}

// WithholdRow implements [fabric.RowWithholder].
func (p *refPort) WithholdRow(id fabric.MemberID, on bool) {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	o := p.out[id]
	if on && p.n.is("rows are not withheld") || !on && p.n.is("rows are withheld for good") {
		return
	}
	o.withheld = on
	if !on {
		o.rowDue = time.Time{}
	}
	p.pump()
}

// timer loses what has waited too long and sends rows that are due.
func (p *refPort) timer() {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			if !p.n.is("Close leaves a goroutine") {
				return
			}
			<-p.n.end
			return
		case now := <-t.C:
			p.n.mu.Lock()
			p.expire(now)
			p.pump()
			p.n.mu.Unlock()
		}
	}
}

func (p *refPort) expire(now time.Time) {
	if p.n.is("tickets do not time out") {
		return
	}
	for to, o := range p.out {
		for l := range o.lanes {
			q := &o.lanes[l]
			if len(q.queue) == 0 || now.Before(q.queue[0].deadline) {
				continue
			}
			lost := 0
			q.queue = slices.DeleteFunc(q.queue, func(f *refFrame) bool {
				late := now.After(f.deadline)
				if late {
					lost++
					p.settle(to, fabric.Lane(l), f, fabric.Lost(fabric.ErrTimeout))
				}
				return late
			})
			if lost > 0 && p.n.is("a loss is silent") {
				q.link -= uint64(lost)
			}
		}
	}
}

// resolver calls Resolve until the port is closed and all is settled.
func (p *refPort) resolver() {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	for {
		for len(p.settled) == 0 && !p.ended() {
			p.wake.Wait()
		}
		if p.killed || len(p.settled) == 0 {
			return
		}
		settled := p.settled
		p.settled = nil
		p.n.mu.Unlock()
		p.h.Resolve(settled)
		p.n.mu.Lock()
	}
}

func (p *refPort) kill() {
	p.n.mu.Lock()
	p.killed = true
	p.leave(errors.New("no sign of life"))
	p.n.mu.Unlock()
	p.wg.Wait()
}

func (p *refPort) leave(why error) {
	close(p.stop)
	p.wake.Broadcast()
	for _, id := range p.n.ids {
		if q := p.n.ports[id]; q != nil && q != p && !q.ended() && q.up[p.id] == p.inc {
			q.linkDown(p.id, why)
		}
	}
}

func (p *refPort) Close() error {
	p.n.mu.Lock()
	again := p.ended()
	if again && p.n.is("a second Close fails") {
		p.n.mu.Unlock()
		return errors.New("closed already")
	}
	if !again {
		if !p.n.is("Close does not resolve") {
			for peer := range p.out {
				why := fabric.ErrClosed
				if p.n.is("Close blames the link") {
					why = fabric.ErrLinkDown
				}
				p.loseAll(peer, why)
			}
		}
		p.closed = true
		p.leave(errors.New("closed by the peer"))
	}
	p.n.mu.Unlock()
	if !p.n.is("delivers after Close") && !p.n.is("Close does not wait") && !p.n.is("Close leaves a goroutine") {
		p.wg.Wait()
	}
	return nil
}
