package bench

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// What is compared as sealed must be sealed on both sides: whoever speaks
// without TLS, or has no certificate, is not heard.
func TestSealedRefusesStrangers(t *testing.T) {
	certs, remove, err := certificates(true)
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	for _, makeSystem := range []func() *system{tcpSystem, grpcSystem} {
		g, err := openGroup(t.Context(), makeSystem(), 2, certs)
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		var heard atomic.Int64
		m := g.members[1]
		m.node.on(func(*raftpb.Message) { heard.Add(1) })
		own := m.tr.(*beside)
		addr := own.book.addrs[m.id]
		batch, err := appendMessage(nil, accept(1, 2, 3))
		if err != nil {
			t.Fatal(err)
		}
		for name, dial := range map[string]func() (net.Conn, error){
			"no TLS":         func() (net.Conn, error) { return net.Dial("tcp", addr) },
			"no certificate": func() (net.Conn, error) { return tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) },
		} {
			c, err := dial()
			if err != nil {
				continue // refused already
			}
			_, _ = c.Write(batch) // it may be closed by now
			c.SetReadDeadline(time.Now().Add(readyTimeout))
			if _, err := io.Copy(io.Discard, c); err != nil && isTimeout(err) {
				t.Errorf("%s: %s was not turned away", g.sys.name, name)
			}
			c.Close()
		}
		plain := unsealed(t, makeSystem)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if c, err := plain.dial(ctx, addr); err == nil {
			_ = c.send(batch)
			c.close()
		}
		if n := heard.Load(); n != 0 {
			t.Errorf("%s: %d messages of strangers were heard", g.sys.name, n)
		}
		// The control: a peer is heard.
		came := make(chan struct{}, 1)
		m.node.on(func(*raftpb.Message) { signal(came) })
		g.leader().tr.Send([]*raftpb.Message{accept(1, 2, 3)})
		select {
		case <-came:
		case <-time.After(readyTimeout):
			t.Errorf("%s: a peer is not heard", g.sys.name)
		}
	}
}

// The control: without TLS anybody is heard.
func TestClearHearsStrangers(t *testing.T) {
	g := openTest(t, tcpSystem(), 2)
	came := make(chan struct{}, 1)
	m := g.members[1]
	m.node.on(func(*raftpb.Message) { signal(came) })
	c, err := net.Dial("tcp", m.tr.(*beside).book.addrs[m.id])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	batch, err := appendMessage(nil, accept(1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(batch); err != nil {
		t.Fatal(err)
	}
	select {
	case <-came:
	case <-time.After(readyTimeout):
		t.Error("a message on a new connection is not handed over")
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// unsealed is how a member without certificates would dial.
func unsealed(t *testing.T, makeSystem func() *system) network {
	t.Helper()
	tr, err := makeSystem().open(memberParams{id: 9, raft: newNode()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.(*beside).cancel)
	return tr.(*beside).net
}

// A port that cannot poll has no numbers for that, and one that encrypts nothing
// is compared in clear only.
func TestWhatPortsCannot(t *testing.T) {
	cfg := short
	cfg.Ports, cfg.Sealed, cfg.Pairs = []string{PortTCP, PortRawUDP}, SealedBoth, 1
	var got []TransportResult
	if err := RunTransport(t.Context(), cfg, func(r TransportResult) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Sealed || !got[1].Sealed || got[2].Sealed || got[2].Port != PortRawUDP {
		t.Fatalf("%+v", got)
	}
	for _, r := range got {
		if r.RTTSpinUs != 0 || r.RatioRTTSpin != 0 || r.RTTBlockUs <= 0 || r.RatioRTTBlock <= 0 || r.Sent == 0 {
			t.Errorf("%+v", r)
		}
	}
	if plots := TransportPlots(got); len(plots) != 3 {
		t.Errorf("%d plots: nothing polls", len(plots))
	}
}
