package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what probes look at. Tests put others in the places.
type machine struct {
	option   func(network string, level, name, value int) error // sets it on a new socket
	buffer   func(size int) (int, error)                        // granted when asked for
	exchange func(network string) error                         // over loopback
	memory   func() error
	peerUser func() (uid int, err error)
	uid      int
	limit    func() (uint64, error) // RLIMIT_MEMLOCK
	glob     func(pattern string) ([]string, error)
	read     func(name string) ([]byte, error)
	clock    func() (synced bool, worst time.Duration, err error)
	admin    func() (bool, error)
	cores    int
	load     func() (float64, error)
}

func thisMachine() *machine {
	return &machine{
		option: setOption, buffer: receiveBuffer, exchange: exchange, memory: shareMemory, peerUser: ownPeerUser, uid: os.Getuid(),
		limit: memlock, glob: filepath.Glob, read: os.ReadFile, clock: clockState, admin: hasNetAdmin, cores: runtime.GOMAXPROCS(0), load: loadAverage,
	}
}

func (m *machine) kernel() string {
	text, err := m.read("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

var probes = []probe{
	{tcpLoopback, "TCP over loopback", func(m *machine) (bool, string, error) { return worked(m.exchange("tcp")) },
		"allow TCP on the loopback interface: ip link set lo up"},
	{udpSocket, "UDP over loopback", func(m *machine) (bool, string, error) { return worked(m.exchange("udp")) },
		"allow UDP on the loopback interface, and on the port of the peer URL between members"},
	{udpSegment, "many datagrams in one call to send (UDP_SEGMENT)", hasOption("udp", unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1200),
		"run Linux 4.18 or newer"},
	{udpGRO, "many datagrams in one call to receive (UDP_GRO)", hasOption("udp", unix.IPPROTO_UDP, unix.UDP_GRO, 1),
		"run Linux 5.0 or newer"},
	{udpBuffers, fmt.Sprintf("socket buffers of %d KiB", wantedBuffer>>10), askBuffers,
		fmt.Sprintf("sysctl -w net.core.rmem_max=%d net.core.wmem_max=%[1]d, and keep it in /etc/sysctl.d", wantedBuffer)},
	{pathMTU, "datagrams larger than 1,200 bytes (path MTU discovery)", hasOption("udp", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE),
		"run a kernel with IP_MTU_DISCOVER"},
	{freeCore, "a core for a receiver that polls", askCore,
		"give the process a core more (cgroup, taskset), or take load from the machine; without it nothing polls"},
	{sharedMem, "shared memory without a file (memfd)", func(m *machine) (bool, string, error) { return worked(m.memory()) },
		"run Linux 3.17 or newer, and allow memfd_create in the seccomp profile"},
	{peerUser, "the user behind a unix socket (SO_PEERCRED)", askPeerUser,
		"let members of one host run in one user namespace, as one user"},
	{rdmaDevice, "an RDMA device", hasFiles("/sys/class/infiniband/*"),
		"install a device, or make one of an Ethernet interface: rdma link add rxe0 type rxe netdev eth0"},
	{lockedMem, fmt.Sprintf("locked memory of %d MiB", wantedLocked>>20), askLocked,
		fmt.Sprintf("LimitMEMLOCK=%dM in the systemd unit, or ulimit -l %d", wantedLocked>>20, wantedLocked>>10)},
	{ptpClock, "a hardware clock (PTP)", hasFiles("/dev/ptp*"), "use a network interface with hardware time stamps"},
	{clockSync, "a synchronised clock", askClock, "run ptp4l and phc2sys, or chrony, and wait until they have locked"},
	{sendTime, "sending at a given time (SO_TXTIME)", func(m *machine) (bool, string, error) {
		return worked(m.option("udp", unix.SOL_SOCKET, unix.SO_TXTIME, unix.CLOCK_TAI))
	}, "run Linux 4.19 or newer"},
	{netAdmin, "the right to set up traffic classes (CAP_NET_ADMIN)", func(m *machine) (bool, string, error) {
		ok, err := m.admin()
		return ok, "", err
	}, "setcap cap_net_admin+ep on the program, or AmbientCapabilities=CAP_NET_ADMIN in the unit"},
}

// worked makes an answer of an attempt: what the kernel does not have or does
// not allow is a no, all else leaves it open.
func worked(err error) (bool, string, error) {
	for _, no := range []error{
		unix.ENOSYS, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENETUNREACH, unix.EADDRNOTAVAIL,
		unix.EAFNOSUPPORT, os.ErrDeadlineExceeded,
	} {
		if errors.Is(err, no) {
			return false, err.Error(), nil
		}
	}
	return err == nil, "", err
}

func hasOption(network string, level, name, value int) func(*machine) (bool, string, error) {
	return func(m *machine) (bool, string, error) { return worked(m.option(network, level, name, value)) }
}

func hasFiles(pattern string) func(*machine) (bool, string, error) {
	return func(m *machine) (bool, string, error) {
		found, err := m.glob(pattern)
		if err != nil || len(found) == 0 {
			return false, "nothing at " + pattern, err
		}
		return true, strings.Join(found, " "), nil
	}
}

func askBuffers(m *machine) (bool, string, error) {
	got, err := m.buffer(wantedBuffer)
	return got >= wantedBuffer, fmt.Sprintf("%d KiB", got>>10), err
}

func askCore(m *machine) (bool, string, error) {
	load, err := m.load()
	return float64(m.cores)-load >= 1, fmt.Sprintf("%d usable, load %.1f", m.cores, load), err
}

func askPeerUser(m *machine) (bool, string, error) {
	uid, err := m.peerUser()
	if err != nil {
		return worked(err)
	}
	return uid == m.uid, fmt.Sprintf("user %d at both ends: %v", m.uid, uid == m.uid), nil
}

func askLocked(m *machine) (bool, string, error) {
	limit, err := m.limit()
	if limit == unix.RLIM_INFINITY {
		return true, "unlimited", err
	}
	return limit >= wantedLocked, fmt.Sprintf("%d KiB", limit>>10), err
}

func askClock(m *machine) (bool, string, error) {
	synced, worst, err := m.clock()
	return synced, fmt.Sprintf("kernel says synchronised: %v, at most %v off", synced, worst), err
}

func setOption(network string, level, name, value int) error {
	fd, err := newSocket(network)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if name == unix.SO_TXTIME && level == unix.SOL_SOCKET {
		// struct sock_txtime: clock, flags
		return unix.SetsockoptString(fd, level, name, string([]byte{byte(value), 0, 0, 0, 0, 0, 0, 0}))
	}
	return unix.SetsockoptInt(fd, level, name, value)
}

func newSocket(network string) (int, error) {
	kind := unix.SOCK_STREAM
	if network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	return unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
}

// receiveBuffer asks as the udp fabric does. The kernel counts twice what it
// grants.
func receiveBuffer(size int) (int, error) {
	fd, err := newSocket("udp")
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err == nil && got < 2*size {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
		got, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	}
	return got / 2, err
}

// exchange sends a few bytes to itself.
func exchange(network string) error {
	until := time.Now().Add(probeTimeout / 2)
	if network == "udp" {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(until)
		if _, err := conn.WriteTo([]byte("doctor"), conn.LocalAddr()); err != nil {
			return err
		}
		_, _, err = conn.ReadFrom(make([]byte, 16))
		return err
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer l.Close()
	_ = l.SetDeadline(until)
	out, err := net.DialTimeout("tcp4", l.Addr().String(), time.Until(until))
	if err != nil {
		return err
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		return err
	}
	defer in.Close()
	_ = in.SetDeadline(until)
	if _, err := out.Write([]byte("doctor")); err != nil {
		return err
	}
	_, err = in.Read(make([]byte, 16))
	return err
}

func shareMemory() error {
	fd, err := unix.MemfdCreate("doctor", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	size := os.Getpagesize()
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return err
	}
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	b[0] = 1
	return unix.Munmap(b)
}

func ownPeerUser() (int, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	cred, err := unix.GetsockoptUcred(fds[0], unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}

func memlock() (uint64, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l)
	return l.Cur, err
}

func clockState() (bool, time.Duration, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, 0, err
	}
	return state != unix.TIME_ERROR, time.Duration(t.Maxerror) * time.Microsecond, nil
}

func hasNetAdmin() (bool, error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	err := unix.Capget(&h, &d[0])
	return d[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0, err
}

// loadAverage is that of the last minute, on all cores.
func loadAverage() (load float64, err error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(string(text), &load); err != nil {
		return 0, fmt.Errorf("/proc/loadavg: %w", err)
	}
	return load, nil
}
