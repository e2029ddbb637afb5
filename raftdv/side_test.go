package raftdv

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A peer whose name cannot be looked up for a while, as happens where members
// and their names are made at the same time, is reached by udp afterwards.
func TestNameIsLookedUpAgain(t *testing.T) {
	var works atomic.Bool
	var asked atomic.Int32
	lookup := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if host != "b.example" {
			return []netip.Addr{netip.MustParseAddr(host)}, nil
		}
		if asked.Add(1); !works.Load() {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	config := Config{StockRetry: 10 * time.Millisecond}
	a, b := newNode(t, 1, nodeOptions{}), newNode(t, 2, nodeOptions{})
	a.start(t, nodeOptions{config: config, lookup: lookup})
	t.Cleanup(a.stop)
	_, port, err := net.SplitHostPort(b.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	config.AdvertiseUDP = net.JoinHostPort("b.example", port)
	b.start(t, nodeOptions{config: config})
	t.Cleanup(b.stop)
	a.tr.AddPeer(b.id, []string{b.url})
	b.tr.AddPeer(a.id, []string{a.url})
	onPath(t, FabricStream, a)
	eventually(t, "a has asked again and again", func() bool { return asked.Load() > 3 })
	if why := a.dv.State().Peers[0].SideError; !strings.Contains(why, "no such host") {
		t.Errorf("side error %q", why)
	}
	p := a.dv.peer(b.id)
	p.metrics.fallbacksMu.Lock()
	if n := p.metrics.fallbacks["no-session"]; n != 1 {
		t.Errorf("one reason was counted %d times", n)
	}
	p.metrics.fallbacksMu.Unlock()
	works.Store(true)
	onPath(t, FabricUDP, a, b)
	if why := a.dv.State().Peers[0].SideError; why != "" {
		t.Errorf("side error %q of a peer that is reached", why)
	}
	settled := asked.Load()
	exchange(t, []*node{a, b})
	if asked.Load() != settled {
		t.Error("the name is still looked up")
	}
}

func TestResolve(t *testing.T) {
	tr := &Transport{lookup: net.DefaultResolver.LookupNetIP}
	p := &peer{t: tr, ctx: t.Context()}
	for offered, want := range map[string]string{
		"127.0.0.1:7": "127.0.0.1:7", "[::1]:7": "[::1]:7", "[::ffff:10.0.0.1]:7": "10.0.0.1:7",
	} {
		if got, err := p.resolve(offered); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", offered, got, err)
		}
	}
	for _, bad := range []string{"", "1", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"} {
		if got, err := p.resolve(bad); err == nil {
			t.Errorf("%q gives %v", bad, got)
		}
	}
}
