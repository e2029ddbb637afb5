package fabrictest

import (
	"net"
	"sync"

	"github.com/raftdv/dv/fabric"
)

// Relays stand between the members of a cluster that reach each other over byte
// streams: one for each member that dials and each that is dialled. They can be cut
// in one direction, and cut off a host that is gone, without a sign to anybody: so a
// Factory offers Cut, Mend and Kill. Its methods may be called concurrently.
type Relays struct {
	// target is where a member listens now.
	target func(fabric.MemberID) net.Addr

	mu     sync.Mutex
	relays map[[2]fabric.MemberID]*relay // by who dials whom
	cut    map[[2]fabric.MemberID]bool
	mended chan struct{} // closed when a cut begins or ends
}

// relay stands between a dialler and a member.
type relay struct {
	all      *Relays
	from, to fabric.MemberID
	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex // guards the fields below
	lines    map[*line]bool
	closed   bool
}

// line is a connection through a relay.
type line struct {
	near, far net.Conn
	gone      chan struct{} // closed when one end's host is gone
	once      sync.Once
}

func (l *line) end() { l.once.Do(func() { close(l.gone) }) }

// NewRelays returns none yet. target says where a member listens, whenever
// somebody dials it.
func NewRelays(target func(fabric.MemberID) net.Addr) *Relays {
	return &Relays{target: target, relays: map[[2]fabric.MemberID]*relay{}, cut: map[[2]fabric.MemberID]bool{}, mended: make(chan struct{})}
}

// Add has a relay listen at l, where from is to dial to. Close closes l.
func (s *Relays) Add(from, to fabric.MemberID, l net.Listener) {
	r := &relay{all: s, from: from, to: to, lines: map[*line]bool{}, listener: l}
	s.mu.Lock()
	s.relays[[2]fabric.MemberID{from, to}] = r
	s.mu.Unlock()
	r.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.connect(near) })
		}
	})
}

// Addr is where from dials to, nil if there is no relay between them.
func (s *Relays) Addr(from, to fabric.MemberID) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.relays[[2]fabric.MemberID{from, to}]; r != nil {
		return r.listener.Addr()
	}
	return nil
}

// Cut stops what from sends to to, on connections of either; Mend ends it.
func (s *Relays) Cut(from, to fabric.MemberID) { s.set(from, to, true) }

// Mend ends a cut.
func (s *Relays) Mend(from, to fabric.MemberID) { s.set(from, to, false) }

func (s *Relays) set(from, to fabric.MemberID, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[[2]fabric.MemberID{from, to}] = cut
	close(s.mended)
	s.mended = make(chan struct{})
}

// Abandon lets the connections that a member has now lead nowhere, as when its
// host is gone.
func (s *Relays) Abandon(id fabric.MemberID) {
	for _, r := range s.list() {
		if r.from == id || r.to == id {
			r.abandon()
		}
	}
}

// Close ends all connections and relays.
func (s *Relays) Close() {
	for _, r := range s.list() {
		r.close()
	}
}

func (s *Relays) list() (list []*relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.relays {
		list = append(list, r)
	}
	return list
}

// await waits until what from sends gets through to to.
func (s *Relays) await(from, to fabric.MemberID, gone <-chan struct{}) {
	for {
		s.mu.Lock()
		cut, change := s.cut[[2]fabric.MemberID{from, to}], s.mended
		s.mu.Unlock()
		if !cut {
			return
		}
		select {
		case <-change:
		case <-gone:
			return
		}
	}
}

func (r *relay) connect(near net.Conn) {
	defer near.Close()
	target := r.all.target(r.to)
	far, err := net.Dial(target.Network(), target.String())
	if err != nil {
		return
	}
	defer far.Close()
	l := &line{near: near, far: far, gone: make(chan struct{})}
	r.mu.Lock()
	closed := r.closed
	r.lines[l] = true
	r.mu.Unlock()
	if closed { // while it was dialled: nobody would end it
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.pump(l, far, near, r.from, r.to) })
	wg.Go(func() { r.pump(l, near, far, r.to, r.from) })
	wg.Wait()
	r.mu.Lock()
	delete(r.lines, l)
	r.mu.Unlock()
}

// pump copies what from sends to to.
func (r *relay) pump(l *line, dst, src net.Conn, from, to fabric.MemberID) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		r.all.await(from, to, l.gone)
		select {
		case <-l.gone: // the host is gone: nothing of it gets through any more
			if err != nil {
				return
			}
			continue
		default:
		}
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				err = werr
				src.Close()
			}
		}
		if err != nil {
			dst.(interface{ CloseWrite() error }).CloseWrite()
			return
		}
	}
}

// abandon lets the connections of now lead nowhere.
func (r *relay) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.lines {
		l.end()
	}
}

func (r *relay) close() {
	r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for l := range r.lines {
		l.end()
		l.near.Close()
		l.far.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}
