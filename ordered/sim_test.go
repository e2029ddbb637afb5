package ordered

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/sim"
)

// settles is how long one view of all members lasts that counts as settled.
const settles = 2 * time.Second

var errV2 = errors.New("V2: with all members well, views do not settle")

// cluster is endpoints on a simulated fabric: in virtual time, each with a disk.
type cluster struct {
	*world
	net     *sim.Network
	members []*member
	cfg     EndpointConfig
	counts  struct{ views, delivered, refused, kills, lost, configs int }
	epoch   uint64
	calms   uint64
	wipe    func(fabric.MemberID) bool // the disk is lost
	// Bugs to plant.
	spoil  func(*member, *Actions)
	forget bool // lost frames
	drop   func(from, to fabric.MemberID, f *fabric.Frame) bool
	at     func(*member, Event)
}

// member is a process, and what outlives it.
type member struct {
	*node
	c       *cluster
	id      fabric.MemberID
	port    *sim.Port
	station *station
	armed   time.Duration
	wiped   bool // it lost its disk
	writing bool
	queue   [][]byte
	acting  bool
}

func (m *member) now() Instant { return Instant{m.c.net.Now(), m.port.Now()} }

func newCluster(t testing.TB, n int, cfg sim.Config, ecfg EndpointConfig) *cluster {
	c := &cluster{world: newWorldOf(n), cfg: ecfg}
	c.window = ecfg.withDefaults().Window
	cfg.Restart = func(id fabric.MemberID, _ uint64) fabric.Handler {
		c.counts.kills++
		m := c.birth(int(id - 1))
		c.net.After(0, func() { m.ready() })
		return m
	}
	var err error
	if c.net, err = sim.New(cfg); err != nil {
		t.Fatal(err)
	}
	c.net.LogSeed(t)
	for i := range n {
		c.members = append(c.members, &member{c: c, id: fabric.MemberID(i + 1)})
		c.join(i)
	}
	return c
}

func (c *cluster) join(i int) {
	m := c.birth(i)
	p, err := c.net.Join(m.id, m)
	if err != nil {
		panic(err)
	}
	m.attach(p)
}

// birth makes the next process of a member; it has no port yet.
func (c *cluster) birth(i int) *member {
	was := c.members[i]
	m := &member{c: c, id: was.id}
	var disk []byte
	if was.node != nil {
		disk = was.disk
	}
	if m.wiped = was.wiped && disk == nil; c.wipe != nil && c.wipe(m.id) {
		disk, m.wiped = nil, true
		c.counts.lost++
	}
	m.node = &node{disk: disk}
	c.members[i], c.nodes[i] = m, m.node
	return m
}

func (m *member) attach(p *sim.Port) {
	m.port = p
	cfg := m.c.cfg
	cfg.Settings.Settings = barrier.Settings{Self: m.id, Incarnation: p.Incarnation(), Fresh: m.disk == nil && !m.wiped, Config: barrier.Config{Epoch: 1}}
	for k := range m.c.nodes {
		cfg.Settings.Config.Voters = append(cfg.Settings.Config.Voters, fabric.MemberID(k+1))
	}
	e, err := NewEndpoint(cfg, m.disk, m.now())
	if err != nil {
		panic(err)
	}
	m.core = e.core
	m.station = newStation(e, p)
	m.act()
}

// ready attaches a member that the network itself started again.
func (m *member) ready() {
	if m.station == nil {
		m.attach(m.c.net.Port(m.id))
	}
}

func (m *member) act() {
	if m.acting {
		return
	}
	m.acting = true
	defer func() { m.acting = false }()
	now := m.now()
	a := m.station.endpoint.Take(now)
	if a.Save != nil {
		m.queue = append(m.queue, a.Save)
		m.write()
	}
	for _, f := range a.Faults {
		m.c.fail(errB2, "%v: %v", f.Member, f.Err)
	}
	if m.c.spoil != nil {
		m.c.spoil(m, &a)
	}
	for _, e := range a.Events {
		if m.c.at != nil {
			m.c.at(m, e)
		}
		m.c.event(m.node, e)
		if e.View != nil {
			m.c.counts.views++
		} else {
			m.c.counts.delivered++
		}
	}
	m.c.watch(m.node)
	m.station.transmit(now, &a)
	at := m.station.endpoint.Deadline()
	m.armed = at
	m.port.After(max(at-m.c.net.Now(), 0), func() {
		if m.armed == at {
			m.act()
		}
	})
}

// write puts what is to be saved on the disk, which takes a while.
func (m *member) write() {
	if m.writing || len(m.queue) == 0 {
		return
	}
	m.writing = true
	m.port.After(time.Millisecond, func() {
		m.disk, m.queue, m.writing = m.queue[0], m.queue[1:], false
		m.station.endpoint.Saved(m.now())
		m.act()
		m.write()
	})
}

// Deliver, Gap, Row, Resolve and Link implement fabric.Handler.
func (m *member) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	m.ready()
	for i := range frames {
		if m.c.drop != nil && m.c.drop(from, m.id, &frames[i]) {
			continue
		}
		frames[i].Body = bytes.Clone(frames[i].Body)
		if err := m.station.frame(m.now(), from, &frames[i]); err != nil {
			m.c.fail(errB2, "%v", err)
		}
	}
	m.act()
}

func (m *member) Gap(fabric.MemberID, fabric.Gap) {}

func (m *member) Row(_ fabric.MemberID, row fabric.Row) {
	m.ready()
	if err := m.station.row(m.now(), &row); err != nil {
		m.c.fail(errB2, "%v", err)
	}
	m.act()
}

func (m *member) Resolve(settled []fabric.Resolution) {
	m.ready()
	for _, r := range settled {
		m.station.settle(m.now(), r.To, r.Ticket, !r.Acked() && !m.c.forget)
	}
	m.act()
}

func (m *member) Link(peer fabric.MemberID, s fabric.LinkState) {
	m.ready()
	m.station.endpoint.Link(m.now(), peer, s.Up)
	m.act()
}

var _ fabric.Handler = (*member)(nil)

func (m *member) send(class fabric.Class, number uint64) error {
	m.ready()
	body := name(m.core.b.Self(), number)
	m.c.sent[body] = m.core.b.Self()
	_, err := m.station.endpoint.Send(m.now(), class, []byte(body))
	if err != nil {
		delete(m.c.sent, body)
		m.c.counts.refused++
	}
	m.act()
	return err
}

// whole reports whether all members are in one view.
func (c *cluster) whole() bool {
	for _, m := range c.members {
		if m.station == nil || m.core.b.Wedged() || m.core.at < 0 || len(m.core.view.Members) != len(c.members) || m.core.id != c.members[0].core.id {
			return false
		}
	}
	return true
}

// until runs until f holds; false: it did not within the time.
func (c *cluster) until(most time.Duration, f func() bool) bool {
	for end := c.net.Now() + most; c.net.Now() < end && c.err == nil; c.net.Advance(time.Millisecond) {
		if f() {
			return true
		}
	}
	return f()
}

// TestFirstView: members that start together are in one view soon, and the first
// one has all of them.
func TestFirstView(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := newCluster(t, n, sim.Config{Seed: 1, Faults: sim.Faults{Delay: 100 * time.Microsecond}}, EndpointConfig{})
			if !c.until(time.Second, c.whole) || c.err != nil {
				t.Fatalf("not in one view after a second: %v", c.err)
			}
			if v := c.members[0].core.view; v.Number != 1 {
				t.Errorf("it took %d views", v.Number)
			}
		})
	}
}

// storm lets everything go wrong for a while that a network and machines do, and
// then nothing any more.
func (c *cluster) storm(r *rand.Rand, length time.Duration) {
	number := uint64(0)
	c.epoch = 1
	if n := len(c.members); n > 2 { // of two members, both are needed
		c.wipe = func(id fabric.MemberID) bool { return int(id) == n && r.IntN(3) == 0 }
	}
	for end := c.net.Now() + length; c.net.Now() < end && c.err == nil; {
		if n := len(c.members); r.IntN(2000) == 0 && n > 3 {
			c.configure(r.Perm(n)[:n-r.IntN(2)])
		}
		c.net.Advance(time.Duration(r.ExpFloat64() * float64(2*time.Millisecond)))
		if m := c.members[r.IntN(len(c.members))]; m.station != nil {
			number++
			if c.net.Port(m.id) == m.port {
				_ = m.send(fabric.ClassAgreed+fabric.Class(r.IntN(2)), number)
			}
		}
	}
	for _, id := range c.net.Heal() {
		m := c.birth(int(id - 1))
		p, err := c.net.Join(id, m)
		if err != nil {
			panic(err)
		}
		m.attach(p)
	}
	c.wipe = nil
	if c.epoch > 1 {
		c.configure(r.Perm(len(c.members)))
	}
}

// configure tells all members that run who the voters are.
func (c *cluster) configure(who []int) {
	c.epoch++
	c.counts.configs++
	cfg := barrier.Config{Epoch: c.epoch}
	for _, i := range who {
		cfg.Voters = append(cfg.Voters, fabric.MemberID(i+1))
	}
	for _, m := range c.members {
		if m.station != nil && c.net.Port(m.id) == m.port {
			if err := m.station.endpoint.SetConfig(m.now(), cfg); err != nil {
				panic(err)
			}
			m.act()
		}
	}
}

// calm: all members are in one view soon, and what they send is delivered by all,
// in one order.
func (c *cluster) calm(most time.Duration) {
	since, id := c.net.Now(), barrier.ViewID{}
	settled := func() bool {
		if now := c.members[0].core.id; !c.whole() || now != id {
			since, id = c.net.Now(), now
		}
		return c.net.Now()-since > settles
	}
	if !c.until(most, settled) {
		c.fail(errV2, "views do not settle within %v: %s", most, c.dump())
		return
	}
	marks := make([]int, len(c.members))
	for i, m := range c.members {
		marks[i] = len(m.inView)
	}
	const each = 5
	c.calms++
	for k := range uint64(each) {
		for _, m := range c.members {
			var err error
			if !c.until(time.Second, func() bool {
				err = m.send(fabric.ClassAgreed+fabric.Class(k%2), c.calms<<40+k)
				return !errors.Is(err, ErrWindow)
			}) || err != nil {
				c.fail(errV2, "%v cannot send: %v", m.core.b.Self(), err)
				return
			}
		}
	}
	all := func() bool {
		for i, m := range c.members {
			if len(m.inView) < marks[i]+each*len(c.members) {
				return false
			}
		}
		return true
	}
	if !c.until(time.Second, all) || c.members[0].core.id != id {
		c.fail(errLoss, "what was sent at the end is not delivered in %v: %s", id, c.dump())
	}
}

func (c *cluster) dump() string {
	var b strings.Builder
	for _, m := range c.members {
		e := m.station.endpoint
		fmt.Fprintf(&b, "\n%v: %v, member %v, wedged %v, suspects %v, turns %+v, %d in the view", m.core.b.Self(), m.core.id, m.core.at >= 0, m.core.b.Wedged(), e.suspects, e.turns, len(m.inView))
	}
	return b.String()
}

// TestLatencyInRoundTrips: with all alive an agreed message is delivered by all
// after one round trip, a safe one after one and a half. In virtual time, hosts
// cost nothing: what remains is the rounds of the protocol.
func TestLatencyInRoundTrips(t *testing.T) {
	const delay = time.Millisecond
	for _, n := range []int{2, 3, 5, 9, 16} {
		c := newCluster(t, n, sim.Config{Seed: 1, Faults: sim.Faults{Delay: delay}}, EndpointConfig{})
		if !c.until(2*time.Second, c.whole) || c.err != nil {
			t.Fatalf("n=%d: no view: %v", n, c.err)
		}
		var sent, worst time.Duration
		got := 0
		c.at = func(_ *member, e Event) {
			if e.View == nil {
				got, worst = got+1, max(worst, c.net.Now()-sent)
			}
		}
		for _, class := range []fabric.Class{fabric.ClassAgreed, fabric.ClassSafe} {
			for k := range 20 { // in different phases of the beats
				c.net.Advance(7 * time.Millisecond)
				sent, worst, got = c.net.Now(), 0, 0
				if err := c.members[k%n].send(class, uint64(class)<<32|uint64(k)); err != nil {
					t.Fatal(err)
				}
				if !c.until(time.Second, func() bool { return got == n }) {
					t.Fatalf("n=%d: %v message %d is delivered by %d", n, class, k, got)
				}
				if most := map[fabric.Class]time.Duration{fabric.ClassAgreed: 2 * delay, fabric.ClassSafe: 3 * delay}[class]; worst > most {
					t.Errorf("n=%d: the last member delivers %v message %d after %v, want %v", n, class, k, worst, most)
				}
			}
		}
	}
}
