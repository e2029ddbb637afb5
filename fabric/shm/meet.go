package shm

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"time"
)

// Of two members the one with the lower id dials, the other accepts. Each makes
// the segment that the other will write to. From then on the connection carries
// nothing: it ends when either process does, and with it the session.
const (
	// meetTimeout bounds the exchange of hellos.
	meetTimeout = 2 * time.Second
	// maxMeetings bounds the exchanges that are under way with members that dial.
	maxMeetings = 64
	// firstRedial is the pause after the first attempt in vain; it doubles up to
	// Config.RedialInterval.
	firstRedial = time.Millisecond
	// acceptPause keeps a listener that only fails from being tried in a tight
	// loop.
	acceptPause = 10 * time.Millisecond
)

// acceptAll meets whoever dials.
func (p *Port) acceptAll() {
	free := make(chan struct{}, maxMeetings)
	for {
		conn, err := p.place.l.AcceptUnix()
		if p.isClosed() {
			if err == nil {
				conn.Close()
			}
			return
		}
		if err != nil {
			p.wait(acceptPause)
			continue
		}
		select {
		case free <- struct{}{}:
		case <-p.done:
			conn.Close()
			return
		}
		p.group.Go(func() {
			pe, s := p.accept(conn)
			<-free
			if s != nil {
				pe.watch(s)
			}
			p.untrack(conn)
		})
	}
}

func (p *Port) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-p.done:
	}
}

// accept answers a member that dials. Whoever is refused is told why, if it is a
// process of this user.
func (p *Port) accept(conn *net.UnixConn) (*peer, *session) {
	if p.track(conn) != nil || checkUser(conn) != nil || conn.SetDeadline(time.Now().Add(meetTimeout)) != nil {
		return nil, nil
	}
	pe, s, err := p.answer(conn)
	if err == nil {
		return pe, s
	}
	// The peer tries again: it need not have heard.
	_, _, _ = conn.WriteMsgUnix(refusal(err), nil, nil)
	return nil, nil
}

func (p *Port) answer(conn *net.UnixConn) (*peer, *session, error) {
	b, fds, err := receive(conn)
	defer func() { closeAll(fds) }()
	if err != nil {
		return nil, nil, err
	}
	h, err := parseHello(b)
	if err != nil {
		return nil, nil, err
	}
	pe := p.peers.Load().byID[h.from]
	if pe == nil || h.from >= p.cfg.Self {
		return nil, nil, fmt.Errorf("%w: %s is not connected to %s", ErrNotYetUp, p.cfg.Self, h.from)
	}
	pe.mu.Lock()
	w := pe.want
	err = pe.admit(w)
	pe.mu.Unlock()
	if err == nil {
		err = p.check(&h, b, pe, w)
	}
	if err != nil {
		return nil, nil, err
	}
	own, s, err := p.build(conn, &h, fds, nil)
	fds = nil
	if err != nil {
		return nil, nil, err
	}
	s.retain() // own's descriptor is sent below
	defer s.release()
	pe.mu.Lock()
	// The peer would not dial if it still had the session.
	pe.end(pe.sess, ErrHungUp, true)
	reply := p.hello(pe, w)
	err = pe.begin(s, w)
	pe.mu.Unlock()
	if err == nil {
		if err = p.say(conn, reply, own); err == nil {
			err = conn.SetDeadline(time.Time{})
		}
		own.closeFile()
		if err != nil {
			pe.finish(s, err)
			return nil, nil, err
		}
		return pe, s, nil
	}
	s.release()
	return nil, nil, err
}

// meetAgain dials a peer whenever there is no session, as long as it is wanted.
func (p *Port) meetAgain(pe *peer, w *wanted) {
	pause := firstRedial
	for {
		met, err := p.dial(pe, w)
		if met {
			pause = firstRedial
		}
		pe.mu.Lock()
		if pe.want == w && pe.sess == nil && !pe.shut && err != nil {
			pe.why = err
		}
		pe.mu.Unlock()
		select {
		case <-w.stop:
			return
		case <-p.done:
			return
		case <-w.kick:
			pause = firstRedial
		case <-time.After(pause):
			pause = min(2*pause, p.cfg.RedialInterval)
		}
	}
}

// dial meets a peer once and stays until the session ends. met: there was one,
// and the peer is worth another try at once.
func (p *Port) dial(pe *peer, w *wanted) (met bool, err error) {
	pe.mu.Lock()
	err = pe.admit(w)
	pe.mu.Unlock()
	if err != nil {
		return false, err
	}
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: w.Socket, Net: "unixpacket"})
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrNotYetUp, err)
	}
	if err := p.track(conn); err != nil {
		return false, err
	}
	defer p.untrack(conn)
	s, err := p.ask(conn, pe, w)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrNotYetUp, err)
	}
	pe.watch(s)
	pe.mu.Lock()
	defer pe.mu.Unlock()
	return !errors.Is(s.why, ErrProtocol), nil
}

func (p *Port) ask(conn *net.UnixConn, pe *peer, w *wanted) (*session, error) {
	if err := errors.Join(checkUser(conn), conn.SetDeadline(time.Now().Add(meetTimeout))); err != nil {
		return nil, err
	}
	own, err := newMemory("dv-segment", p.shape.size())
	if err != nil {
		return nil, err
	}
	pe.mu.Lock()
	first := p.hello(pe, w)
	pe.mu.Unlock()
	err = p.say(conn, first, own)
	own.closeFile()
	var b []byte
	var fds []int
	if err == nil {
		b, fds, err = receive(conn)
	}
	defer func() { closeAll(fds) }()
	var h hello
	if err == nil {
		if h, err = parseHello(b); err == nil {
			err = p.check(&h, b, pe, w)
		}
	}
	if err != nil {
		own.release()
		return nil, err
	}
	_, s, err := p.build(conn, &h, fds, own)
	fds = nil
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	} else {
		return nil, err
	}
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if err == nil {
		err = pe.begin(s, w)
	}
	if err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

// hello is what this member says to a peer; the peer's mu is held. While there
// is no session, no frame is numbered.
func (p *Port) hello(pe *peer, w *wanted) []byte {
	h := hello{from: p.cfg.Self, fromInc: p.cfg.Incarnation, to: pe.id, toInc: w.PeerIncarnation, shape: p.shape, next: pe.send}
	return h.encode(w.Key)
}

// say sends a hello with what goes with it.
func (p *Port) say(conn *net.UnixConn, b []byte, own *memory) error {
	return send(conn, b, p.bell.mem.fd, int(p.bell.event), own.fd)
}

// check says whether a hello is that of the peer of a session.
func (p *Port) check(h *hello, b []byte, pe *peer, w *wanted) error {
	switch {
	case !checkProof(b, w.Key):
		return fmt.Errorf("%w: the proof of %s is not made with the session's key", ErrStranger, h.from)
	case h.from != pe.id || h.to != p.cfg.Self:
		return fmt.Errorf("%w: %s speaks to %s", ErrStranger, h.from, h.to)
	case h.fromInc != w.PeerIncarnation || h.toInc != p.cfg.Incarnation:
		return fmt.Errorf("%w: incarnation %d of %s speaks to incarnation %d of %s, expected %d and %d", ErrStaleSession,
			h.fromInc, h.from, h.toInc, h.to, w.PeerIncarnation, p.cfg.Incarnation)
	}
	return nil
}

// build maps what the peer has sent, and takes care of all descriptors and, if
// it fails, of own; nil: it is made here.
func (p *Port) build(conn *net.UnixConn, h *hello, fds []int, own *memory) (*memory, *session, error) {
	bellMem, e, far, err := openAll(fds, h.shape.size())
	if err == nil && own == nil {
		own, err = newMemory("dv-segment", p.shape.size())
	}
	if err == nil {
		return own, newSession(conn, own, far, bellMem, e, p.shape, h), nil
	}
	for _, m := range []*memory{bellMem, far, own} {
		if m != nil {
			m.release()
		}
	}
	if e >= 0 {
		e.close()
	}
	return nil, nil, err
}

// wantedFiles are those of a hello: the doorbell's memory, its event, the
// segment.
const wantedFiles = 3

// openAll takes the descriptors of a hello, and closes those that it does not
// return; e is -1 if it is not returned.
func openAll(fds []int, size int) (bellMem *memory, e event, far *memory, err error) {
	if len(fds) != wantedFiles {
		closeAll(fds)
		return nil, -1, nil, fmt.Errorf("%w: %d descriptors, want %d", ErrBadHello, len(fds), wantedFiles)
	}
	bellMem, first := openMemory(fds[0], bellLen)
	e, second := openEvent(fds[1])
	far, third := openMemory(fds[2], size)
	return bellMem, e, far, cmp.Or(first, second, third)
}

// watch waits for the end of the connection.
func (pe *peer) watch(s *session) {
	var b [1]byte
	n, _ := s.conn.Read(b[:])
	if n > 0 {
		pe.fail(s, fmt.Errorf("%w: another message after the hello", ErrBadHello))
		return
	}
	pe.finish(s, ErrHungUp)
}

// finish ends a session whose peer has gone.
func (pe *peer) finish(s *session, why error) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.end(s, why, true)
}
