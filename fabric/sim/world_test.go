package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// world is a network whose members send each other random frames and check
// F1 and F2 themselves, without the conformance suite: it may lose frames, cut
// links and kill members.
type world struct {
	n     *Network
	rng   *rand.Rand
	ids   []fabric.MemberID
	peers map[fabric.MemberID]*actor
	sent  map[uint64]*sending // by stream sequence
	count uint64
	wrong []string

	delivered, gapped, acked, lost, refused, rows int
}

type sending struct {
	from, to *actor
	lane     fabric.Lane
	state    int // 0: pending, 1: acked, 2: lost
	arrived  bool
}

// actor is one incarnation of a member.
type actor struct {
	w       *world
	id      fabric.MemberID
	inc     uint64
	port    *Port
	version uint64
	next    map[fabric.MemberID]*[fabric.Lanes]uint64 // expected link sequences
	of      map[fabric.MemberID]uint64                // incarnation that next is about
	rows    map[fabric.MemberID]fabric.Row
	stop    bool
}

func newWorld(tb testing.TB, members int, cfg Config) *world {
	w := &world{rng: rand.New(rand.NewPCG(cfg.Seed, 99)), peers: map[fabric.MemberID]*actor{}, sent: map[uint64]*sending{}}
	cfg.Restart = func(id fabric.MemberID, inc uint64) fabric.Handler { return w.actor(id, inc) }
	n, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	w.n = n
	n.LogSeed(tb)
	for i := range members {
		id := fabric.MemberID(100 + 7*i)
		w.ids = append(w.ids, id)
		if _, err := n.Join(id, w.actor(id, 1)); err != nil {
			tb.Fatal(err)
		}
	}
	return w
}

func (w *world) actor(id fabric.MemberID, inc uint64) *actor {
	a := &actor{
		w: w, id: id, inc: inc, next: map[fabric.MemberID]*[fabric.Lanes]uint64{}, of: map[fabric.MemberID]uint64{},
		rows: map[fabric.MemberID]fabric.Row{},
	}
	w.peers[id] = a
	w.n.After(0, func() {
		a.port = w.n.Port(id)
		a.tick()
	})
	return a
}

func (w *world) fail(format string, args ...any) {
	if len(w.wrong) < 10 {
		w.wrong = append(w.wrong, fmt.Sprintf("%v: ", w.n.Now())+fmt.Sprintf(format, args...))
	}
}

// tick sends something and comes back later.
func (a *actor) tick() {
	w := a.w
	if a.stop {
		return
	}
	batch := make([]fabric.Outgoing, 1+w.rng.IntN(4))
	for i := range batch {
		batch[i] = a.frame()
	}
	a.send(batch)
	if w.rng.IntN(4) == 0 {
		a.version++
		sections := fabric.AppendSection(nil, fabric.Section{ID: 1, Value: binary.LittleEndian.AppendUint64(nil, a.version)})
		row := fabric.Row{Owner: a.id, Incarnation: a.inc, Version: a.version, Sections: sections}
		if err := a.port.Publish(row, w.ids[:w.rng.IntN(len(w.ids))]); err != nil {
			w.fail("Publish: %v", err)
		}
	}
	a.port.After(time.Duration(w.rng.IntN(int(2*time.Millisecond))), a.tick)
}

func (a *actor) frame() fabric.Outgoing {
	w := a.w
	w.count++
	to := a.id
	for to == a.id {
		to = w.ids[w.rng.IntN(len(w.ids))]
	}
	lane := fabric.Lane(w.rng.IntN(fabric.Lanes))
	w.sent[w.count] = &sending{from: a, to: w.peers[to], lane: lane}
	o := fabric.Outgoing{To: []fabric.MemberID{to}, Lane: lane, Stream: w.count, Ticket: w.count, Body: make([]byte, w.rng.IntN(400))}
	if w.rng.IntN(2) == 0 {
		o.Patch = [][]byte{{byte(w.count), 1}}
	}
	return o
}

func (a *actor) send(batch []fabric.Outgoing) {
	var se *fabric.SendError
	if errors.As(a.port.Send(batch), &se) {
		for _, r := range se.Refused {
			a.w.refused++
			delete(a.w.sent, r.Ticket)
		}
	}
}

func (a *actor) expect(from fabric.MemberID) *[fabric.Lanes]uint64 {
	if a.next[from] == nil {
		a.next[from] = &[fabric.Lanes]uint64{1, 1, 1}
	}
	return a.next[from]
}

func (a *actor) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	w := a.w
	for i := range frames {
		f := &frames[i]
		s := w.sent[f.Stream]
		if s == nil || s.from.id != from || s.to.id != a.id || s.arrived || s.lane != f.Lane {
			w.fail("F1: %s gets frame %d from %s: %+v", a.id, f.Stream, from, s)
			return
		}
		s.arrived = true
		if s.from.inc < a.of[from] {
			w.fail("D4: %s gets frame %d of incarnation %d of %s after %d", a.id, f.Stream, s.from.inc, from, a.of[from])
		}
		next := &a.expect(from)[f.Lane]
		if f.Link != *next {
			w.fail("F1: %s expects %d from %s in %v and gets %d", a.id, *next, from, f.Lane, f.Link)
		}
		*next = f.Link + 1
		w.delivered++
	}
}

func (a *actor) Gap(from fabric.MemberID, g fabric.Gap) {
	next := &a.expect(from)[g.Lane]
	if g.First != *next || g.Count == 0 {
		a.w.fail("F1: %s expects %d from %s and gets %+v", a.id, *next, from, g)
	}
	*next = g.First + g.Count
	a.w.gapped += int(g.Count)
}

func (a *actor) Row(from fabric.MemberID, row fabric.Row) {
	old := a.rows[from]
	if !row.Newer(&old) || row.Owner != from {
		a.w.fail("P5: %s gets row %+v after %+v", a.id, row, old)
	}
	row.Sections = nil
	a.rows[from] = row
	a.w.rows++
}

func (a *actor) Resolve(settled []fabric.Resolution) {
	for _, r := range settled {
		s := a.w.sent[r.Ticket]
		if s == nil || s.from != a || s.state != 0 {
			a.w.fail("F2: %s is told of ticket %d: %+v", a.id, r.Ticket, s)
			continue
		}
		s.state = 1
		a.w.acked++
		if !r.Acked() {
			s.state = 2
			a.w.lost++
			a.w.acked--
		}
	}
}

func (a *actor) Link(peer fabric.MemberID, s fabric.LinkState) {
	if s.Up && s.Incarnation > a.of[peer] {
		a.of[peer] = s.Incarnation
		delete(a.next, peer)
	}
}

// settle ends all faults, lets everything run out, and checks what must then
// hold.
func (w *world) settle(tb testing.TB) {
	tb.Helper()
	for _, id := range w.n.Heal() {
		if _, err := w.n.Join(id, w.actor(id, w.n.Port(id).Incarnation()+1)); err != nil {
			tb.Fatal(err)
		}
	}
	w.n.Advance(200 * time.Millisecond)
	for _, a := range w.peers {
		a.stop = true
	}
	w.n.Advance(w.n.cfg.TicketTimeout + 2*time.Second)
	w.check()
	for _, s := range w.wrong {
		tb.Error(s)
	}
}

// check looks at a world that has come to rest.
func (w *world) check() {
	for id, s := range w.sent {
		alive := w.peers[s.from.id] == s.from && w.peers[s.to.id] == s.to
		if w.peers[s.from.id] == s.from && s.state == 0 {
			w.fail("F2: ticket %d never resolved", id)
		}
		if alive && s.state == 1 && !s.arrived {
			w.fail("F2: frame %d from %s to %s was acked and never delivered", id, s.from.id, s.to.id)
		}
	}
	for _, a := range w.peers {
		for _, b := range w.peers {
			if row := a.rows[b.id]; a != b && row.Version != b.version {
				w.fail("P5: %s has row %d.%d of %s, the newest is %d.%d", a.id, row.Incarnation, row.Version, b.id, b.inc, b.version)
			}
		}
	}
}
