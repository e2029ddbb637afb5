package raftdv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/udp"
)

// udpSide is the udp fabric of a transport.
type udpSide struct {
	*udp.Port
	cfg *Config
}

// openUDP binds the configured address, or the peer listener's.
func openUDP(t *Transport, h fabric.Handler) (*udpSide, error) {
	open := func(addr string) (*udp.Port, error) {
		return udp.New(udp.Config{
			Self: t.member(), Incarnation: t.incarnation, Listen: addr,
			TicketTimeout: t.cfg.TicketTimeout, Spin: max(t.cfg.Spin, 0), RowInterval: rowInterval,
		}, h)
	}
	port, err := t.bindUDP(open)
	if err != nil {
		return nil, err
	}
	return &udpSide{port, &t.cfg}, nil
}

func (t *Transport) bindUDP(open func(string) (*udp.Port, error)) (*udp.Port, error) {
	if t.cfg.ListenUDP != "" {
		port, err := open(t.cfg.ListenUDP)
		if err != nil {
			return nil, fmt.Errorf("bind udp %s: %w: set --dv-listen-udp to an address of this host", t.cfg.ListenUDP, err)
		}
		return port, nil
	}
	if t.cfg.PeerListener == "" && len(t.URLs) == 0 { // a program that does not tell its own: peers learn the port
		return open(":0")
	}
	host, number, err := t.peerListener()
	if err != nil {
		return nil, err
	}
	port, err := open(net.JoinHostPort(host, number))
	if err != nil {
		port, err = open(net.JoinHostPort("", number))
	}
	if err != nil {
		return nil, fmt.Errorf("bind udp port %s: %w: set --dv-listen-udp", number, err)
	}
	return port, nil
}

func (s *udpSide) address() string { return s.LocalAddr().String() }

func (s *udpSide) given() bool { return s.cfg.ListenUDP != "" || s.cfg.AdvertiseUDP != "" }

func (s *udpSide) offer() offer {
	addr := s.cfg.AdvertiseUDP
	if addr == "" {
		addr = net.JoinHostPort("", strconv.Itoa(int(s.LocalAddr().Port())))
	}
	return offer{Addr: addr}
}

func (s *udpSide) connect(p *peer, theirs offer, with *controlStream, keys sideKeys) error {
	addr, err := p.resolve(theirs.Addr)
	if err != nil {
		return err
	}
	return s.Connect(p.member, udp.Session{
		Addr: addr, PeerIncarnation: with.theirs.Incarnation, SendKey: keys.send, RecvKey: keys.recv,
		SendIndex: keys.sendIndex, RecvIndex: keys.recvIndex, Sealed: with.sealed,
	})
}

// peerListener is where udp listens unless it was told.
func (t *Transport) peerListener() (host, port string, err error) {
	if t.cfg.PeerListener == "" {
		return urlAddress(t.URLs)
	}
	host, port, err = net.SplitHostPort(t.cfg.PeerListener)
	if err == nil && t.cfg.AdvertiseUDP == "" && !slices.ContainsFunc(t.URLs, func(u url.URL) bool { return u.Port() == port }) {
		err = fmt.Errorf("%w: they use %s, this member listens on %s: set --dv-advertise-udp to the address that passes udp, if one does",
			errForwarded, strings.Join(t.URLs.StringSlice(), ","), t.cfg.PeerListener)
	}
	return host, port, err
}

// errForwarded: something stands between the peers and the listener (a proxy, a
// port mapping). It may know nothing of udp, and must not be gone round unasked:
// whatever cuts the peer URL has to cut the member off at once.
var errForwarded = errors.New("peers reach this member through something else")

// urlAddress is the address of the first URL that has one.
func urlAddress(urls types.URLs) (host, port string, err error) {
	for _, u := range urls {
		if u.Scheme == "http" || u.Scheme == "https" {
			if u.Port() == "" {
				continue
			}
			return u.Hostname(), u.Port(), nil
		}
	}
	return "", "", fmt.Errorf("no peer URL of this member has a host and port (%s): set --dv-listen-udp", strings.Join(urls.StringSlice(), ","))
}

// resolve turns an offered address into one to send to; a missing host is
// that of the peer URL.
func (p *peer) resolve(offered string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(offered)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("peer offers address %q: %w", offered, err)
	}
	if host == "" {
		u := p.urls.pick()
		host = u.Hostname()
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("peer offers address %q: %w", offered, err)
	}
	ctx, cancel := context.WithTimeout(p.ctx, lookupTimeout)
	defer cancel()
	addrs, err := p.t.lookup(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, errPassing{fmt.Errorf("peer offers address %q: %w: mend the name service, or set --dv-advertise-udp there", offered, err)}
	}
	return netip.AddrPortFrom(preferIPv4(addrs).Unmap(), uint16(number)), nil
}

// lookupTimeout bounds asking the name service for a peer's address.
const lookupTimeout = 5 * time.Second

// preferIPv4 picks as net.ResolveUDPAddr does.
func preferIPv4(addrs []netip.Addr) netip.Addr {
	if i := slices.IndexFunc(addrs, func(a netip.Addr) bool { return a.Unmap().Is4() }); i >= 0 {
		return addrs[i]
	}
	return addrs[0]
}
