package udp

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

const (
	// logEvery bounds the log lines about refused datagrams.
	logEvery = 10 * time.Second
	// maxUsed bounds the sessions that a port remembers in order to refuse
	// their keys.
	maxUsed = 4096
	// maxKnown bounds the members that a port remembers after Disconnect.
	maxKnown = 1024
)

// Port is one member's attachment to a UDP network. Its methods may be called
// concurrently; Close not from a handler.
type Port struct {
	cfg     Config
	caps    fabric.Capabilities
	handler fabric.Handler
	conduit conduit
	info    conduitInfo
	start   time.Time
	spin    int64

	// peers is replaced, never changed; mu orders that.
	peers  atomic.Pointer[peerSet]
	mu     sync.Mutex
	known  map[fabric.MemberID]*peer // connected or not
	used   map[[16]byte]bool
	usedIn [][16]byte // in order of use
	row    []byte
	rowed  fabric.Row // last published, without sections
	hasRow bool

	pump    pump
	reader  atomic.Pointer[reader]
	readers atomic.Int32
	group   sync.WaitGroup // everything that may call the handler, and the pump

	closed atomic.Bool
	done   chan struct{} // closed when Close begins
	gone   chan struct{} // closed when Close has ended
	lostMu sync.Mutex
	lost   []fabric.Resolution // by Close

	refusals [verdicts]atomic.Uint64
	loggedAt atomic.Int64
}

// peerSet is the connected peers.
type peerSet struct {
	list    []*peer
	byID    map[fabric.MemberID]*peer
	byIndex map[uint64]*peer
}

// New opens a port. The error lists all faults of the configuration, or says
// why the address cannot be bound.
func New(cfg Config, h fabric.Handler) (*Port, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c, err := openSocket(&cfg)
	if err != nil {
		return nil, err
	}
	return newPort(&cfg, h, c), nil
}

// newPort starts a port on a conduit.
func newPort(cfg *Config, h fabric.Handler, c conduit) *Port {
	p := &Port{
		cfg: *cfg, handler: h, conduit: c, info: c.about(), start: time.Now(),
		known: make(map[fabric.MemberID]*peer), used: make(map[[16]byte]bool),
		done: make(chan struct{}), gone: make(chan struct{}),
		caps: fabric.Capabilities{
			Name: "udp", MaxFrame: cfg.MaxFrame, MaxRow: fabric.MaxRowSections, TicketTimeout: cfg.TicketTimeout,
		},
	}
	if cfg.Spin > 0 && runtime.GOMAXPROCS(0) > 1 {
		p.spin = int64(cfg.Spin)
	}
	p.peers.Store(&peerSet{})
	p.pump.init(p)
	p.group.Go(p.pump.run)
	p.startReader()
	return p
}

func (p *Port) startReader() {
	r := newReader(p)
	p.reader.Store(r)
	p.readers.Add(1)
	p.group.Go(func() {
		defer p.readers.Add(-1)
		r.run()
	})
}

// replaceReader has another goroutine read the socket. More readers than peers
// are never wanted: each stuck one is stuck with another peer.
func (p *Port) replaceReader() {
	if int(p.readers.Load()) > len(p.peers.Load().list)+1 {
		return
	}
	p.reader.Load().retired.Store(true)
	p.startReader()
}

// now is the time in monotonic nanoseconds since the port was opened.
func (p *Port) now() int64 { return int64(time.Since(p.start)) }

// Now implements fabric.Port. The clock is this host's own: logical.
func (p *Port) Now() fabric.Time {
	return fabric.Time{Nanos: p.start.UnixNano() + p.now(), Logical: true}
}

// Capabilities implements fabric.Port. Whether contents are sealed is each
// session's own affair, so that Sealed is not claimed.
func (p *Port) Capabilities() fabric.Capabilities { return p.caps }

// LocalAddr is the address that the port is bound to.
func (p *Port) LocalAddr() netip.AddrPort { return p.conduit.localAddr() }

func (p *Port) isClosed() bool { return p.closed.Load() }

// Connect begins a session with a peer. A running session is replaced; its
// tickets are lost. A call with the running session's keys only changes the
// address. ErrStaleSession: the session is of an older incarnation, or its keys
// were used before.
func (p *Port) Connect(id fabric.MemberID, s Session) error {
	if id == 0 || id == p.cfg.Self {
		return fmt.Errorf("udp: connect to %s: not a peer of %s", id, p.cfg.Self)
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("udp: connect to %s: %w", id, err)
	}
	s.Addr = unmap(s.Addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() {
		return fabric.ErrClosed
	}
	if pe := p.peers.Load().byID[id]; pe != nil && pe.readdress(&s) {
		return nil
	}
	if err := p.admit(id, &s); err != nil {
		return fmt.Errorf("udp: connect to %s: %w", id, err)
	}
	l, err := p.newLink(id, &s)
	if err != nil {
		return fmt.Errorf("udp: connect to %s: %w", id, err)
	}
	p.use(&s)
	p.begin(p.peer(id), l, &s)
	return nil
}

// readdress handles a session that runs already.
func (pe *peer) readdress(s *Session) bool {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if pe.link == nil || pe.link.cfg.print != s.print() || pe.link.phase == phaseDead {
		return false
	}
	if pe.home != s.Addr {
		pe.home = s.Addr
		pe.moveTo(s.Addr)
		pe.link.moved(pe.port.now())
	}
	return true
}

// admit refuses sessions that must not run. mu is held.
func (p *Port) admit(id fabric.MemberID, s *Session) error {
	if p.used[s.print()] {
		return fmt.Errorf("%w: its keys were used before; agree on fresh ones", ErrStaleSession)
	}
	if other := p.peers.Load().byIndex[s.RecvIndex]; other != nil && other.id != id {
		return fmt.Errorf("index %x is that of the session with %s: choose another", s.RecvIndex, other.id)
	}
	pe := p.known[id]
	if pe == nil {
		return nil
	}
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if s.PeerIncarnation < pe.numbers.incarnation {
		return fmt.Errorf("%w: of incarnation %d, %d was seen", ErrStaleSession, s.PeerIncarnation, pe.numbers.incarnation)
	}
	return nil
}

// print tells sessions apart without keeping their keys.
func (s *Session) print() [16]byte {
	h := sha256.New()
	h.Write(s.SendKey)
	h.Write(binary.LittleEndian.AppendUint64(nil, s.SendIndex))
	return [16]byte(h.Sum(nil)[:16])
}

func (p *Port) use(s *Session) {
	if len(p.usedIn) == maxUsed {
		delete(p.used, p.usedIn[0])
		p.usedIn = slices.Delete(p.usedIn, 0, 1)
	}
	k := s.print()
	p.used[k] = true
	p.usedIn = append(p.usedIn, k)
}

func (p *Port) newLink(id fabric.MemberID, s *Session) (*link, error) {
	c := &p.cfg
	send, err := firstKey(s.SendKey, s.SendIndex, s.Sealed)
	if err != nil {
		return nil, err
	}
	recv, err := firstKey(s.RecvKey, s.RecvIndex, s.Sealed)
	if err != nil {
		return nil, err
	}
	return newLink(&linkConfig{
		peer: id, incarnation: s.PeerIncarnation, windows: c.Window, maxFrame: c.MaxFrame, queueFrames: c.QueueFrames,
		ticketTimeout: int64(c.TicketTimeout), idleTimeout: int64(c.IdleTimeout), rowInterval: int64(c.RowInterval),
		keepAlive: int64(c.IdleTimeout) / keepAlivesPerIdle, rekeyAfter: c.RekeyAfter,
		top:       min(p.conduit.topDatagram(s.Addr), c.MaxDatagram),
		sendIndex: s.SendIndex, recvIndex: s.RecvIndex, sendKey: send, recvKey: recv, print: s.print(),
	}, p.now())
}

// peer returns what is known of a member; mu is held.
func (p *Port) peer(id fabric.MemberID) *peer {
	pe := p.known[id]
	if pe == nil {
		pe = newPeer(p, id)
		p.forgetOne()
		p.known[id] = pe
	}
	return pe
}

// forgetOne makes room among the members that are known and not connected.
func (p *Port) forgetOne() {
	if len(p.known) < maxKnown {
		return
	}
	connected := p.peers.Load().byID
	for id := range p.known {
		if connected[id] == nil {
			delete(p.known, id)
			return
		}
	}
}

// begin puts a session in place; mu is held.
func (p *Port) begin(pe *peer, l *link, s *Session) {
	var ev events
	pe.mu.Lock()
	pe.row, pe.hasRow = append(pe.row[:0], p.row...), p.hasRow
	pe.replace(l, s, ErrReplaced, false, &ev)
	pe.news(&ev)
	pe.mu.Unlock()
	p.publishPeers(func(set *peerSet) { set.byID[pe.id] = pe })
	p.pump.arm(p.now())
}

// publishPeers replaces the set of peers by one that edit has changed; mu is
// held.
func (p *Port) publishPeers(edit func(*peerSet)) {
	old := p.peers.Load()
	set := &peerSet{byID: make(map[fabric.MemberID]*peer), byIndex: make(map[uint64]*peer)}
	maps.Copy(set.byID, old.byID)
	edit(set)
	for _, pe := range set.byID {
		set.list = append(set.list, pe)
	}
	slices.SortFunc(set.list, func(a, b *peer) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	// The socket buffer is shared. Half of it is the kernel's bookkeeping.
	burst := uint32(max(p.info.receiveBuffer/2/max(len(set.list), 1), 4*minDatagram))
	for _, pe := range set.list {
		pe.mu.Lock()
		if pe.link != nil {
			set.byIndex[pe.link.cfg.recvIndex] = pe
			pe.link.setBurst(p.now(), burst)
		}
		pe.mu.Unlock()
	}
	p.peers.Store(set)
	// A peer is to be told its new burst at a time that the timer may not know. From
	// now on the timer looks at all peers of this set.
	for _, pe := range set.list {
		pe.mu.Lock()
		if pe.link != nil {
			p.pump.due(pe, pe.link.deadline(), p.now())
		}
		pe.mu.Unlock()
	}
}

// Disconnect ends the session with a peer. The peer is told, and is unknown to
// Send until it is connected again.
func (p *Port) Disconnect(id fabric.MemberID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pe := p.peers.Load().byID[id]
	if pe == nil || p.isClosed() {
		return
	}
	p.publishPeers(func(set *peerSet) { delete(set.byID, id) })
	var ev events
	pe.mu.Lock()
	pe.replace(nil, nil, ErrDisconnected, true, &ev)
	pe.news(&ev)
	pe.mu.Unlock()
}

// SetGate says whether traffic with a peer is allowed; initially it is. While
// the gate is shut, datagrams of the peer are dropped unacknowledged, nothing is
// sent to it, and Send is refused with ErrLinkDown; tickets in flight are lost.
// The peer need not be connected yet.
func (p *Port) SetGate(id fabric.MemberID, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() || id == 0 || id == p.cfg.Self {
		return
	}
	pe := p.peer(id)
	var ev events
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if pe.shut == !open {
		return
	}
	pe.shut = !open
	if pe.link != nil {
		pe.link.setGate(p.now(), open, &ev)
		pe.news(&ev)
		p.pump.arm(p.now())
	}
}

// Close implements fabric.Port. Peers are told, once, and best effort.
func (p *Port) Close() error {
	p.mu.Lock()
	if p.closed.Swap(true) {
		p.mu.Unlock()
		<-p.gone
		return nil
	}
	for _, pe := range p.known {
		pe.close()
	}
	p.mu.Unlock()
	close(p.done)
	err := p.conduit.close()
	p.group.Wait()
	if len(p.lost) > 0 {
		p.handler.Resolve(p.lost)
	}
	close(p.gone)
	return err
}

// close ends the session for good; after it the peer starts no goroutine.
func (pe *peer) close() {
	var ev events
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if pe.link != nil {
		pe.link.end(pe.port.now(), fabric.ErrClosed, true, &ev)
		pe.transmit(1, false)
	}
	pe.closed = true
	pe.port.leave(ev.settled)
}

// leave keeps resolutions for Close.
func (p *Port) leave(settled []fabric.Resolution) {
	p.lostMu.Lock()
	defer p.lostMu.Unlock()
	p.lost = append(p.lost, settled...)
}
