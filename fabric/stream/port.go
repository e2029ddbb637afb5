package stream

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Name of the fabric.
const Name = "stream"

// Port is a fabric.Port. All methods may be called concurrently.
type Port struct {
	cfg    Config
	h      fabric.Handler
	caps   fabric.Capabilities
	begin  time.Time
	epochs atomic.Uint64
	rows   rowStore
	wg     sync.WaitGroup
	stop   chan struct{} // closed by Close
	closed atomic.Bool
	// attached holds one: there is a new connection.
	attached chan struct{}

	peers atomic.Pointer[map[fabric.MemberID]*peer] // replaced under mu
	mu    sync.Mutex
}

var (
	_ fabric.Port          = (*Port)(nil)
	_ fabric.StatsReporter = (*Port)(nil)
)

// New returns a port without peers. It fails on a configuration that is not
// valid, with all its faults.
func New(cfg Config, h fabric.Handler) (*Port, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Port{
		cfg: cfg, h: h, begin: time.Now(), stop: make(chan struct{}), attached: make(chan struct{}, 1),
		caps: fabric.Capabilities{
			Name: Name, MaxFrame: cfg.MaxFrame, MaxRow: fabric.MaxRowSections,
			Sealed: cfg.Sealed, TicketTimeout: cfg.TicketTimeout,
		},
	}
	p.peers.Store(&map[fabric.MemberID]*peer{})
	p.rows.init(p)
	p.wg.Go(p.watch)
	return p, nil
}

// now is the port's time in ns, never 0.
func (p *Port) now() int64 { return int64(time.Since(p.begin)) + 1 }

// Now implements fabric.Port: the local clock, which is nobody else's.
func (p *Port) Now() fabric.Time {
	return fabric.Time{Nanos: p.begin.UnixNano() + int64(time.Since(p.begin)), Logical: true}
}

// Capabilities implements fabric.Port. Frames are lost with their connection,
// and when a queue does not drain within TicketTimeout.
func (p *Port) Capabilities() fabric.Capabilities { return p.caps }

func (p *Port) peer(id fabric.MemberID) *peer { return (*p.peers.Load())[id] }

// AddPeer makes a peer known. Frames to it are refused with ErrLinkDown until
// AttachSend. It does nothing for one that is known, and after Close.
func (p *Port) AddPeer(id fabric.MemberID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() || p.peer(id) != nil || id == p.cfg.Self || id == 0 {
		return
	}
	q := newPeer(p, id)
	p.change(func(peers map[fabric.MemberID]*peer) { peers[id] = q })
}

// RemovePeer closes the peer's connections and forgets it. Tickets in flight
// are lost. It does not wait for handler calls that run.
func (p *Port) RemovePeer(id fabric.MemberID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.peer(id)
	if q == nil || p.closed.Load() {
		return
	}
	p.change(func(peers map[fabric.MemberID]*peer) { delete(peers, id) })
	q.end(ErrRemoved)
}

// change replaces the map of peers; mu is held.
func (p *Port) change(f func(map[fabric.MemberID]*peer)) {
	peers := maps.Clone(*p.peers.Load())
	f(peers)
	p.peers.Store(&peers)
}

// AttachSend takes a connection that the peer has dialled, after the handshake:
// frames go out on it, acks come back. buffered is what was read of the acks.
// With an error the connection stays the caller's, otherwise the port closes
// it; done is closed when it has come to its end, and its tickets are resolved.
//
// Errors: fabric.ErrUnknownPeer, fabric.ErrClosed, ErrStaleIncarnation.
func (p *Port) AttachSend(id fabric.MemberID, s Session, conn net.Conn, buffered []byte) (done <-chan struct{}, err error) {
	q := p.peer(id)
	if q == nil {
		return nil, p.unknown(id)
	}
	c, err := q.attachSend(s, conn, buffered)
	if err != nil {
		return nil, err
	}
	p.look()
	return c.done, nil
}

// AttachReceive takes a connection that was dialled to the peer, after the
// handshake: the peer's frames come in on it, acks go out. buffered is what was
// read of the frames; the rest as for AttachSend.
func (p *Port) AttachReceive(id fabric.MemberID, s Session, conn net.Conn, buffered []byte) (done <-chan struct{}, err error) {
	q := p.peer(id)
	if q == nil {
		return nil, p.unknown(id)
	}
	c, err := q.attachReceive(s, conn, buffered)
	if err != nil {
		return nil, err
	}
	p.look()
	return c.done, nil
}

func (p *Port) unknown(id fabric.MemberID) error {
	if p.closed.Load() {
		return fabric.ErrClosed
	}
	return fmt.Errorf("%w %s: AddPeer comes first", fabric.ErrUnknownPeer, id)
}

// LastKeepAlive is when anything last came from the peer's transport loop on
// the connection that was dialled to it, over all its connections; zero if
// never. An ack does not count. While a handler call about the peer runs,
// nothing is read and the time stands still.
func (p *Port) LastKeepAlive(id fabric.MemberID) time.Time {
	q := p.peer(id)
	if q == nil {
		return time.Time{}
	}
	heard := q.heard.Load()
	if heard == 0 {
		return time.Time{}
	}
	return p.begin.Add(time.Duration(heard - 1))
}

// maxTouched is how many connections a Send kicks together at its end; further
// ones are kicked frame by frame.
const maxTouched = 16

// sending is one call of Send.
type sending struct {
	p       *Port
	now     int64
	peers   map[fabric.MemberID]*peer
	touched [maxTouched]*sendConn
	n       int
	refused []fabric.Refusal
}

// Send implements fabric.Port.
func (p *Port) Send(batch []fabric.Outgoing) error {
	s := sending{p: p, now: p.now(), peers: *p.peers.Load()}
	closed := p.closed.Load()
	for i := range batch {
		o := &batch[i]
		if closed {
			s.refuseAll(i, o, fabric.ErrClosed)
		} else if err := fabric.CheckOutgoing(o, &p.caps); err != nil {
			s.refuseAll(i, o, err)
		} else {
			s.multicast(i, o)
		}
	}
	for _, c := range s.touched[:s.n] {
		c.kick(s.now)
	}
	if s.refused != nil {
		return &fabric.SendError{Refused: s.refused}
	}
	return nil
}

func (s *sending) multicast(i int, o *fabric.Outgoing) {
	for j, to := range o.To {
		var patch []byte
		if o.Patch != nil {
			patch = o.Patch[j]
		}
		if err := s.send(to, o, patch); err != nil {
			s.refused = append(s.refused, fabric.Refusal{Index: i, To: to, Ticket: o.Ticket, Err: err})
		}
	}
}

func (s *sending) send(to fabric.MemberID, o *fabric.Outgoing, patch []byte) error {
	q := s.peers[to]
	if q == nil {
		return fabric.ErrUnknownPeer
	}
	c := q.send.Load()
	if c == nil {
		return fabric.ErrLinkDown
	}
	if err := c.enqueue(o, patch, s.now); err != nil {
		return err
	}
	if slices.Contains(s.touched[:s.n], c) {
		return nil
	}
	if s.n == maxTouched {
		c.kick(s.now)
		return nil
	}
	s.touched[s.n] = c
	s.n++
	return nil
}

// refuseAll refuses a frame for each of its destinations, or for nobody if it
// has none.
func (s *sending) refuseAll(i int, o *fabric.Outgoing, err error) {
	r := fabric.Refusal{Index: i, Ticket: o.Ticket, Err: err}
	if len(o.To) == 0 {
		s.refused = append(s.refused, r)
	}
	for j, to := range o.To {
		if r.To = to; !slices.Contains(o.To[:j], to) {
			s.refused = append(s.refused, r)
		}
	}
}

// watch looks at all connections for what is late. When it ran late itself, the
// process was stopped: that is nobody's fault, and timeouts start over.
func (p *Port) watch() {
	every := p.cfg.tick()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var since int64
	for last := p.now(); ; {
		select {
		case <-tick.C:
		case <-p.stop:
			return
		}
		now := p.now()
		if now-last > int64(every+min(p.cfg.IdleTimeout, p.cfg.TicketTimeout)/2) {
			since = now
		}
		last = now
		connected := false
		for _, q := range *p.peers.Load() {
			connected = q.tick(now, since) || connected
		}
		if connected {
			continue
		}
		select { // nothing is late where nothing is
		case <-p.attached:
		case <-p.stop:
			return
		}
		tick.Reset(every)
		last = p.now()
	}
}

// look has watch look after a connection that is new.
func (p *Port) look() {
	select {
	case p.attached <- struct{}{}:
	default:
	}
}

// tick reports whether the peer is connected.
func (q *peer) tick(now, since int64) (connected bool) {
	if c := q.send.Load(); c != nil {
		c.tick(now, since)
		connected = true
	}
	q.mu.Lock()
	r := q.recv
	q.mu.Unlock()
	if r != nil {
		r.tick(now, since)
	}
	return connected || r != nil
}

// Close implements fabric.Port.
func (p *Port) Close() error {
	p.mu.Lock()
	first := !p.closed.Swap(true)
	p.mu.Unlock()
	if first {
		p.rows.close()
		close(p.stop)
		for _, q := range *p.peers.Load() {
			q.end(fabric.ErrClosed)
		}
	}
	p.wg.Wait()
	return nil
}
