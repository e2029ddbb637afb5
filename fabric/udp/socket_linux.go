package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
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
//
// The Go runtime must not watch the socket itself. It watches for room to write
// too, and Linux announces that for each datagram that has left, so that every
// send would wake a thread of this process for nothing. Instead it watches an
// epoll instance that watches the socket for datagrams alone.
type linuxSocket struct {
	file     *os.File        // the socket, unknown to the runtime's poller
	raw      syscall.RawConn // its; Control keeps the descriptor open meanwhile
	arrivals *os.File        // readable when the socket is
	wait     syscall.RawConn // arrivals'
	local    netip.AddrPort
	inet6    bool
	info     conduitInfo
	segments atomic.Bool
}

func openSocket(cfg *Config) (conduit, error) {
	conn, err := bind(cfg)
	if err != nil {
		return nil, err
	}
	s := &linuxSocket{local: unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())}
	s.file, err = withdraw(conn)
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	if s.raw, err = s.file.SyscallConn(); err == nil {
		err = s.raw.Control(func(fd uintptr) {
			s.configure(int(fd), cfg)
			s.arrivals, err = watchArrivals(int(fd))
		})
	}
	if err == nil {
		s.wait, err = s.arrivals.SyscallConn()
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("udp: %w", err)
	}
	s.info.inline = true
	return s, nil
}

// withdraw takes the socket out of conn, and so out of the runtime's sight, and
// closes conn.
func withdraw(conn *net.UDPConn) (*os.File, error) {
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	dup := -1
	cerr := raw.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(cerr, err); err != nil {
		return nil, fmt.Errorf("duplicate the socket: %w", err)
	}
	// os.NewFile has the runtime watch what does not block. All calls of this
	// file say MSG_DONTWAIT themselves.
	if err := unix.SetNonblock(dup, false); err != nil {
		unix.Close(dup)
		return nil, err
	}
	return os.NewFile(uintptr(dup), "udp socket"), nil
}

// watchArrivals returns an epoll instance as a file that the runtime watches.
func watchArrivals(socket int) (*os.File, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, socket, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(socket)})
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return os.NewFile(uintptr(fd), "udp arrivals"), nil
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

func (s *linuxSocket) localAddr() netip.AddrPort { return s.local }

func (s *linuxSocket) close() error {
	if s.arrivals == nil {
		return s.file.Close()
	}
	return errors.Join(s.arrivals.Close(), s.file.Close())
}

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
	call func(fd uintptr) // for RawConn.Control
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
	x.m.call = func(fd uintptr) {
		for x.m.err = unix.EINTR; x.m.err == unix.EINTR; {
			_, _, x.m.err = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&x.m.hdr)), unix.MSG_DONTWAIT)
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
	err := x.s.raw.Control(m.call)
	if err == nil && m.err == unix.EAGAIN && wait && x.s.waitForRoom() {
		err = x.s.raw.Control(m.call)
	}
	switch {
	case err != nil:
		return err
	case m.err == unix.EAGAIN:
		return errAgain
	case m.err == unix.EMSGSIZE:
		return errTooBig
	case m.err != 0:
		return m.err
	}
	return nil
}

// waitForRoom waits for room in the socket's buffer, for at most sendPatience,
// and occupies a thread meanwhile: it is rare.
func (s *linuxSocket) waitForRoom() (ok bool) {
	_ = s.raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(fds, int(sendPatience/time.Millisecond))
		ok = n > 0 || err == unix.EINTR
	})
	return ok
}

// linuxReceiver is one goroutine's recvmsg.
type linuxReceiver struct {
	s *linuxSocket
	m message
	// once receives what is there, for RawConn.Read.
	once func(uintptr) (done bool)
	err  error
}

func (s *linuxSocket) newReceiver() receiver {
	x := &linuxReceiver{s: s}
	x.m.call = func(fd uintptr) {
		for x.m.err = unix.EINTR; x.m.err == unix.EINTR; {
			x.m.hdr.Namelen = uint32(unsafe.Sizeof(x.m.addr.raw))
			x.m.hdr.SetControllen(len(x.m.oob))
			var n uintptr
			n, _, x.m.err = unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&x.m.hdr)), unix.MSG_DONTWAIT)
			x.m.n = int(n)
		}
	}
	x.once = func(uintptr) bool {
		x.err = x.s.raw.Control(x.m.call)
		return x.err != nil || x.m.err != unix.EAGAIN
	}
	return x
}

func (x *linuxReceiver) recv(b []byte, wait bool) (n, seg int, from netip.AddrPort, err error) {
	m := &x.m
	m.point(b)
	m.hdr.Control = &m.oob[0]
	if wait {
		err = x.s.wait.Read(x.once)
	} else {
		x.once(0)
	}
	if err = errors.Join(err, x.err); err != nil {
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
