package doctor

// The names of probes.
const (
	tcpLoopback = "tcp-loopback"
	udpSocket   = "udp-socket"
	udpSegment  = "udp-segment"
	udpGRO      = "udp-gro"
	udpBuffers  = "udp-buffers"
	pathMTU     = "path-mtu"
	freeCore    = "free-core"
	sharedMem   = "shared-memory"
	peerUser    = "peer-user"
	rdmaDevice  = "rdma-device"
	lockedMem   = "locked-memory"
	ptpClock    = "ptp-clock"
	clockSync   = "clock-sync"
	sendTime    = "send-time"
	netAdmin    = "net-admin"
)

// fabrics lists them by name, with what they need and what they are better with.
var fabrics = []fabric{
	{name: "stream", needs: []string{tcpLoopback}},
	{name: "udp", needs: []string{udpSocket}, likes: []string{udpSegment, udpGRO, udpBuffers, pathMTU, freeCore}},
	{name: "shm", needs: []string{sharedMem, peerUser}, likes: []string{freeCore}},
	{name: "verbs", needs: []string{rdmaDevice, lockedMem}, likes: []string{freeCore}, unbuilt: true},
	{name: "tte", needs: []string{ptpClock, clockSync, sendTime, netAdmin}, unbuilt: true},
}

// wantedBuffer is what the udp fabric asks of the kernel for each direction.
const wantedBuffer = 2 << 20

// wantedLocked is what an RDMA port registers for a small cluster.
const wantedLocked = 64 << 20
