//go:build linux

package shm

import (
	"encoding/binary"
	"errors"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raftdv/dv/fabric"
)

// liar is a peer that meets a port as any member does, and then does with its
// memory what it likes.
type liar struct {
	*session
	gone sync.Once
}

func (l *liar) close() {
	l.gone.Do(func() {
		l.conn.Close()
		l.release()
	})
}

// dialAs says hello to a port and returns what it answers.
func dialAs(tb testing.TB, p *Port, edit func(h *hello, key *[]byte), fds ...int) (conn *net.UnixConn, answer []byte, files []int, err error) {
	tb.Helper()
	conn, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: p.Socket(), Net: "unixpacket"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	h := hello{from: mate, fromInc: 1, to: self, toInc: 1, shape: p.shape, next: [fabric.Lanes]uint64{1, 1, 1}}
	key := testKey
	if edit != nil {
		edit(&h, &key)
	}
	if err = send(conn, h.encode(key), fds...); err == nil {
		answer, files, err = receive(conn)
	}
	return conn, answer, files, err
}

func newLiar(tb testing.TB, p *Port) *liar {
	tb.Helper()
	own, err := newMemory("dv-liar", p.shape.size())
	if err != nil {
		tb.Fatal(err)
	}
	b, err := newBell()
	if err != nil {
		tb.Fatal(err)
	}
	conn, answer, files, err := dialAs(tb, p, nil, b.mem.fd, int(b.event), own.fd)
	if err != nil {
		tb.Fatal(err)
	}
	h, err := parseHello(answer)
	if err != nil {
		tb.Fatal(err)
	}
	_, s, err := p.build(conn, &h, files, own)
	if err != nil {
		tb.Fatal(err)
	}
	b.release()
	l := &liar{session: s}
	tb.Cleanup(l.close)
	return l
}

// frame writes one slot with a frame.
func (l *liar) frame(lane fabric.Lane, h fabric.Header, patch, body []byte) {
	if h.Kind == 0 {
		h.Kind = fabric.KindData
	}
	l.lane[lane].ring.putFrame(&h, patch, body)
}

func (l *liar) ringMemory() []byte { return l.shape.ring(l.far.b, 0) }

// lies are what a peer may write, and what its link then ends with.
var lies = []struct {
	name string
	tell func(l *liar)
	want error
}{
	{"a valid word of another round", func(l *liar) {
		binary.LittleEndian.PutUint64(l.ringMemory()[2*l.shape.slot-8:], uint64(refAt(1, 1)))
	}, ErrBadSlot},
	{"a length beyond the slot", func(l *liar) {
		binary.LittleEndian.PutUint64(l.ringMemory()[2*l.shape.slot-8:], uint64(l.shape.slot)<<32|uint64(refAt(1, l.shape.slots[0])))
	}, ErrBadSlot},
	{"the longest length", func(l *liar) {
		binary.LittleEndian.PutUint64(l.ringMemory()[2*l.shape.slot-8:], math.MaxUint32<<32|uint64(refAt(1, l.shape.slots[0])))
	}, ErrBadSlot},
	{"no frame", func(l *liar) { l.lane[0].ring.put([]byte("what is this, if not a frame of 32 bytes?")) }, ErrBadSlot},
	{"nothing", func(l *liar) { l.lane[0].ring.put(nil) }, ErrBadSlot},
	{"a frame cut short", func(l *liar) {
		h := fabric.Header{Kind: fabric.KindData, Link: 2}
		b := fabric.AppendFrame(nil, &h, nil, make([]byte, 100))
		l.lane[0].ring.put(b[:len(b)-1])
	}, ErrBadSlot},
	{"bytes behind a frame", func(l *liar) {
		h := fabric.Header{Kind: fabric.KindData, Link: 2}
		l.lane[0].ring.put(append(fabric.AppendFrame(nil, &h, nil, nil), 0))
	}, ErrBadSlot},
	{"the frame of another lane", func(l *liar) { l.frame(0, fabric.Header{Lane: 1, Link: 2}, nil, nil) }, ErrSequence},
	{"a frame again", func(l *liar) { l.frame(0, fabric.Header{Link: 1}, nil, nil) }, ErrSequence},
	{"a frame too soon", func(l *liar) { l.frame(0, fabric.Header{Link: 3}, nil, nil) }, ErrSequence},
	{"a port's own kind", func(l *liar) { l.frame(0, fabric.Header{Link: 2, Kind: fabric.KindAck}, nil, nil) }, ErrUnexpected},
	{"a section that is not carried", func(l *liar) { l.frame(0, fabric.Header{Link: 2, Has: fabric.HasContext}, nil, nil) }, ErrUnexpected},
	{"a void of two", func(l *liar) {
		l.frame(0, fabric.Header{Link: 2, Kind: fabric.KindVoid}, nil, []byte{2, 0, 0, 0, 0, 0, 0, 0})
	}, ErrUnexpected},
	{"a void of nothing", func(l *liar) { l.frame(0, fabric.Header{Link: 2, Kind: fabric.KindVoid}, nil, nil) }, ErrUnexpected},
	{"a second piece first", func(l *liar) {
		l.frame(0, fabric.Header{Link: 2, Has: fabric.HasFragment, Fragment: fabric.Fragment{Index: 1, Count: 2, Total: 2}}, nil, []byte{1})
	}, ErrBadPiece},
	{"one piece", func(l *liar) {
		l.frame(0, fabric.Header{Link: 2, Has: fabric.HasFragment, Fragment: fabric.Fragment{Count: 1, Total: 1}}, nil, []byte{1})
	}, ErrBadPiece},
	{"pieces of a frame that is too large", func(l *liar) {
		l.frame(0, fabric.Header{Link: 2, Has: fabric.HasFragment, Fragment: fabric.Fragment{Count: 2, Total: 1 << 40}}, nil, []byte{1})
	}, ErrBadPiece},
	{"pieces of the largest size", func(l *liar) {
		l.frame(0, fabric.Header{Link: 2, Has: fabric.HasFragment, Fragment: fabric.Fragment{Count: 2, Total: math.MaxUint64}}, []byte{1}, []byte{1})
	}, ErrBadPiece},
	{"a piece longer than the rest", func(l *liar) {
		l.pieces(3, []byte{1, 2}, []byte{3, 4})
	}, ErrBadPiece},
	{"pieces shorter than the whole", func(l *liar) {
		l.pieces(5, []byte{1, 2}, []byte{3, 4})
	}, ErrBadPiece},
	{"a frame between pieces", func(l *liar) {
		l.pieces(5, []byte{1, 2})
		l.frame(0, fabric.Header{Link: 2}, nil, nil)
	}, ErrBadPiece},
	{"a void in pieces", func(l *liar) {
		for i := range uint32(2) {
			l.frame(0, fabric.Header{Link: 2, Kind: fabric.KindVoid, Has: fabric.HasFragment, Fragment: fabric.Fragment{Index: i, Count: 2, Total: 8}}, nil, make([]byte, 4))
		}
	}, ErrUnexpected},
	{"credit for what was never sent", func(l *liar) { word64(l.far.b, 0).Store(1) }, ErrForgedCredit},
	{"the largest credit", func(l *liar) { word64(l.far.b, 2*line).Store(math.MaxUint64) }, ErrForgedCredit},
	{"a row that is none", func(l *liar) { l.row.put([]byte("not a row")) }, ErrBadRow},
	{"another member's row", func(l *liar) {
		l.row.put(fabric.AppendRow(nil, &fabric.Row{Owner: 77, Incarnation: 1, Version: 1}))
	}, ErrBadRow},
	{"a row longer than any", func(l *liar) {
		word64(l.far.b, rowBytesAt).Store(1 << 60)
		word64(l.far.b, rowWordAt).Store(2)
	}, ErrBadRow},
	{"a message after the hello", func(l *liar) {
		if _, err := l.conn.Write([]byte("more")); err != nil {
			panic(err)
		}
	}, ErrBadHello},
}

// pieces writes a frame of a total size, one slot for each part; more parts are
// announced than these if the total is larger.
func (l *liar) pieces(total uint64, parts ...[]byte) {
	for i, b := range parts {
		l.frame(0, fabric.Header{Link: 2, Has: fabric.HasFragment, Fragment: fabric.Fragment{Index: uint32(i), Count: max(2, uint32(len(parts))), Total: total}}, nil, b)
	}
}

// A peer that lies loses its link, with an error that says so. What it wrote
// before is delivered, and others do not notice.
func TestLiar(t *testing.T) {
	for _, tc := range lies {
		t.Run(tc.name, func(t *testing.T) {
			r := newRecorder()
			p := mustPort(t, Config{Self: self, Incarnation: 1, Dir: testDir(t), MaxFrame: 64 << 10}, r)
			if err := p.Connect(mate, Session{PeerIncarnation: 1, Key: testKey}); err != nil {
				t.Fatal(err)
			}
			l := newLiar(t, p)
			l.frame(0, fabric.Header{Link: 1}, nil, []byte("an honest frame"))
			l.bell.ring()
			r.await(t, "the honest frame", func() bool { return len(r.frames) == 1 })
			tc.tell(l)
			l.bell.ring()
			r.await(t, "the link goes down", func() bool { return len(r.links) == 2 })
			s := p.Stats(nil)
			r.mu.Lock()
			defer r.mu.Unlock()
			down := r.link()
			if down.Up || !errors.Is(down.Err, tc.want) || !errors.Is(down.Err, ErrProtocol) || !errors.Is(down.Err, fabric.ErrLinkDown) {
				t.Errorf("link: %+v, want %v", down, tc.want)
			}
			if !strings.Contains(down.Err.Error(), mate.String()) {
				t.Errorf("the error does not say who it was: %v", down.Err)
			}
			if len(r.frames) != 1 || len(r.gaps) != 0 || len(r.rows) != 0 {
				t.Errorf("told: %q", r.log)
			}
			if len(s) != 1 || s[0].Refused != 1 || s[0].Up {
				t.Errorf("stats: %+v", s)
			}
		})
	}
}

// A peer that scribbles over the doorbell cannot keep others from being heard.
func TestDoorbellThatIsScribbledOver(t *testing.T) {
	a, b, _, atB := testPair(t, nil)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := uint32(0); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			b.bell.rings.Store(n % 3)
			b.bell.asleep.Store(n % 2)
			time.Sleep(time.Millisecond)
		}
	}()
	for n := range 10 {
		sendOne(t, a, self, fabric.LaneAppend, 1, nil)
		atB.await(t, "frame", func() bool { return len(atB.frames) == n+1 })
	}
	close(stop)
	<-done
}

// The peer's limits count, not only this member's.
func TestPeerTakesSmallerFrames(t *testing.T) {
	dir := testDir(t)
	ra, rb := newRecorder(), newRecorder()
	a := mustPort(t, Config{Self: mate, Incarnation: 1, Dir: dir}, ra)
	b := mustPort(t, Config{Self: self, Incarnation: 1, Dir: dir, MaxFrame: 8000, SlotSize: minSlot, Slots: [fabric.Lanes]int{6, 7, 8}}, rb)
	for _, err := range []error{a.Connect(self, Session{PeerIncarnation: 1}), b.Connect(mate, Session{PeerIncarnation: 1})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	ra.await(t, "link up", func() bool { return ra.link().Up })
	sendOne(t, a, self, 0, 1, make([]byte, 8000))
	err := a.Send([]fabric.Outgoing{{To: []fabric.MemberID{self}, Ticket: 2, Body: make([]byte, 8001)}})
	if !errors.Is(err, fabric.ErrTooLarge) {
		t.Errorf("8,001 bytes: %v", err)
	}
	rb.await(t, "the frame", func() bool { return len(rb.frames) == 1 && len(rb.frames[0].Body) == 8000 })
}

func TestMemoryThatIsNotSealed(t *testing.T) {
	const size = 2 * page
	memfd := func(seal, size int) int {
		fd, err := unix.MemfdCreate("test", unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
		if err == nil {
			err = unix.Ftruncate(fd, int64(size))
		}
		if err == nil && seal != 0 {
			_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seal)
		}
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[1])
	for name, fd := range map[string]int{
		"no seals": memfd(0, size), "may shrink": memfd(unix.F_SEAL_GROW|unix.F_SEAL_SEAL, size), "short": memfd(seals, page),
		"long": memfd(seals, size+page), "write sealed": memfd(seals|unix.F_SEAL_WRITE, size), "pipe": pipe[0],
	} {
		if m, err := openMemory(fd, size); !errors.Is(err, ErrBadMemory) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			t.Errorf("%s: the descriptor stays open", name)
		}
	}
	if m, err := openMemory(memfd(seals, size), size); err != nil {
		t.Error(err)
	} else {
		m.release()
	}
}
