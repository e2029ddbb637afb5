package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// conduit is a port's socket. Tests put channels that lose and forge in its place.
type conduit interface {
	// newSender and newReceiver make the state of one goroutine's calls.
	newSender() sender
	newReceiver() receiver
	// about says what the socket can do.
	about() conduitInfo
	// topDatagram is the largest datagram that the route's interface takes.
	topDatagram(to netip.AddrPort) int
	localAddr() netip.AddrPort
	close() error
}

type conduitInfo struct {
	segments      bool // many datagrams in one call
	receiveBuffer int  // bytes, as the kernel accounts for them
	inline        bool // send without wait never blocks
}

// sender transmits datagrams to one peer.
type sender interface {
	// send transmits b as datagrams of seg bytes each, the last one perhaps
	// shorter, and says how many bytes have left. Without wait it returns
	// errAgain rather than block, with it after at most sendPatience. errTooBig:
	// the interface refuses the size.
	send(b []byte, seg int, to netip.AddrPort, wait bool) (sent int, err error)
}

// receiver takes datagrams.
type receiver interface {
	// recv fills b with datagrams of seg bytes each, all from one source, the
	// last one perhaps shorter. Without wait it returns errAgain rather than
	// block.
	recv(b []byte, wait bool) (n, seg int, from netip.AddrPort, err error)
}

var (
	errAgain  = errors.New("socket buffer is full or empty")
	errTooBig = errors.New("datagram exceeds the interface's MTU")
)

const (
	// sendPatience bounds the wait for room in the socket buffer; what does not
	// leave by then counts as lost.
	sendPatience = 5 * time.Millisecond
	// usualMTU is assumed where the interface's is not known.
	usualMTU = 1500
	// maxBatch bounds a batch of datagrams in bytes, maxSegments in number:
	// UDP_MAX_SEGMENTS of Linux.
	maxBatch    = 65507
	maxSegments = 64

	ipv4Overhead = 20 + 8
	ipv6Overhead = 40 + 8
)

// bind opens the configured socket.
func bind(cfg *Config) (*net.UDPConn, error) {
	if cfg.Conn != nil {
		return cfg.Conn, nil
	}
	addr, err := net.ResolveUDPAddr("udp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("udp: address to listen on: %w", err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	return conn, nil
}

func datagramFor(mtu int, to netip.Addr) int {
	n := mtu - ipv6Overhead
	if to.Unmap().Is4() {
		n = mtu - ipv4Overhead
	}
	return min(max(n, minDatagram), maxDatagram)
}

// unmap makes addresses comparable, whatever the socket's family.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
