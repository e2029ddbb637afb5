package stream

import (
	"bytes"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// recorder is a handler that keeps all it is told.
type recorder struct {
	mu       sync.Mutex
	frames   []fabric.Frame
	events   []event // Deliver and Gap in their order
	rows     []fabric.Row
	settled  []fabric.Resolution
	links    []fabric.LinkState
	ended    []*EndError
	entered  int           // calls of Deliver
	gate     chan struct{} // if not nil, Deliver waits for it
	deliver  func(from fabric.MemberID, frames []fabric.Frame)
	resolved func([]fabric.Resolution)
}

// event is a frame that arrived, or a gap.
type event struct {
	lane  fabric.Lane
	first uint64
	gap   uint64 // frames missing; 0: a frame arrived
}

func (r *recorder) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	r.mu.Lock()
	r.entered++
	for _, f := range frames {
		f.Body, f.Patch = bytes.Clone(f.Body), bytes.Clone(f.Patch)
		r.frames = append(r.frames, f)
		r.events = append(r.events, event{lane: f.Lane, first: f.Link})
	}
	gate, deliver := r.gate, r.deliver
	r.mu.Unlock()
	if deliver != nil {
		deliver(from, frames)
	}
	if gate != nil {
		<-gate
	}
}

func (r *recorder) Gap(_ fabric.MemberID, g fabric.Gap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event{g.Lane, g.First, g.Count})
}

func (r *recorder) Row(_ fabric.MemberID, row fabric.Row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row.Sections = bytes.Clone(row.Sections)
	r.rows = append(r.rows, row)
}

func (r *recorder) Resolve(settled []fabric.Resolution) {
	r.mu.Lock()
	r.settled = append(r.settled, settled...)
	resolved := r.resolved
	r.mu.Unlock()
	if resolved != nil {
		resolved(settled)
	}
}

func (r *recorder) Link(_ fabric.MemberID, s fabric.LinkState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links = append(r.links, s)
}

func (r *recorder) detached(peer fabric.MemberID, d Direction, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var e *EndError
	if !errors.As(why, &e) || e.Peer != peer || e.Direction != d {
		e = &EndError{Err: errors.New("not an EndError of this connection: " + why.Error())}
	}
	r.ended = append(r.ended, e)
}

func (r *recorder) with(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// until waits for a condition on what was recorded.
func (r *recorder) until(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	await(tb, what, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return cond()
	})
}

// told is what a recorder has been told so far.
type told struct {
	frames  []fabric.Frame
	events  []event
	rows    []fabric.Row
	settled []fabric.Resolution
	links   []fabric.LinkState
	ended   []*EndError
}

func (r *recorder) told() told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return told{slices.Clone(r.frames), slices.Clone(r.events), slices.Clone(r.rows), slices.Clone(r.settled), slices.Clone(r.links), slices.Clone(r.ended)}
}

func (s told) lost() int { return (&recorder{settled: s.settled}).lost() }

// lost counts; mu is held.
func (r *recorder) lost() (n int) {
	for _, s := range r.settled {
		if !s.Acked() {
			n++
		}
	}
	return n
}

const (
	self = fabric.MemberID(1)
	mate = fabric.MemberID(2)
)

// newTestPort returns the port of self, which knows mate.
func newTestPort(tb testing.TB, cfg Config, r *recorder) *Port {
	tb.Helper()
	cfg.Self, cfg.Incarnation = self, 1
	cfg.Detached = r.detached
	p, err := New(cfg, r)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	p.AddPeer(mate)
	return p
}

// attachSend gives p a connection to mate and returns its other end.
func attachSend(tb testing.TB, p *Port, s Session) (far net.Conn, done <-chan struct{}) {
	tb.Helper()
	near, far := net.Pipe()
	tb.Cleanup(func() { far.Close() })
	done, err := p.AttachSend(mate, s, near, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return far, done
}

// attachReceive gives p a connection from mate and returns its other end.
func attachReceive(tb testing.TB, p *Port, s Session, buffered []byte) (far net.Conn, done <-chan struct{}) {
	tb.Helper()
	near, far := net.Pipe()
	tb.Cleanup(func() { far.Close() })
	done, err := p.AttachReceive(mate, s, near, buffered)
	if err != nil {
		tb.Fatal(err)
	}
	return far, done
}

// connect joins two ports, the frames of from going to to.
func connect(tb testing.TB, from, to *Port) (done <-chan struct{}) {
	tb.Helper()
	near, far := bufferedPipe()
	done, err := from.AttachSend(to.cfg.Self, Session{PeerIncarnation: to.cfg.Incarnation, Checksum: true}, near, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := to.AttachReceive(from.cfg.Self, Session{PeerIncarnation: from.cfg.Incarnation, Checksum: true}, far, nil); err != nil {
		tb.Fatal(err)
	}
	return done
}

func frameTo(to fabric.MemberID, lane fabric.Lane, ticket uint64, body []byte) fabric.Outgoing {
	return fabric.Outgoing{To: []fabric.MemberID{to}, Lane: lane, Body: body, Ticket: ticket, Stream: ticket}
}

func mustSend(tb testing.TB, p *Port, batch ...fabric.Outgoing) {
	tb.Helper()
	if err := p.Send(batch); err != nil {
		tb.Fatal(err)
	}
}

// wire reads and writes frames by hand, as a peer of another make does.
type wire struct {
	tb  testing.TB
	c   net.Conn
	has fabric.Sections
	buf []byte
}

func (w *wire) encode(kind fabric.Kind, lane fabric.Lane, link uint64, body []byte) []byte {
	return fabric.AppendFrame(nil, &fabric.Header{Kind: kind, Lane: lane, Link: link, Has: w.has}, nil, body)
}

func (w *wire) write(kind fabric.Kind, lane fabric.Lane, link uint64, body []byte) {
	w.tb.Helper()
	if _, err := w.c.Write(w.encode(kind, lane, link, body)); err != nil {
		w.tb.Fatal(err)
	}
}

// read returns the next frame, whose bytes are its own.
func (w *wire) read() (f fabric.Frame, err error) {
	for {
		rest, err := fabric.ParseFrame(w.buf, pieceLen, &f)
		if err == nil {
			f.Body, f.Patch = bytes.Clone(f.Body), bytes.Clone(f.Patch)
			w.buf = append(w.buf[:0], rest...)
			return f, nil
		}
		if !errors.Is(err, fabric.ErrShort) {
			return f, err
		}
		b := make([]byte, 64<<10)
		n, err := w.c.Read(b)
		if err != nil {
			return f, err
		}
		w.buf = append(w.buf, b[:n]...)
	}
}

// next returns the next frame of one of the kinds, skipping others.
func (w *wire) next(kinds ...fabric.Kind) fabric.Frame {
	w.tb.Helper()
	for {
		f, err := w.read()
		if err != nil {
			w.tb.Fatalf("waiting for kinds %v: %v", kinds, err)
		}
		if slices.Contains(kinds, f.Kind) {
			return f
		}
	}
}

// drain reads what comes until the connection ends.
func drain(c net.Conn) {
	b := make([]byte, 64<<10)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// opens is an opening that starts all lanes at the sequences given.
func opens(epoch uint64, next ...uint64) []byte {
	o := opening{epoch: epoch}
	for l := range o.lane {
		o.lane[l] = laneOpening{next: 1, window: 1 << 20, frames: 4096}
		if l < len(next) {
			o.lane[l].next = next[l]
		}
	}
	return o.append(nil)
}
