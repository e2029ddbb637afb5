package udp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linuxSocket uses sendmsg and recvmsg with UDP_SEGMENT and UDP_GRO where the
// kernel has them: one call then moves up to 64 datagrams.
type linuxSocket struct {
	conn     *net.UDPConn
	raw      syscall.RawConn
	inet6    bool
	info     conduitInfo
	segments atomic.Bool
}

func openSocket(cfg *Config) (conduit, error) {
	conn, err := bind(cfg)
	if err != nil {
		return nil, err
	}
	s := &linuxSocket{conn: conn}
	if s.raw, err = conn.SyscallConn(); err == nil {
		err = s.raw.Control(func(fd uintptr) { s.configure(int(fd), cfg) })
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	s.info.inline = true
	return s, nil
}

// configure sets options; each is an improvement that the port can do without.
func (s *linuxSocket) configure(fd int, cfg *Config) {
	family, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	s.inet6 = family == unix.AF_INET6
	// Don't fragment, and leave the path's MTU to us (RFC 8899 §3).
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	if s.inet6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	}
	setBuffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, cfg.SocketBuffer)
	setBuffer(fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, cfg.SocketBuffer)
	s.info.receiveBuffer, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if cfg.DisableOffload || !offload() {
		return
	}
	s.info.segments = true
	s.segments.Store(true)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
}

// setBuffer asks for a socket buffer; who may exceed the system's limit does.
func setBuffer(fd, option, force, size int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size)
	if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option); err == nil && got < 2*size {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size)
	}
}

// offload reports whether the kernel has UDP_SEGMENT. Only a conclusive answer
// is kept.
func offload() bool {
	offloadProbe.Lock()
	defer offloadProbe.Unlock()
	if offloadProbe.known {
		return offloadProbe.has
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	switch {
	case err == nil:
		offloadProbe.known, offloadProbe.has = true, true
	case errors.Is(err, unix.ENOPROTOOPT):
		offloadProbe.known = true
	}
	return offloadProbe.has
}

var offloadProbe struct {
	sync.Mutex
	known, has bool
}

func (s *linuxSocket) about() conduitInfo { return s.info }

func (s *linuxSocket) localAddr() netip.AddrPort {
	return unmap(s.conn.LocalAddr().(*net.UDPAddr).AddrPort())
}

func (s *linuxSocket) close() error { return s.conn.Close() }

// topDatagram asks the kernel for the route's MTU with a connected socket that
// never sends.
func (s *linuxSocket) topDatagram(to netip.AddrPort) int {
	mtu := usualMTU
	if conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)); err == nil {
		defer conn.Close()
		if raw, err := conn.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) {
				level, option := unix.IPPROTO_IPV6, unix.IPV6_MTU
				if to.Addr().Unmap().Is4() {
					level, option = unix.IPPROTO_IP, unix.IP_MTU
				}
				if n, err := unix.GetsockoptInt(int(fd), level, option); err == nil {
					mtu = n
				}
			})
		}
	}
	return datagramFor(mtu, to.Addr())
}

// sockaddr is a socket address in the kernel's form.
type sockaddr struct {
	raw unix.RawSockaddrAny
	len uint32
}

func (a *sockaddr) set(to netip.AddrPort, inet6 bool) {
	addr := to.Addr().Unmap()
	if !inet6 {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		*sa = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: addr.As4()}
		putPort(&sa.Port, to.Port())
		a.len = unix.SizeofSockaddrInet4
		return
	}
	sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&a.raw))
	*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: addr.As16(), Scope_id: scope(addr.Zone())}
	putPort(&sa.Port, to.Port())
	a.len = unix.SizeofSockaddrInet6
}

func (a *sockaddr) get() netip.AddrPort {
	switch a.raw.Addr.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), getPort(&sa.Port))
	case unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&a.raw))
		addr := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.Scope_id != 0 {
			addr = addr.WithZone(strconv.Itoa(int(sa.Scope_id)))
		}
		return netip.AddrPortFrom(addr, getPort(&sa.Port))
	}
	return netip.AddrPort{}
}

func putPort(p *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(p))[:], port)
}

func getPort(p *uint16) uint16 { return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(p))[:]) }

// scope is the interface's number in the kernel.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.Atoi(zone); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(zone); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}

// message is the argument of sendmsg and recvmsg. It holds everything that the
// kernel reads and writes, so that a call allocates nothing.
type message struct {
	hdr  unix.Msghdr
	iov  unix.Iovec
	addr sockaddr
	oob  [64]byte
	n    int
	err  syscall.Errno
	wait bool
	call func(fd uintptr) bool
}

func (m *message) point(b []byte) {
	m.iov.Base = &b[0]
	m.iov.SetLen(len(b))
	m.hdr.Iov = &m.iov
	m.hdr.SetIovlen(1)
	m.hdr.Name = (*byte)(unsafe.Pointer(&m.addr.raw))
}

// linuxSender is one goroutine's sendmsg.
type linuxSender struct {
	s    *linuxSocket
	m    message
	dest netip.AddrPort
}

func (s *linuxSocket) newSender() sender {
	x := &linuxSender{s: s}
	x.m.call = func(fd uintptr) bool {
		for {
			_, _, x.m.err = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&x.m.hdr)), unix.MSG_DONTWAIT)
			if x.m.err != unix.EINTR {
				return x.m.err != unix.EAGAIN || !x.m.wait
			}
		}
	}
	return x
}

func (x *linuxSender) send(b []byte, seg int, to netip.AddrPort, wait bool) (int, error) {
	if to != x.dest {
		if !x.s.inet6 && !to.Addr().Unmap().Is4() {
			return 0, unix.EAFNOSUPPORT
		}
		x.dest = to
		x.m.addr.set(to, x.s.inet6)
	}
	if seg < len(b) && x.s.segments.Load() {
		err := x.sendOne(b, seg, wait)
		if err == nil {
			return len(b), nil
		}
		if err != unix.EIO && err != unix.EINVAL {
			return 0, err
		}
		// The device cannot checksum segments: do without from now on.
		x.s.segments.Store(false)
	}
	for sent := 0; ; {
		n := min(seg, len(b)-sent)
		if err := x.sendOne(b[sent:sent+n], n, wait); err != nil {
			return sent, err
		}
		if sent += n; sent == len(b) {
			return sent, nil
		}
	}
}

func (x *linuxSender) sendOne(b []byte, seg int, wait bool) error {
	m := &x.m
	m.point(b)
	m.hdr.Namelen = x.m.addr.len
	m.hdr.Control = nil
	m.hdr.SetControllen(0)
	if seg < len(b) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&m.oob[0]))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(m.oob[unix.CmsgLen(0):], uint16(seg))
		m.hdr.Control = &m.oob[0]
		m.hdr.SetControllen(unix.CmsgSpace(2))
	}
	m.wait = false
	err := x.s.raw.Write(m.call)
	if err == nil && m.err == unix.EAGAIN && wait {
		m.wait = true
		_ = x.s.conn.SetWriteDeadline(time.Now().Add(sendPatience))
		err = x.s.raw.Write(m.call)
		_ = x.s.conn.SetWriteDeadline(time.Time{})
	}
	switch {
	case err != nil && errors.Is(err, os.ErrDeadlineExceeded), err == nil && m.err == unix.EAGAIN:
		return errAgain
	case err != nil:
		return err
	case m.err == unix.EMSGSIZE:
		return errTooBig
	case m.err != 0:
		return m.err
	}
	return nil
}

// linuxReceiver is one goroutine's recvmsg.
type linuxReceiver struct {
	s *linuxSocket
	m message
}

func (s *linuxSocket) newReceiver() receiver {
	x := &linuxReceiver{s: s}
	x.m.call = func(fd uintptr) bool {
		for {
			x.m.hdr.Namelen = uint32(unsafe.Sizeof(x.m.addr.raw))
			x.m.hdr.SetControllen(len(x.m.oob))
			n, _, err := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&x.m.hdr)), unix.MSG_DONTWAIT)
			if x.m.n, x.m.err = int(n), err; err != unix.EINTR {
				return err != unix.EAGAIN || !x.m.wait
			}
		}
	}
	return x
}

func (x *linuxReceiver) recv(b []byte, wait bool) (n, seg int, from netip.AddrPort, err error) {
	m := &x.m
	m.point(b)
	m.hdr.Control = &m.oob[0]
	m.wait = wait
	if err := x.s.raw.Read(m.call); err != nil {
		return 0, 0, from, err
	}
	if m.err != 0 {
		if m.err == unix.EAGAIN {
			return 0, 0, from, errAgain
		}
		return 0, 0, from, m.err
	}
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		return 0, 0, from, nil // not ours: all of ours fit
	}
	return m.n, m.segment(), m.addr.get(), nil
}

// segment is the size of the datagrams that UDP_GRO put together.
func (m *message) segment() int {
	if int(m.hdr.Controllen) >= unix.CmsgLen(4) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&m.oob[0]))
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO {
			return int(binary.NativeEndian.Uint32(m.oob[unix.CmsgLen(0):]))
		}
	}
	return m.n
}
