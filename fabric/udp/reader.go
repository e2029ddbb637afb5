package udp

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
)

// readErrorPause keeps a socket that only fails from being read in a tight
// loop.
const readErrorPause = time.Millisecond

// maxSitOut bounds for how many receives a reader does not poll after it has
// polled in vain. The number is random, so that two pollers that answer each
// other find together.
const maxSitOut = 4

// reader takes datagrams from the socket and hands over what they bring. One
// reader of a port is current; a former one is stuck in a handler call.
type reader struct {
	port    *Port
	in      receiver
	buf     []byte
	d       *deliverer
	retired atomic.Bool
	opened  [maxSegments]opened
	misses  int // polls in vain, in a row
	sitOut  int // receives without polling that are left
	nonce   [nonceLen]byte
}

// opened is a datagram on its way through the reader.
type opened struct {
	h       header
	b       []byte // the datagram
	key     *sealKey
	payload []byte // nil: it did not open
}

func newReader(p *Port) *reader {
	return &reader{port: p, in: p.conduit.newReceiver(), buf: make([]byte, 1<<16), d: newDeliverer()}
}

func (r *reader) run() {
	for !r.retired.Load() {
		n, seg, from, err := r.receive()
		switch {
		case err == nil && n > 0:
			r.input(r.buf[:n], seg, from)
		case r.port.isClosed():
			return
		case err != nil:
			select {
			case <-time.After(readErrorPause):
			case <-r.port.done:
				return
			}
		}
	}
}

// receive waits for datagrams: for a while by polling, if configured and as
// long as it pays. On a full machine the poller only keeps others from sending.
func (r *reader) receive() (n, seg int, from netip.AddrPort, err error) {
	if r.port.spin == 0 || r.sitOut > 0 {
		r.sitOut = max(r.sitOut-1, 0)
		return r.in.recv(r.buf, true)
	}
	for until := r.port.now() + r.port.spin; ; {
		runtime.Gosched() // to whom the last handler call woke
		n, seg, from, err = r.in.recv(r.buf, false)
		if err != errAgain {
			r.misses = 0
			return n, seg, from, err
		}
		if r.port.now() > until {
			r.misses = min(r.misses+1, maxSitOut)
			r.sitOut = rand.IntN(r.misses + 1)
			return r.in.recv(r.buf, true)
		}
	}
}

// input takes the datagrams in b, of seg bytes each, the last one perhaps
// shorter.
func (r *reader) input(b []byte, seg int, from netip.AddrPort) {
	set := r.port.peers.Load()
	var pe *peer
	n := 0
	for len(b) > 0 {
		o := &r.opened[n]
		o.b = b[:min(seg, len(b))]
		b = b[len(o.b):]
		if v := parseHeader(o.b, &o.h); v != accepted {
			r.port.refuse(v, nil)
			continue
		}
		to := set.byIndex[o.h.index]
		if to == nil {
			r.port.refuse(badIndex, nil)
			continue
		}
		if n > 0 && to != pe {
			first := *o
			r.handle(pe, r.opened[:n], from)
			r.opened[0], n = first, 0
		}
		pe = to
		if n++; n == len(r.opened) {
			r.handle(pe, r.opened[:n], from)
			n = 0
		}
	}
	if n > 0 {
		r.handle(pe, r.opened[:n], from)
	}
}

// handle takes datagrams that name sessions of one peer.
func (r *reader) handle(pe *peer, list []opened, from netip.AddrPort) {
	l := r.choose(pe, list)
	if l == nil {
		return
	}
	for i := range list {
		if o := &list[i]; o.key != nil {
			payload, ok := o.key.open(o.b, o.h.number, &r.nonce)
			if !ok {
				r.port.refuse(badSeal, pe)
				o.key = nil
			}
			o.payload = payload
		}
	}
	now := r.port.now()
	d := r.d
	d.ev.reset()
	pe.mu.Lock()
	if pe.link == l && !pe.closed {
		pe.receive(now, list, from, &d.ev)
	}
	deliver := len(d.ev.list) > 0
	pe.mu.Unlock()
	if !deliver && len(d.ev.settled) == 0 {
		return
	}
	d.since.Store(now)
	r.port.pump.watch(now, d.ev.rowOnly())
	if deliver {
		d.hand(pe)
	} else {
		pe.settle(d.ev.settled)
	}
	d.since.Store(0)
}

// choose finds the keys of the datagrams that are worth opening, and the link
// that they are for.
func (r *reader) choose(pe *peer, list []opened) *link {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	l := pe.link
	if l == nil {
		return nil
	}
	for i := range list {
		o := &list[i]
		v := accepted
		o.key = l.recvKeys.forGen(o.h.gen)
		switch {
		case o.h.index != l.cfg.recvIndex:
			v = badIndex
		case l.phase == phaseGated || l.phase == phaseDead:
			v = gateShut
		case o.key == nil || o.key.sealed != (o.h.flags&flagSealed != 0):
			v = badSeal
		case !l.rcvd.fresh(o.h.number):
			v = replayed
		}
		if v != accepted {
			o.key = nil
			l.stats.Refused++
			r.port.refuse(v, nil)
		}
	}
	return l
}

// receive feeds the link. It sets busy if the events hold something for the
// handler. mu is held.
func (pe *peer) receive(now int64, list []opened, from netip.AddrPort, ev *events) {
	l := pe.link
	for i := range list {
		o := &list[i]
		if o.key == nil {
			continue
		}
		direct := (!pe.busy || len(ev.list) > 0) && len(pe.former) == 0
		switch v := l.receive(now, &o.h, o.key, o.payload, direct, ev); v {
		case accepted:
			l.stats.DatagramsReceived++
			l.stats.BytesReceived += uint64(len(o.b))
			if from != pe.dest && o.h.number+1 == l.rcvd.next {
				pe.migrate(now, from)
			}
		default:
			l.stats.Refused++
			pe.port.refuse(v, nil)
		}
		if len(ev.list) > 0 {
			pe.busy = true
		}
		*o = opened{h: o.h}
	}
	if pe.busy {
		pe.inline = inlineBurst
	}
	pe.transmit(inlineRounds, false)
}

// migrate follows a peer to another address (RFC 9000 §9.3). The datagram
// opened and is the newest, so that the peer was there a moment ago. mu is held.
func (pe *peer) migrate(now int64, from netip.AddrPort) {
	if !from.IsValid() || pe.movedAt != 0 && now-pe.movedAt < int64(migrateEvery) {
		return
	}
	if from.Addr() != pe.dest.Addr() {
		pe.link.moved(now)
	}
	pe.movedAt = now
	pe.moveTo(from)
}
