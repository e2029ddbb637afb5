package mesh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate is one of the test's own authority that names a member.
func certificate(tb testing.TB, id fabric.MemberID) (tls.Certificate, *x509.CertPool) {
	authority := root()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).Add(new(big.Int).SetUint64(uint64(id)), big.NewInt(2)), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{fmt.Sprintf("member-%v", id)},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.cert, &key.PublicKey, authority.key)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority.cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var root = sync.OnceValue(func() ca {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return ca{cert, key}
})

var errOther = errors.New("the certificate names another member")

func secure(tb testing.TB, cfg *Config) {
	cert, pool := certificate(tb, cfg.Self)
	cfg.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	cfg.Verify = func(id fabric.MemberID, end tls.ConnectionState) error {
		if want := fmt.Sprintf("member-%v", id); len(end.PeerCertificates) == 0 || end.PeerCertificates[0].DNSNames[0] != want {
			return fmt.Errorf("%w: want %s", errOther, want)
		}
		return nil
	}
}

// cluster is ports at addresses that they keep.
type cluster struct {
	tb     testing.TB
	ids    []fabric.MemberID
	cfg    Config
	secure bool
	addr   map[fabric.MemberID]string
	relays *fabrictest.Relays

	mu    sync.Mutex
	ports map[fabric.MemberID]*Port
	inc   map[fabric.MemberID]uint64
}

func (c *cluster) start(id fabric.MemberID, h fabric.Handler) {
	cfg := c.cfg
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inc[id]++
	cfg.Self, cfg.Incarnation, cfg.Cluster, cfg.Listen = id, c.inc[id], 7, c.addr[id]
	cfg.Peers = map[fabric.MemberID]string{}
	for _, other := range c.ids {
		if other != id {
			cfg.Peers[other] = c.relays.Addr(id, other).String()
		}
	}
	if c.secure {
		secure(c.tb, &cfg)
	}
	p, err := New(cfg, h)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.ports[id] = p
}

func (c *cluster) port(id fabric.MemberID) *Port {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ports[id]
}

func newCluster(tb testing.TB, ids []fabric.MemberID, secure bool, cfg Config) *cluster {
	c := &cluster{tb: tb, ids: ids, cfg: cfg, secure: secure, addr: map[fabric.MemberID]string{}, ports: map[fabric.MemberID]*Port{}, inc: map[fabric.MemberID]uint64{}}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		return l
	}
	c.relays = fabrictest.NewRelays(func(id fabric.MemberID) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", c.addr[id])
		if err != nil {
			panic(err)
		}
		return a
	})
	for _, id := range ids { // addresses that are free, and most likely stay so
		l := listen()
		defer l.Close()
		c.addr[id] = l.Addr().String()
	}
	for _, id := range ids { // only now: a member of an earlier cluster may dial a relay at once
		for _, from := range ids {
			if from != id {
				c.relays.Add(from, id, listen())
			}
		}
	}
	return c
}

func TestConformance(t *testing.T) {
	for _, secure := range []bool{false, true} {
		name := map[bool]string{false: "clear", true: "tls"}[secure]
		t.Run(name, func(t *testing.T) {
			fabrictest.Run(t, fabrictest.Factory{
				Name: "mesh/" + name,
				New: func(tb testing.TB, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
					cfg := Config{RedialAfter: 2 * time.Millisecond, MaxRedialAfter: 20 * time.Millisecond}
					cfg.Stream.MaxFrame, cfg.Stream.TicketTimeout, cfg.Stream.RowInterval = opt.MaxFrame, opt.TicketTimeout, opt.RowInterval
					cfg.Stream.KeepAlive, cfg.Stream.IdleTimeout = 20*time.Millisecond, 2*time.Second
					for l := range cfg.Stream.Queues {
						cfg.Stream.Queues[l].Bytes = opt.QueueBytes
					}
					c := newCluster(tb, ids, secure, cfg)
					for _, id := range ids {
						c.start(id, handlers[id])
					}
					c.connected()
					return &fabrictest.Cluster{
						Port:    func(id fabric.MemberID) fabric.Port { return c.port(id) },
						Restart: c.start,
						Kill: func(id fabric.MemberID) {
							c.relays.Abandon(id)
							c.port(id).Close()
						},
						Cut:  c.relays.Cut,
						Mend: c.relays.Mend,
						Close: func() {
							for _, id := range ids {
								c.port(id).Close()
							}
							c.relays.Close()
						},
					}
				},
			})
		})
	}
}

// connected waits until all members have both connections to all others.
func (c *cluster) connected() {
	whole := func() bool {
		for _, id := range c.ids {
			p := c.port(id)
			for _, s := range p.Stats(nil) {
				if !s.Up || p.LastKeepAlive(s.Peer).IsZero() {
					return false
				}
			}
		}
		return true
	}
	for deadline := time.Now().Add(20 * time.Second); !whole(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.tb.Fatal("not connected within 20 s")
		}
	}
}

// TestRefusals: whoever is not the member that is expected is told so, and why.
func TestRefusals(t *testing.T) {
	p, err := New(Config{Self: 1, Incarnation: 1, Cluster: 7, Listen: "127.0.0.1:0", Peers: map[fabric.MemberID]string{2: "127.0.0.1:1"}}, nobody{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, c := range []struct {
		h    hello
		want error
	}{
		{hello{8, 2, 1, 1}, ErrCluster}, {hello{7, 2, 3, 1}, ErrWrongMember}, {hello{7, 3, 1, 1}, fabric.ErrUnknownPeer}, {hello{7, 1, 1, 1}, ErrWrongMember}, {hello{7, 0, 1, 1}, ErrWrongMember},
	} {
		conn, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write(c.h.append(nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := readHello(conn); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want.Error()) {
			t.Errorf("%+v: %v, want it refused for %q", c.h, err, c.want)
		}
		conn.Close()
	}
	conn, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("a stranger is answered with %d bytes", n)
	}
}

// TestImpostor: a certificate of another member does not help.
func TestImpostor(t *testing.T) {
	cfg := Config{Self: 1, Incarnation: 1, Cluster: 7, Listen: "127.0.0.1:0", Peers: map[fabric.MemberID]string{2: "127.0.0.1:1"}}
	secure(t, &cfg)
	p, err := New(cfg, nobody{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for id, want := range map[fabric.MemberID]string{2: "", 3: errOther.Error()} {
		cert, pool := certificate(t, id)
		conn, err := tls.Dial("tcp", p.Addr().String(), &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: "member-1"})
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		h := hello{7, 2, 1, 1}
		if _, err := conn.Write(h.append(nil)); err != nil {
			t.Fatal(err)
		}
		switch _, err := readHello(conn); {
		case want == "" && err != nil:
			t.Errorf("member 2: %v", err)
		case want != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want)):
			t.Errorf("member 3 as 2: %v, want %q", err, want)
		}
		conn.Close()
	}
}

func TestConfigFaults(t *testing.T) {
	err := Config{TLS: &tls.Config{}, DialTimeout: -1, MaxHellos: -1}.Validate()
	for _, want := range []string{"Listen", "Verify", "certificate", "ClientAuth", "DialTimeout", "MaxHellos", "Self"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err := New(Config{Self: 1, Incarnation: 1, Listen: "256.0.0.1:1"}, nobody{}); err == nil {
		t.Error("a bad address is taken")
	}
}

type nobody struct{}

func (nobody) Deliver(fabric.MemberID, []fabric.Frame) {}
func (nobody) Gap(fabric.MemberID, fabric.Gap)         {}
func (nobody) Row(fabric.MemberID, fabric.Row)         {}
func (nobody) Resolve([]fabric.Resolution)             {}
func (nobody) Link(fabric.MemberID, fabric.LinkState)  {}
