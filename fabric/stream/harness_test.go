package stream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftdv/dv/fabric"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network says what the connections between members are made of.
type network struct {
	name    string
	family  string // tcp or unix
	tls     bool
	relayed bool // through a relay that can be cut
	writer  bool // no inline writes
	flip    bool // a checksum where none is needed, and none where one is
}

// wrap puts TLS on a connection.
func (n network) client(c net.Conn) net.Conn {
	if !n.tls {
		return c
	}
	return tls.Client(c, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own certificate
}

func (n network) server(c net.Conn) net.Conn {
	if !n.tls {
		return c
	}
	return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate()}})
}

func (n network) session(incarnation uint64, conn net.Conn) Session {
	s := Session{PeerIncarnation: incarnation, Checksum: n.tls == n.flip}
	if t, ok := conn.(*tls.Conn); ok {
		s.Socket = t.NetConn()
	}
	if n.writer {
		s.Socket = conn
	}
	return s
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// world is a set of members on one network, each with a port.
type world struct {
	tb      testing.TB
	net     network
	cfg     Config // without Self and Incarnation
	ids     []fabric.MemberID
	dir     string
	mu      sync.Mutex
	members map[fabric.MemberID]*node
	starts  map[fabric.MemberID]uint64
	relays  map[[2]fabric.MemberID]*relay
	cut     map[[2]fabric.MemberID]bool
	mended  chan struct{} // closed when a cut ends
	closing sync.Once
}

// node is one incarnation of a member.
type node struct {
	w           *world
	id          fabric.MemberID
	incarnation uint64
	port        *Port
	listener    net.Listener
	ctx         context.Context
	cancel      context.CancelFunc
	wg          sync.WaitGroup
}

func newWorld(tb testing.TB, n network, cfg Config, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler) *world {
	tb.Helper()
	dir, err := os.MkdirTemp("", "dv") // short: the path of a socket is
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{
		tb: tb, net: n, cfg: cfg, ids: ids, dir: dir,
		members: map[fabric.MemberID]*node{}, starts: map[fabric.MemberID]uint64{},
		relays: map[[2]fabric.MemberID]*relay{}, cut: map[[2]fabric.MemberID]bool{}, mended: make(chan struct{}),
	}
	for _, id := range ids {
		w.listen(id)
	}
	for _, id := range ids {
		w.start(id, handlers[id])
	}
	tb.Cleanup(w.close)
	await(tb, "all members are connected", w.connected)
	return w
}

// connected reports whether every member has both connections to every other.
func (w *world) connected() bool {
	for _, id := range w.ids {
		for _, q := range *w.port(id).peers.Load() {
			q.mu.Lock()
			ok := q.recv != nil && q.send.Load() != nil
			q.mu.Unlock()
			if !ok {
				return false
			}
		}
	}
	return true
}

// await waits for a condition that nothing announces.
func await(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within 20s", what)
		}
	}
}

func (w *world) listenOn(name string) net.Listener {
	addr := "127.0.0.1:0"
	if w.net.family == "unix" {
		addr = filepath.Join(w.dir, name)
	}
	l, err := net.Listen(w.net.family, addr)
	if err != nil {
		w.tb.Fatal(err)
	}
	return l
}

// listen opens the listener of a member's next incarnation, and once the relays
// to it.
func (w *world) listen(id fabric.MemberID) {
	w.starts[id]++
	n := &node{w: w, id: id, incarnation: w.starts[id]}
	n.listener = w.listenOn(id.String() + "-" + fabric.MemberID(n.incarnation).String())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[id] = n
	if !w.net.relayed || n.incarnation > 1 {
		return
	}
	for _, from := range w.ids {
		if from != id {
			w.relays[[2]fabric.MemberID{from, id}] = newRelay(w, from, id)
		}
	}
}

func (w *world) start(id fabric.MemberID, h fabric.Handler) {
	n := w.node(id)
	cfg := w.cfg
	cfg.Self, cfg.Incarnation = id, n.incarnation
	var err error
	if n.port, err = New(cfg, h); err != nil {
		w.tb.Fatal(err)
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.wg.Go(n.accept)
	for _, peer := range w.ids {
		if peer != id {
			n.port.AddPeer(peer)
			n.wg.Go(func() { n.dialLoop(peer) })
		}
	}
}

func (w *world) node(id fabric.MemberID) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.members[id]
}

func (w *world) port(id fabric.MemberID) *Port { return w.node(id).port }

// address is where from reaches to.
func (w *world) address(from, to fabric.MemberID) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.relays[[2]fabric.MemberID{from, to}]; r != nil {
		return r.listener.Addr().String()
	}
	return w.members[to].listener.Addr().String()
}

func (n *node) accept() {
	for {
		c, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.wg.Go(func() {
			conn := n.w.net.server(c)
			stop := context.AfterFunc(n.ctx, func() { c.Close() })
			defer stop()
			if err := n.serve(conn); err != nil {
				conn.Close()
			}
		})
	}
}

const handshakeTimeout = time.Second

// The handshake: both tell who they are.
func (n *node) hello() []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(n.id)), n.incarnation)
}

func readHello(c net.Conn) (id fabric.MemberID, incarnation uint64, err error) {
	var b [16]byte
	_, err = io.ReadFull(c, b[:])
	return fabric.MemberID(binary.LittleEndian.Uint64(b[:])), binary.LittleEndian.Uint64(b[8:]), err
}

func (n *node) serve(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	peer, incarnation, err := readHello(conn)
	if err != nil {
		return err
	}
	if _, err := conn.Write(n.hello()); err != nil {
		return err
	}
	conn.SetDeadline(time.Time{})
	_, err = n.port.AttachSend(peer, n.w.net.session(incarnation, conn), conn, nil)
	return err
}

func (n *node) dialLoop(peer fabric.MemberID) {
	for n.ctx.Err() == nil {
		done, err := n.dial(peer)
		if err == nil {
			select {
			case <-done:
			case <-n.ctx.Done():
				return
			}
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-n.ctx.Done():
		}
	}
}

func (n *node) dial(peer fabric.MemberID) (<-chan struct{}, error) {
	var d net.Dialer
	c, err := d.DialContext(n.ctx, n.w.net.family, n.w.address(n.id, peer))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(n.ctx, func() { c.Close() })
	defer stop()
	conn := n.w.net.client(c)
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if _, err := conn.Write(n.hello()); err != nil {
		conn.Close()
		return nil, err
	}
	id, incarnation, err := readHello(conn)
	if err == nil && id != peer {
		err = errors.New("somebody else answers")
	}
	var done <-chan struct{}
	if err == nil {
		conn.SetDeadline(time.Time{})
		done, err = n.port.AttachReceive(peer, n.w.net.session(incarnation, conn), conn, nil)
	}
	if err != nil {
		conn.Close()
	}
	return done, err
}

func (n *node) close() {
	n.cancel()
	n.listener.Close()
	n.port.Close()
	n.wg.Wait()
}

// kill ends a member as the end of its host does: its peers are told nothing.
func (w *world) kill(id fabric.MemberID) {
	w.mu.Lock()
	relays := w.relaysOf(id)
	w.mu.Unlock()
	for _, r := range relays {
		r.abandon()
	}
	w.node(id).close()
}

func (w *world) relaysOf(id fabric.MemberID) (list []*relay) {
	for pair, r := range w.relays {
		if slices.Contains(pair[:], id) {
			list = append(list, r)
		}
	}
	return list
}

func (w *world) restart(id fabric.MemberID, h fabric.Handler) {
	w.node(id).close() // the suite may have closed the port alone
	w.listen(id)
	w.start(id, h)
}

func (w *world) close() { w.closing.Do(w.closeAll) }

func (w *world) closeAll() {
	for _, id := range w.ids {
		w.node(id).close()
	}
	w.mu.Lock()
	w.cut = nil
	close(w.mended)
	w.mu.Unlock()
	for _, r := range w.relays {
		r.close()
	}
	os.RemoveAll(w.dir)
}

func (w *world) setCut(from, to fabric.MemberID, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]fabric.MemberID{from, to}] = cut
	close(w.mended)
	w.mended = make(chan struct{})
}

// awaitPassage waits until what from sends gets through to to.
func (w *world) awaitPassage(from, to fabric.MemberID, gone <-chan struct{}) {
	for {
		w.mu.Lock()
		cut, change := w.cut[[2]fabric.MemberID{from, to}], w.mended
		w.mu.Unlock()
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

// relay stands between a dialler and a member.
type relay struct {
	w        *world
	from, to fabric.MemberID // who dials whom
	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	lines    map[*line]bool
}

type line struct {
	near, far net.Conn
	gone      chan struct{} // closed when one end's host is gone
	once      sync.Once
}

func (l *line) end() { l.once.Do(func() { close(l.gone) }) }

func newRelay(w *world, from, to fabric.MemberID) *relay {
	r := &relay{w: w, from: from, to: to, lines: map[*line]bool{}, listener: w.listenOn("r" + from.String() + "-" + to.String())}
	r.wg.Go(func() {
		for {
			near, err := r.listener.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.connect(near) })
		}
	})
	return r
}

func (r *relay) connect(near net.Conn) {
	defer near.Close()
	r.w.mu.Lock()
	target := r.w.members[r.to].listener.Addr()
	r.w.mu.Unlock()
	far, err := net.Dial(target.Network(), target.String())
	if err != nil {
		return
	}
	defer far.Close()
	l := &line{near: near, far: far, gone: make(chan struct{})}
	r.mu.Lock()
	r.lines[l] = true
	r.mu.Unlock()
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
		r.w.awaitPassage(from, to, l.gone)
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
	for l := range r.lines {
		l.end()
		l.near.Close()
		l.far.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}
