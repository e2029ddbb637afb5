package simulate

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// clients put to and get from registers, each with one call under way, at
// members drawn at random.
type clients struct {
	c       *cluster
	rng     *rand.Rand
	stopped bool
	calls   []*call // all of them, in the order in which they began
	clock   int64   // of the history: each begin and end has its own instant
	size    int     // bytes of an entry
	healed  int     // calls before the last fault was over; -1: not yet
}

// call is one operation of one client.
type call struct {
	cs         *clients
	number     uint64 // unique; the value that a put writes
	key        uint8
	put        bool
	client     int
	begun, end int64 // on clients.clock; end 0: the outcome is unknown
	at         time.Duration
	got        uint64
	over       bool
	never      bool // refused at once: it did not happen
}

const (
	clientCount = 8
	// think is the mean time between two calls of a client, callTimeout how long
	// it waits for an answer.
	think       = 100 * time.Millisecond
	callTimeout = 1500 * time.Millisecond
	// putShare of 100 calls are puts.
	putShare = 60
)

func newClients(c *cluster) *clients {
	cs := &clients{c: c, rng: stream(c.cfg.Seed, streamClients), size: commandLen, healed: -1}
	switch cs.rng.IntN(8) { // most entries are small
	case 0:
		cs.size = 64 << 10 // fills the queue of a link that does not work
	case 1, 2:
		cs.size = 1 << 10
	}
	if size := c.cfg.hooks.size; size > 0 {
		cs.size = size
	}
	return cs
}

func (cs *clients) start() {
	for i := range clientCount {
		cs.later(i)
	}
}

func (cs *clients) stop() { cs.stopped = true }

func (cs *clients) later(client int) {
	cs.c.net.After(time.Duration(cs.rng.ExpFloat64()*float64(think)), func() { cs.begin(client) })
}

func (cs *clients) tick() int64 {
	cs.clock++
	return cs.clock
}

func (cs *clients) begin(client int) {
	if cs.stopped {
		return
	}
	m := cs.c.members[cs.rng.IntN(len(cs.c.members))]
	c := &call{
		cs: cs, number: uint64(len(cs.calls) + 1), key: uint8(cs.rng.IntN(keys)), put: cs.rng.IntN(100) < putShare,
		client: client, begun: cs.tick(), at: cs.c.net.Now(),
	}
	cs.calls = append(cs.calls, c)
	if !c.send(m) {
		c.never = true
		c.over = true
		cs.later(client)
		return
	}
	if !c.over {
		cs.c.net.After(callTimeout, func() {
			if !c.over {
				c.over = true
				cs.c.report.Unknown++
				cs.later(client)
			}
		})
	}
}

func (c *call) send(m *member) bool {
	switch {
	case m.dead || m.paused > 0:
		return false
	case c.put:
		if !m.node.propose(c, (&command{c.number, c.key}).encode(c.cs.size)) {
			return false
		}
		c.cs.c.report.Proposals++
		return true
	}
	return m.node.read(c)
}

// done answers the call. What comes after its timeout nobody hears.
func (c *call) done(value uint64) {
	if c.over {
		return
	}
	c.over, c.got, c.end = true, value, c.cs.tick()
	r := &c.cs.c.report
	if c.put {
		r.Acked++
	} else {
		r.Reads++
	}
	if t := c.cs.c.trial; t != nil {
		t.answered()
		return
	}
	c.cs.later(c.client)
}

func (c *call) context() []byte { return binary.LittleEndian.AppendUint64(nil, c.number) }

func callNumber(context []byte) uint64 {
	if len(context) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(context)
}
