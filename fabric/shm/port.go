package shm

import (
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

// maxKnown bounds the members that a port remembers after Disconnect.
const maxKnown = 1024

// Port is one member's attachment to the shared memory of its host. Its methods
// may be called concurrently; Close not from a handler.
type Port struct {
	cfg     Config
	caps    fabric.Capabilities
	handler fabric.Handler
	shape   geometry
	opened  time.Time
	place   *place // where this member is met
	bell    *bell

	// peers is replaced, never changed; mu orders that.
	peers atomic.Pointer[peerSet]
	mu    sync.Mutex
	conns map[*net.UnixConn]bool // open

	// rowMu is taken before the mu of a peer and after that of the port.
	rowMu  sync.Mutex
	row    []byte
	rowed  fabric.Row // last published, without sections
	hasRow bool

	pump    pump
	reader  atomic.Pointer[reader]
	readers atomic.Int32
	group   sync.WaitGroup // all goroutines of the port

	closed atomic.Bool
	done   chan struct{} // closed when Close begins
	gone   chan struct{} // closed when Close has ended
}

// peerSet is the members that a port knows. list and byID are those that are
// connected.
type peerSet struct {
	known, list []*peer
	byID        map[fabric.MemberID]*peer
}

func (s *peerSet) find(id fabric.MemberID) *peer {
	for _, pe := range s.known {
		if pe.id == id {
			return pe
		}
	}
	return nil
}

// New opens a port. The error lists all faults of the configuration, or says
// what keeps this member from being met.
func New(cfg Config, h fabric.Handler) (*Port, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	at, err := takePlace(&cfg)
	if err != nil {
		return nil, fmt.Errorf("shm: member %s: %w", cfg.Self, err)
	}
	b, err := newBell()
	if err != nil {
		at.leave(true)
		return nil, fmt.Errorf("shm: member %s: %w", cfg.Self, err)
	}
	p := &Port{
		cfg: cfg, handler: h, shape: cfg.geometry(), opened: time.Now(), place: at, bell: b,
		conns: make(map[*net.UnixConn]bool), done: make(chan struct{}), gone: make(chan struct{}),
		caps: fabric.Capabilities{
			Name: "shm", MaxFrame: cfg.MaxFrame, MaxRow: fabric.MaxRowSections, OneSided: true, Lossless: true, SameHost: true,
			TicketTimeout: cfg.TicketTimeout,
		},
	}
	p.peers.Store(&peerSet{})
	p.pump.init(p)
	p.group.Go(p.pump.run)
	p.group.Go(p.acceptAll)
	p.startReader()
	return p, nil
}

func (p *Port) startReader() {
	r := &reader{port: p, d: newDeliverer(p.cfg.SlotSize)}
	if runtime.GOMAXPROCS(0) > 1 {
		r.spin.limit = max(p.cfg.Spin, 0)
	}
	p.reader.Store(r)
	p.readers.Add(1)
	p.group.Go(func() {
		defer p.readers.Add(-1)
		r.run()
	})
}

// replaceReader has another goroutine serve the peers. More readers than peers
// are never wanted: each stuck one is stuck with another peer.
func (p *Port) replaceReader() {
	if int(p.readers.Load()) > len(p.peers.Load().known)+1 {
		return
	}
	p.reader.Load().retired.Store(true)
	p.startReader()
	for _, pe := range p.peers.Load().known {
		pe.tellCredit()
	}
}

// now is the time since the port was opened.
func (p *Port) now() time.Duration { return time.Since(p.opened) }

// Now implements fabric.Port. The clock is this process's own: logical.
func (p *Port) Now() fabric.Time {
	return fabric.Time{Nanos: p.opened.UnixNano() + int64(p.now()), Logical: true}
}

// Capabilities implements fabric.Port.
func (p *Port) Capabilities() fabric.Capabilities { return p.caps }

// Socket is the path at which peers meet this member.
func (p *Port) Socket() string { return p.place.path }

func (p *Port) isClosed() bool { return p.closed.Load() }

// Connect has the port meet a peer, and meet it again whenever the link was
// lost. A running session is replaced; its tickets are lost. A call with what is
// wanted already changes nothing. ErrStaleSession: the session is of an older
// incarnation.
func (p *Port) Connect(id fabric.MemberID, s Session) error {
	if id == 0 || id == p.cfg.Self {
		return fmt.Errorf("shm: connect to %s: not a peer of %s", id, p.cfg.Self)
	}
	if s.Socket == "" {
		s.Socket = socketPath(p.cfg.Dir, id)
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("shm: connect to %s: %w", id, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() {
		return fabric.ErrClosed
	}
	pe := p.peers.Load().find(id)
	if pe == nil {
		pe = &peer{port: p, id: id, why: ErrNotYetUp}
	}
	w, err := pe.connect(&s)
	if err != nil || w == nil {
		return err
	}
	p.edit(func(set *peerSet) { set.byID[id] = pe }, pe)
	if p.cfg.Self < id {
		p.group.Go(func() { p.meetAgain(pe, w) })
	}
	return nil
}

// connect asks for a session; nil: it is wanted already.
func (pe *peer) connect(s *Session) (*wanted, error) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if pe.want != nil && pe.want.same(s) {
		pe.want.again()
		return nil, nil
	}
	if s.PeerIncarnation < pe.sendInc {
		return nil, fmt.Errorf("shm: connect to %s: %w: of incarnation %d, %d was seen", pe.id, ErrStaleSession, s.PeerIncarnation, pe.sendInc)
	}
	pe.ask(s, ErrReplaced)
	return pe.want, nil
}

// edit replaces the set of peers by one that change has changed and that knows
// pe; mu is held.
func (p *Port) edit(change func(*peerSet), pe *peer) {
	p.rowMu.Lock() // a row that is published now reaches the new set, or p.row
	defer p.rowMu.Unlock()
	old := p.peers.Load()
	set := &peerSet{known: slices.Clone(old.known), byID: maps.Clone(old.byID)}
	if set.byID == nil {
		set.byID = make(map[fabric.MemberID]*peer)
	}
	change(set)
	if !slices.Contains(set.known, pe) {
		set.known = append(set.known, pe)
	}
	if len(set.known) > maxKnown {
		forgetOne(set)
	}
	for _, x := range set.known {
		if set.byID[x.id] != nil {
			set.list = append(set.list, x)
		}
	}
	pe.mu.Lock()
	pe.row = append(pe.row[:0], p.row...)
	pe.mu.Unlock()
	p.peers.Store(set)
}

// forgetOne makes room among the members that are known, not connected, and of
// which the handler has heard the last.
func forgetOne(set *peerSet) {
	for i, pe := range set.known {
		if set.byID[pe.id] != nil {
			continue
		}
		pe.mu.Lock()
		idle := !pe.busy && pe.told == nil && len(pe.owed) == 0 && !pe.shut
		pe.mu.Unlock()
		if idle {
			set.known = slices.Delete(set.known, i, i+1)
			return
		}
	}
}

// Disconnect ends the session with a peer, which is unknown to Send until it is
// connected again.
func (p *Port) Disconnect(id fabric.MemberID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pe := p.peers.Load().byID[id]
	if pe == nil || p.isClosed() {
		return
	}
	p.edit(func(set *peerSet) { delete(set.byID, id) }, pe)
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.ask(nil, ErrDisconnected)
}

// SetGate says whether traffic with a peer is allowed; initially it is. Shutting
// it ends the session: the link is down, tickets in flight are lost, and the
// peer is not met until the gate is open. The peer need not be connected yet.
func (p *Port) SetGate(id fabric.MemberID, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() || id == 0 || id == p.cfg.Self {
		return
	}
	pe := p.peers.Load().find(id)
	if pe == nil {
		if open {
			return
		}
		pe = &peer{port: p, id: id, why: ErrNotYetUp}
		p.edit(func(*peerSet) {}, pe)
	}
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if pe.shut == !open {
		return
	}
	pe.shut = !open
	if pe.shut {
		pe.end(pe.sess, ErrGateShut, false)
		pe.why = ErrGateShut
	} else {
		pe.why = ErrNotYetUp
		if pe.want != nil {
			pe.want.again()
		}
	}
}

// again has another try at meeting the peer at once.
func (w *wanted) again() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// Close implements fabric.Port. The kernel tells the peers.
func (p *Port) Close() error {
	if !p.stop() {
		<-p.gone
		return nil
	}
	var lost []fabric.Resolution
	for _, pe := range p.peers.Load().known {
		lost = append(lost, pe.owed...)
	}
	if len(lost) > 0 {
		p.handler.Resolve(lost)
	}
	p.place.leave(true)
	close(p.gone)
	return nil
}

// stop ends all goroutines and gives up all memory. What is lost by it is owed.
// It reports whether this call did it.
func (p *Port) stop() bool {
	p.mu.Lock()
	if p.closed.Swap(true) {
		p.mu.Unlock()
		return false
	}
	for _, pe := range p.peers.Load().known {
		pe.close()
	}
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	close(p.done)
	p.place.leave(false)
	p.bell.ring()
	p.group.Wait()
	for _, pe := range p.peers.Load().known {
		if pe.told != nil {
			pe.told.release()
		}
	}
	p.bell.release()
	return true
}

func (pe *peer) close() {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.closed = true
	pe.ask(nil, fabric.ErrClosed)
}

// track notes a connection, so that Close ends it.
func (p *Port) track(c *net.UnixConn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() {
		c.Close()
		return fabric.ErrClosed
	}
	p.conns[c] = true
	return nil
}

func (p *Port) untrack(c *net.UnixConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

// place is where a member is met: its socket, and the lock that keeps others
// from taking it over.
type place struct {
	path string
	lock *os.File
	l    *net.UnixListener
}

// leave stops listening; in the end it also gives up the place.
func (at *place) leave(end bool) {
	at.l.Close()
	if end {
		os.Remove(at.path) // the lock is held: nobody else has put it there
		at.lock.Close()
	}
}

var (
	_ fabric.Port          = (*Port)(nil)
	_ fabric.StatsReporter = (*Port)(nil)
)
