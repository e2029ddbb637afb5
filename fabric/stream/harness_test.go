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
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
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
	relays  *fabrictest.Relays
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
	}
	w.relays = fabrictest.NewRelays(func(id fabric.MemberID) net.Addr { return w.node(id).listener.Addr() })
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
	w.members[id] = n
	w.mu.Unlock()
	if !w.net.relayed || n.incarnation > 1 {
		return
	}
	for _, from := range w.ids {
		if from != id {
			w.relays.Add(from, id, w.listenOn("r"+from.String()+"-"+id.String()))
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
	if a := w.relays.Addr(from, to); a != nil {
		return a.String()
	}
	return w.node(to).listener.Addr().String()
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
	w.relays.Abandon(id)
	w.node(id).close()
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
	w.relays.Close()
	os.RemoveAll(w.dir)
}
