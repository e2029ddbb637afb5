package raftdv

import (
	"bufio"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/client/pkg/v3/types"
)

// dialRaw opens a control stream to n by hand, as member from, and returns the
// answer and the connection.
func dialRaw(t *testing.T, n *node, from uint64, change func(*http.Request, *hello)) (*http.Response, net.Conn) {
	t.Helper()
	priv, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &hello{
		Cluster: testCluster, From: from, To: uint64(n.id), Incarnation: 1, Instance: randomBytes(16),
		WireMin: wireMin, WireMax: wireMax, Features: ownFeatures, Key: priv.PublicKey().Bytes(),
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+BootstrapPath, strings.NewReader(upgradeBody))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": upgradeToken, "X-Server-From": types.ID(from).String(), "X-Server-Version": version.Version,
		"X-Min-Cluster-Version": version.MinClusterVersion, "X-Etcd-Cluster-ID": types.ID(testCluster).String(), "X-Raft-To": n.id.String(),
	} {
		req.Header.Set(k, v)
	}
	change(req, h)
	if req.Header.Get(helloHeader) == "" {
		req.Header.Set(helloHeader, h.encode())
	}
	conn, err := net.Dial("tcp", n.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp, conn
}

func TestBootstrapRefuses(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{stock: true})
	n := nodes[0]
	n.raft.update(func() { n.raft.removed[66] = true })
	for _, c := range []struct {
		name   string
		from   uint64
		status int
		text   string
		change func(*http.Request, *hello)
	}{
		{"method", 2, http.StatusMethodNotAllowed, "", func(r *http.Request, _ *hello) { r.Method = http.MethodPost }},
		{"cluster", 2, http.StatusPreconditionFailed, "cluster ID mismatch", func(r *http.Request, _ *hello) { r.Header.Set("X-Etcd-Cluster-ID", "1") }},
		{"cluster of the hello", 2, http.StatusPreconditionFailed, "identity", func(_ *http.Request, h *hello) { h.Cluster = 1 }},
		{"old etcd", 2, http.StatusPreconditionFailed, "incompatible version", func(r *http.Request, _ *hello) { r.Header.Set("X-Server-Version", "2.3.0") }},
		{"newer cluster", 2, http.StatusPreconditionFailed, "incompatible version", func(r *http.Request, _ *hello) { r.Header.Set("X-Min-Cluster-Version", "99.0.0") }},
		{"no version", 2, http.StatusPreconditionFailed, "X-Server-Version", func(r *http.Request, _ *hello) { r.Header.Del("X-Server-Version") }},
		{"addressee", 2, http.StatusPreconditionFailed, "to field mismatch", func(r *http.Request, _ *hello) { r.Header.Set("X-Raft-To", "9") }},
		{"unknown member", 55, http.StatusNotFound, "sender not found", func(*http.Request, *hello) {}},
		{"removed member", 66, http.StatusGone, "removed", func(*http.Request, *hello) {}},
		{"no id", 2, http.StatusNotFound, "invalid from", func(r *http.Request, _ *hello) { r.Header.Set("X-Server-From", "?") }},
		{"wire version", 2, http.StatusPreconditionFailed, "wire version", func(_ *http.Request, h *hello) { h.WireMin, h.WireMax = wireMax+1, wireMax+1 }},
		{"required feature", 2, http.StatusPreconditionFailed, "unknown feature", func(_ *http.Request, h *hello) { h.Require = 1 << 50 }},
		{"wrong proof", 2, http.StatusForbidden, "proof", func(_ *http.Request, h *hello) { h.Proof, h.ProofFor = randomBytes(32), n.dv.incarnation }},
		{"hello of another member", 2, http.StatusPreconditionFailed, "identity", func(_ *http.Request, h *hello) { h.From = 3 }},
		{"garbage", 2, http.StatusPreconditionFailed, "", func(r *http.Request, _ *hello) { r.Header.Set(helloHeader, "%%%") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, _ := dialRaw(t, n, c.from, c.change)
			text, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || !strings.Contains(string(text), c.text) {
				t.Errorf("got %s %q, want %d with %q", resp.Status, text, c.status, c.text)
			}
			if resp.Header.Get(versionHeader) == "" {
				t.Error("the answer does not say that this member has the transport: its peer would take it for a stock one")
			}
		})
	}
	if resp, _ := dialRaw(t, n, 2, func(*http.Request, *hello) {}); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("negative control: a good dial got %s", resp.Status)
	}
}

// Somebody who dials in a member's name, without having been reached under its
// URL, does not take over that member's stream.
func TestImpostorDoesNotDisplace(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	a, b := nodes[0], nodes[1]
	eventually(t, "b's stream is proven", func() bool { return a.dv.peer(b.id).provenStreamAlive() })
	resp, _ := dialRaw(t, a, uint64(b.id), func(_ *http.Request, h *hello) { h.Incarnation = b.dv.incarnation + 1 })
	if resp.StatusCode != http.StatusConflict {
		t.Errorf("the impostor got %s", resp.Status)
	}
	exchange(t, nodes)
	// What the proof covers cannot be used for another key.
	token, incarnation := b.dv.peer(a.id).theirToken()
	resp, _ = dialRaw(t, a, uint64(b.id), func(_ *http.Request, h *hello) {
		h.ProofFor = incarnation
		h.Proof = proof(token, h.From, h.To, h.Incarnation, incarnation, randomBytes(keyLen))
	})
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a proof for another key got %s", resp.Status)
	}
}

// blackhole forwards connections to a peer URL until it is told to swallow.
type blackhole struct {
	net.Listener
	target  string
	swallow chan struct{}
}

func newBlackhole(t *testing.T, target string) *blackhole {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &blackhole{l, target, make(chan struct{})}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { in.Close() })
			go b.serve(t, in)
		}
	}()
	return b
}

func (b *blackhole) serve(t *testing.T, in net.Conn) {
	out, err := net.Dial("tcp", b.target)
	if err != nil {
		in.Close()
		return
	}
	defer out.Close()
	defer in.Close()
	pipe := func(to, from net.Conn) {
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				to.Close()
				return
			}
			select {
			case <-b.swallow:
				continue
			default:
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	go pipe(out, in)
	pipe(in, out)
}

// The udp fabric stands where the peer listener does.
func TestUDPBindsPeerListener(t *testing.T) {
	n := newNode(t, 1, nodeOptions{})
	_, port, err := net.SplitHostPort(n.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n.start(t, nodeOptions{config: Config{PeerListener: ":" + port}})
	t.Cleanup(n.stop)
	got := n.dv.roads[0].port.(*udpSide).LocalAddr()
	if !got.Addr().IsUnspecified() || strconv.Itoa(int(got.Port())) != port {
		t.Errorf("bound %s, want port %s of all addresses", got, port)
	}
}

// A member behind a proxy or a port mapping uses udp only if it is told where.
func TestForwardedMemberOffersNoUDP(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"not told":       {Config{PeerListener: "127.0.0.1:1"}, FabricStream},
		"told to listen": {Config{PeerListener: "127.0.0.1:1", ListenUDP: "127.0.0.1:0"}, FabricUDP},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := startNodes(t, nodeOptions{config: c.config}, nodeOptions{})
			onPath(t, c.want, nodes...)
			if err := nodes[0].dv.roads[0].err; errors.Is(err, errForwarded) != (c.want == FabricStream) {
				t.Errorf("reason: %v", err)
			}
		})
	}
	if _, _, err := (&Transport{cfg: Config{PeerListener: "127.0.0.1:1", AdvertiseUDP: "127.0.0.1:2"}}).peerListener(); err != nil {
		t.Errorf("told where: %v", err)
	}
}

// Side fabrics obey the peer URL: when it goes silent, frames stop using them,
// although nothing is wrong with them.
func TestSideFabricObeysPeerURL(t *testing.T) {
	t.Run("udp", func(t *testing.T) { obeysPeerURL(t, Config{}, FabricUDP, false) })
	t.Run("udp is trusted", func(t *testing.T) {
		obeysPeerURL(t, Config{TrustFabric: true, ListenUDP: "127.0.0.1:0"}, FabricUDP, true)
	})
	t.Run("shm", func(t *testing.T) { obeysPeerURL(t, withShm(t), FabricShm, false) })
	t.Run("shm is trusted", func(t *testing.T) {
		c := withShm(t)
		c.TrustFabric = true
		obeysPeerURL(t, c, FabricShm, true)
	})
	t.Run("trust is for what was given", func(t *testing.T) {
		c := withShm(t)
		c.TrustFabric, c.Fabrics = true, []string{FabricUDP, FabricShm}
		obeysPeerURL(t, c, FabricUDP, false)
	})
}

func obeysPeerURL(t *testing.T, config Config, name string, trusted bool) {
	config.ControlTimeout = 500 * time.Millisecond
	o := nodeOptions{config: config}
	a, b := newNode(t, 1, o), newNode(t, 2, o)
	hole := newBlackhole(t, a.listener.Addr().String())
	a.start(t, o)
	t.Cleanup(a.stop)
	b.start(t, o)
	t.Cleanup(b.stop)
	a.tr.AddPeer(b.id, []string{b.url})
	b.tr.AddPeer(a.id, []string{"http://" + hole.Addr().String()})
	onPath(t, name, a, b)
	close(hole.swallow)
	if trusted {
		eventually(t, "the stream is given up", func() bool { return !b.dv.peer(1).dialled() })
		if got := b.dv.peer(1).pathName(); got != name {
			t.Errorf("a trusted fabric was given up for %s", got)
		}
		return
	}
	eventually(t, "a gives it up", func() bool { return a.dv.peer(2).pathName() != name })
	eventually(t, "b gives it up", func() bool { return b.dv.peer(1).pathName() != name })
}

// A member that ran late itself suspects nobody for the time that it lost, and
// does so afterwards.
func TestLateLoopStartsAnew(t *testing.T) {
	tr := &Transport{cfg: Config{ControlTimeout: time.Hour}}
	p := &peer{t: tr}
	now := time.Now()
	for _, c := range []struct {
		name        string
		heard, late time.Duration // ago; 0: never
		want        bool
	}{
		{"never heard", 0, time.Minute, false},
		{"heard", time.Minute, 0, true},
		{"silent", 2 * time.Hour, 0, false},
		{"silent, and late just now", time.Hour + time.Second, time.Hour - 5*time.Second, true},
		{"silent, and late long ago", 2 * time.Hour, time.Hour + time.Minute, false},
		{"silent for longer than lateness explains", 2 * time.Hour, time.Minute, false},
	} {
		var heard time.Time
		if c.heard != 0 {
			heard = now.Add(-c.heard)
		}
		tr.late.clear()
		if c.late != 0 {
			tr.late.set(now.Add(-c.late))
		}
		if got := p.fresh(heard); got != c.want {
			t.Errorf("%s: fresh is %v", c.name, got)
		}
	}
}
