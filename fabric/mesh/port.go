package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/stream"
)

// Port is a stream port that dials and is dialled. All methods may be called
// concurrently; Close not from a handler.
type Port struct {
	*stream.Port
	cfg      Config
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	hellos   chan struct{} // holds one for each connection that has not said hello

	mu    sync.Mutex // guards peers
	peers map[fabric.MemberID]*dialled
}

// dialled is a peer that one goroutine dials.
type dialled struct {
	addr   string
	cancel context.CancelFunc
}

// New opens a port. The error lists all faults of the configuration, or says why
// the address cannot be bound.
func New(cfg Config, h fabric.Handler) (*Port, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	l := cfg.Listener
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", cfg.Listen); err != nil {
			return nil, fmt.Errorf("mesh: %w: choose another address, or end whoever has it", err)
		}
	}
	s, err := stream.New(cfg.Stream, h)
	if err != nil {
		l.Close()
		return nil, err
	}
	p := &Port{Port: s, cfg: cfg, listener: l, hellos: make(chan struct{}, cfg.MaxHellos), peers: map[fabric.MemberID]*dialled{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.SetPeers(cfg.Peers)
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is the address that the port listens at.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// SetPeers replaces the addresses of the other members. Connections to those that
// stay where they are stay.
func (p *Port) SetPeers(peers map[fabric.MemberID]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	for id, d := range p.peers {
		if peers[id] != d.addr {
			d.cancel()
			delete(p.peers, id)
			if _, stays := peers[id]; !stays {
				p.RemovePeer(id)
			}
		}
	}
	for id, addr := range maps.All(peers) {
		if id == p.cfg.Self || p.peers[id] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(p.ctx)
		p.peers[id] = &dialled{addr, cancel}
		p.AddPeer(id)
		p.wg.Go(func() { p.dialLoop(ctx, id, addr) })
	}
}

func (p *Port) known(id fabric.MemberID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peers[id] != nil
}

func (p *Port) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil {
				return
			}
			p.cfg.Logger.Warn("a connection could not be accepted", "error", err)
			select { // no descriptors, mostly
			case <-time.After(p.cfg.RedialAfter):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		select {
		case p.hellos <- struct{}{}:
		case <-p.ctx.Done():
			conn.Close()
			return
		}
		p.wg.Go(func() {
			defer func() { <-p.hellos }()
			p.serve(conn)
		})
	}
}

// guard closes a connection when the port is, or when saying hello takes too long.
func (p *Port) guard(ctx context.Context, conn net.Conn) (release func()) {
	conn.SetDeadline(time.Now().Add(p.cfg.DialTimeout))
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return func() {
		stop()
		conn.SetDeadline(time.Time{})
	}
}

// serve says hello to somebody that dialled, who will be sent what this member
// sends.
func (p *Port) serve(raw net.Conn) {
	release := p.guard(p.ctx, raw)
	conn := raw
	if p.cfg.TLS != nil {
		conn = tls.Server(raw, p.cfg.TLS)
	}
	h, err := readHello(conn)
	if err == nil {
		if err = h.check(p.cfg.Cluster, p.cfg.Self, 0); err == nil && !p.known(h.from) {
			err = fmt.Errorf("%w: %v is no peer of %v: add it to the Peers", fabric.ErrUnknownPeer, h.from, p.cfg.Self)
		}
		if err == nil {
			err = p.verify(h.from, conn)
		}
		answer := hello{p.cfg.Cluster, p.cfg.Self, h.from, p.cfg.Incarnation}
		b := answer.append(nil)
		if err != nil {
			b = appendRefusal(nil, err)
		}
		if _, werr := conn.Write(b); err == nil {
			err = werr
		}
	}
	release()
	if err == nil {
		_, err = p.AttachSend(h.from, p.session(h.incarnation, raw), conn, nil)
	}
	if err != nil {
		conn.Close()
		if p.ctx.Err() == nil {
			p.cfg.Logger.Warn("a connection was refused", "from", raw.RemoteAddr(), "member", h.from, "error", err)
		}
	}
}

func (p *Port) session(incarnation uint64, raw net.Conn) stream.Session {
	s := stream.Session{PeerIncarnation: incarnation, Checksum: p.cfg.TLS == nil}
	if p.cfg.TLS != nil {
		s.Socket = raw
	}
	return s
}

func (p *Port) verify(id fabric.MemberID, conn net.Conn) error {
	c, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if err := c.HandshakeContext(p.ctx); err != nil {
		return err
	}
	return p.cfg.Verify(id, c.ConnectionState())
}

// dialLoop keeps a connection to a peer, on which that sends.
func (p *Port) dialLoop(ctx context.Context, id fabric.MemberID, addr string) {
	pause, said := p.cfg.RedialAfter, ""
	for {
		done, err := p.dial(ctx, id, addr)
		if err == nil {
			pause, said = p.cfg.RedialAfter, ""
			select {
			case <-done:
			case <-ctx.Done():
				return
			}
		} else if text := err.Error(); text != said && ctx.Err() == nil {
			said = text
			p.cfg.Logger.Warn("a peer cannot be reached; it is tried again and again", "member", id, "address", addr, "error", err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, p.cfg.MaxRedialAfter)
		case <-ctx.Done():
			return
		}
	}
}

func (p *Port) dial(ctx context.Context, id fabric.MemberID, addr string) (<-chan struct{}, error) {
	d := net.Dialer{Timeout: p.cfg.DialTimeout}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	release := p.guard(ctx, raw)
	conn := raw
	if p.cfg.TLS != nil {
		conf := p.cfg.TLS.Clone()
		if conf.ServerName == "" {
			if host, _, err := net.SplitHostPort(addr); err == nil {
				conf.ServerName = host
			}
		}
		conn = tls.Client(raw, conf)
	}
	mine := hello{p.cfg.Cluster, p.cfg.Self, id, p.cfg.Incarnation}
	_, err = conn.Write(mine.append(nil))
	var h hello
	if err == nil {
		h, err = readHello(conn)
	}
	if err == nil {
		err = h.check(p.cfg.Cluster, p.cfg.Self, id)
	}
	if err == nil {
		err = p.verify(id, conn)
	}
	release()
	var done <-chan struct{}
	if err == nil {
		done, err = p.AttachReceive(id, p.session(h.incarnation, raw), conn, nil)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return done, nil
}

// Close implements fabric.Port. Peers are told.
func (p *Port) Close() error {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	err := errors.Join(p.listener.Close(), p.Port.Close())
	p.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil // closed before
	}
	return err
}
