package udp

import "time"

// Path MTU discovery by probing, RFC 8899: a datagram of the wanted size,
// padded, is acknowledged or not; the network's word is not needed. The words
// are the RFC's.

const (
	// maxProbes is MAX_PROBES of §5.1.2.
	maxProbes = 3
	// raiseAfter is PMTU_RAISE_TIMER of §5.1.1: a search that ended is begun
	// anew.
	raiseAfter = 10 * time.Minute
	// blackHoleAfter datagrams above the base size lost in a row, over at least
	// blackHolePTOs probe timeouts and none of them acknowledged, are a black
	// hole (§4.3). A burst that overflows a queue is over sooner.
	blackHoleAfter = 6
	blackHolePTOs  = 3
	// searchStep ends the search: less is not worth a probe.
	searchStep = 64
)

// usualSizes are UDP payloads of usual links over IPv6 (the same are safe over
// IPv4): loopback, FDDI-era and jumbo Ethernet, Ethernet, tunnels.
var usualSizes = [...]int{65488, 32720, 16336, 8952, 4304, 1452, 1372}

// mtuSearch finds the largest datagram that the path carries.
type mtuSearch struct {
	size    int // PLPMTU: confirmed
	top     int // what the local interface takes: never probed above
	fails   int // smallest size that is known to fail, or top+1
	try     int // being probed; 0: none
	tries   int // probes of try that were lost
	flying  bool
	raiseAt int64 // when a finished search starts again
	lost    int   // datagrams above base lost since one was acknowledged
	lostAt  int64 // when the first of them was
}

func (m *mtuSearch) init(top int, now int64) {
	*m = mtuSearch{size: minDatagram, top: max(top, minDatagram)}
	m.restart(now)
}

func (m *mtuSearch) restart(now int64) {
	m.fails, m.tries, m.flying, m.lost = m.top+1, 0, false, 0
	m.raiseAt = now + int64(raiseAfter)
	m.pick()
}

// pick chooses the next size: the interface's own first, it is right on most
// paths; then usual sizes; then the middle.
func (m *mtuSearch) pick() {
	m.try, m.tries = 0, 0
	if m.fails-1-m.size < searchStep {
		return
	}
	if m.fails > m.top {
		m.try = m.top
		return
	}
	for _, s := range usualSizes {
		if s > m.size && s < m.fails {
			m.try = s
			return
		}
	}
	m.try = (m.size + m.fails) / 2
}

// probe returns the size of the probe to send now, or 0.
func (m *mtuSearch) probe(now int64) int {
	if m.try == 0 && m.size < m.top && now >= m.raiseAt {
		m.restart(now)
	}
	if m.flying {
		return 0
	}
	return m.try
}

func (m *mtuSearch) probeSent() { m.flying = true }

func (m *mtuSearch) probeAcked(size int) {
	m.flying = false
	if size > m.size && size < m.fails {
		m.size, m.lost = size, 0
		m.pick()
	}
}

func (m *mtuSearch) probeLost(size int) {
	m.flying = false
	if size != m.try {
		return
	}
	if m.tries++; m.tries >= maxProbes {
		m.fails = size
		m.pick()
	}
}

// acked and dataLost watch for black holes.
func (m *mtuSearch) acked(size int) {
	if size > minDatagram {
		m.lost = 0
	}
}

// dataLost reports whether the path has become a black hole: the size is then
// back at the base and the search begins after a while.
func (m *mtuSearch) dataLost(size int, now, pto int64) bool {
	if size <= minDatagram || m.size == minDatagram {
		return false
	}
	if m.lost++; m.lost == 1 {
		m.lostAt = now
	}
	if m.lost < blackHoleAfter || now-m.lostAt < blackHolePTOs*pto {
		return false
	}
	m.fall(now)
	return true
}

// tooBig takes the kernel's refusal of a datagram.
func (m *mtuSearch) tooBig(size int, now int64) {
	if size <= minDatagram {
		return
	}
	m.flying = false
	m.fails = min(m.fails, size)
	if m.size >= size {
		m.size = minDatagram
	}
	m.pick()
	m.raiseAt = now + int64(raiseAfter)
}

// fall returns to the base size; below it nothing is searched for 5 seconds,
// so that a path in trouble is not probed at once.
func (m *mtuSearch) fall(now int64) {
	m.size, m.try, m.tries, m.flying, m.lost = minDatagram, 0, 0, false, 0
	m.fails = m.top + 1
	m.raiseAt = now + int64(5*time.Second)
}
