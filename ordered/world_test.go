package ordered

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
)

// The faults that the checks find, by invariant.
var (
	errO1   = errors.New("O1: two members delivered other frames in a view that both stayed in")
	errO2   = errors.New("O2: delivered what was not sent, or twice")
	errO3   = errors.New("O3: safe, and not at every member of the view")
	errB2   = errors.New("B2: delivered out of order")
	errF3   = errors.New("F3: more is kept than the window allows")
	errLoss = errors.New("a frame of a member that stayed is not delivered everywhere")
)

const window = 4

var worlds = flag.Int("worlds", 150, "random worlds of each size in TestWorlds")

// node is a process with its driver, disk and what it delivered.
type node struct {
	core    *Core
	disk    []byte
	pending []byte
	log     []Event // of this life, from the view on in which it began
	inView  []Event
	view    *barrier.View // of inView
}

// world is members on a network that keeps the order of frames of a pair, and
// loses some: then the sender is told.
type world struct {
	nodes  []*node
	links  [][]Send // by from × n + to
	rows   []string // what was read last, likewise
	births uint64
	sent   map[string]barrier.Life // by body
	ends   map[[2]barrier.ViewID][]string
	has    map[barrier.Life]map[string]bool
	tamper func(*node, *Output)
	window int
	err    error
}

func (w *world) fail(kind error, format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))
	}
}

func newWorld(n int) *world {
	w := newWorldOf(n)
	for i := range n {
		w.start(i, true)
	}
	return w
}

// newWorldOf is a world of nobody yet.
func newWorldOf(n int) *world {
	w := &world{window: window, links: make([][]Send, n*n), rows: make([]string, n*n), sent: map[string]barrier.Life{},
		ends: map[[2]barrier.ViewID][]string{}, has: map[barrier.Life]map[string]bool{}}
	for range n {
		w.nodes = append(w.nodes, &node{})
	}
	return w
}

func (w *world) start(i int, fresh bool) {
	w.births++
	cfg := barrier.Config{Epoch: 1}
	for k := range w.nodes {
		cfg.Voters = append(cfg.Voters, fabric.MemberID(k+1))
	}
	s := Settings{Settings: barrier.Settings{Self: fabric.MemberID(i + 1), Incarnation: w.births, Config: cfg, Fresh: fresh}, Window: window}
	core, err := New(s, w.nodes[i].disk)
	if err != nil {
		panic(err)
	}
	w.nodes[i] = &node{core: core, disk: w.nodes[i].disk}
	w.act(i)
}

func name(l barrier.Life, number uint64) string { return fmt.Sprintf("%v:%d", l, number) }

func (w *world) act(i int) {
	n := w.nodes[i]
	o := n.core.Take()
	if w.tamper != nil {
		w.tamper(n, &o)
	}
	if o.Save != nil {
		n.pending = o.Save
	}
	for _, f := range o.Faults {
		w.fail(errB2, "%v: %v", f.Member, f.Err)
	}
	for k, e := range o.Events {
		w.event(n, e)
		if e.Class == fabric.ClassSafe && !e.Safe && !slices.ContainsFunc(o.Events[k:], func(e Event) bool { return e.View != nil }) {
			w.fail(errO3, "%q is delivered at %v before it is safe", e.Body, n.core.b.Self())
		}
	}
	for _, s := range o.Sends {
		for _, to := range s.To {
			w.links[i*len(w.nodes)+int(to-1)] = append(w.links[i*len(w.nodes)+int(to-1)], s)
		}
	}
	w.watch(n)
}

// watch holds a member to its window, and notes what it has.
func (w *world) watch(n *node) {
	if k := n.core.at; k >= 0 && len(n.core.lines[k].kept) > w.window {
		w.fail(errF3, "%v keeps %d frames", n.core.b.Self(), len(n.core.lines[k].kept))
	}
	for k := range n.core.lines {
		for _, l := range n.core.lines[k].kept {
			w.mark(n.core.b.Self(), string(l.body))
		}
	}
}

func (w *world) mark(l barrier.Life, body string) {
	if w.has[l] == nil {
		w.has[l] = map[string]bool{}
	}
	w.has[l][body] = true
}

func (w *world) event(n *node, e Event) {
	n.log = append(n.log, e)
	if e.View != nil {
		if e.View.Stayed {
			former := barrier.ViewID{Number: e.View.View.Number - 1, Hash: e.View.View.Former}
			w.end([2]barrier.ViewID{former, e.View.View.ID()}, n)
		} else {
			n.log = []Event{e}
		}
		n.inView, n.view = nil, e.View.View
		return
	}
	body := string(e.Body)
	if w.sent[body] != e.From || slices.ContainsFunc(n.inView, func(o Event) bool { return string(o.Body) == body }) {
		w.fail(errO2, "%q of %v at %v", body, e.From, n.core.b.Self())
	}
	if k := len(n.inView); k > 0 {
		a, b := letter{stamp: n.inView[k-1].Stamp, from: n.inView[k-1].From}, letter{stamp: e.Stamp, from: e.From}
		if !less(&a, &b) {
			w.fail(errB2, "%q after %q at %v", body, n.inView[k-1].Body, n.core.b.Self())
		}
	}
	w.mark(n.core.b.Self(), body)
	if e.Safe {
		for _, m := range n.view.Members {
			if !w.has[m][body] {
				w.fail(errO3, "%q is safe at %v, and not at %v", body, n.core.b.Self(), m)
			}
		}
	}
	n.inView = append(n.inView, e)
}

func (w *world) end(key [2]barrier.ViewID, n *node) {
	var told []string
	for _, e := range n.inView {
		told = append(told, string(e.Body))
	}
	if was, ok := w.ends[key]; ok && !slices.Equal(was, told) {
		w.fail(errO1, "in %v: %q\nand %q", key[0], was, told)
	}
	w.ends[key] = told
}

// The actions; each reports whether it was possible.

func (w *world) send(i int, class fabric.Class, number uint64) error {
	body := name(w.nodes[i].core.b.Self(), number)
	w.sent[body] = w.nodes[i].core.b.Self()
	_, err := w.nodes[i].core.Send(0, class, []byte(body))
	if err != nil {
		delete(w.sent, body)
	}
	w.act(i)
	return err
}

func (w *world) pass(from, to int, lose bool) bool {
	q := &w.links[from*len(w.nodes)+to]
	if len(*q) == 0 {
		return false
	}
	s := (*q)[0]
	*q = slices.Delete(*q, 0, 1)
	if lose {
		w.nodes[from].core.Lost(fabric.MemberID(to+1), &s)
		w.act(from)
		return true
	}
	f := fabric.Frame{Header: fabric.Header{Class: s.Class, Stream: s.Stream, Stamp: s.Stamp, Has: fabric.HasStamp}, Body: s.Body}
	if err := w.nodes[to].core.Frame(fabric.MemberID(from+1), &f); err != nil {
		panic(err)
	}
	w.act(to)
	return true
}

func (w *world) row(from, to int) bool {
	a, b := w.nodes[from].core.b, w.nodes[to].core
	raw := string(a.AppendSection(nil))
	if seen := &w.rows[from*len(w.nodes)+to]; from == to || *seen == raw {
		return false
	} else {
		*seen = raw
	}
	s, _ := fabric.FindSection([]byte(raw), fabric.SectionBarrier)
	if err := b.Row(a.Self().Member, a.Self().Incarnation, &s); err != nil {
		panic(err)
	}
	w.act(to)
	return true
}

func (w *world) saved(i int) bool {
	n := w.nodes[i]
	if n.pending == nil {
		return false
	}
	n.disk, n.pending = n.pending, nil
	n.core.Saved()
	w.act(i)
	return true
}

func (w *world) learn(from, to int) bool {
	v, _ := w.nodes[from].core.b.View()
	if have, _ := w.nodes[to].core.b.View(); have.Number >= v.Number {
		return false
	}
	if err := w.nodes[to].core.Learn(v); err != nil {
		w.fail(errO1, "%v", err)
	}
	w.act(to)
	return true
}

func (w *world) crash(i int) {
	for j := range w.nodes {
		w.links[j*len(w.nodes)+i] = nil
		w.rows[i*len(w.nodes)+j], w.rows[j*len(w.nodes)+i] = "", ""
	}
	w.start(i, false)
}

func (w *world) everything() (any bool) {
	for i := range w.nodes {
		any = w.saved(i) || any
		for j := range w.nodes {
			any = w.row(i, j) || w.pass(i, j, false) || w.learn(i, j) || any
		}
	}
	return any
}

// settle ends it: everything arrives, and all are members of one view.
func (w *world) settle() {
	for turn := range 30 * len(w.nodes) {
		for k := 0; k < 500 && w.err == nil && w.everything(); k++ {
		}
		same := true
		for _, n := range w.nodes {
			same = same && !n.core.b.Wedged() && n.core.at >= 0 && len(n.core.view.Members) == len(w.nodes) && n.core.id == w.nodes[0].core.id
		}
		if same || w.err != nil {
			return
		}
		w.nodes[turn%len(w.nodes)].core.Propose()
		w.act(turn % len(w.nodes))
	}
	w.fail(errLoss, "views do not settle")
}

func (w *world) walk(r *rand.Rand, steps int) (refused int) {
	n := len(w.nodes)
	loss, rare := r.IntN(30), 20+r.IntN(400)
	number := uint64(0)
	for s := 0; s < steps && w.err == nil; s++ {
		i, j := r.IntN(n), r.IntN(n)
		if r.IntN(rare) == 0 {
			switch x := r.IntN(8); {
			case x == 0:
				w.crash(i)
			case x < 4:
				w.nodes[i].core.SetSuspects([]fabric.MemberID{fabric.MemberID(j + 1)})
			case x < 5:
				w.nodes[i].core.SetSuspects(nil)
			default:
				w.nodes[i].core.Propose()
			}
			w.act(i)
		}
		switch x := r.IntN(100); {
		case x < 40:
			w.row(i, j)
		case x < 75:
			w.pass(i, j, r.IntN(100) < loss)
		case x < 90:
			w.saved(i)
		case x < 98:
			number++
			if errors.Is(w.send(i, fabric.ClassAgreed+fabric.Class(r.IntN(2)), number), ErrWindow) {
				refused++
			}
		default:
			w.learn(i, j)
		}
	}
	return refused
}

// quiet: everything that is sent now is delivered by all, in one order.
func (w *world) quiet(t *testing.T) {
	for _, n := range w.nodes {
		n.core.SetSuspects(nil)
	}
	w.settle()
	marks := make([]int, len(w.nodes))
	for i, n := range w.nodes {
		marks[i] = len(n.inView)
	}
	for k := range uint64(3 * window) {
		for i := range w.nodes {
			class := fabric.ClassAgreed + fabric.Class(k%2)
			for turn := 0; turn < 100 && w.err == nil; turn++ {
				err := w.send(i, class, 1<<40+k)
				if err == nil {
					break
				}
				if !errors.Is(err, ErrWindow) || turn == 99 {
					w.fail(errLoss, "%v", err)
				}
				w.everything()
			}
		}
	}
	w.settle()
	var all []string
	for i, n := range w.nodes {
		var told []string
		for _, e := range n.inView[min(marks[i], len(n.inView)):] {
			told = append(told, string(e.Body))
		}
		if all == nil {
			all = told
		}
		if len(told) != 3*window*len(w.nodes) || !slices.Equal(told, all) {
			w.fail(errLoss, "%v delivered %d of %d frames: %q\nanother one %q", n.core.b.Self(), len(told), 3*window*len(w.nodes), told, all)
		}
	}
	if w.err != nil {
		t.Fatal(w.err)
	}
}

// TestWorlds: whatever happens, the invariants hold, and afterwards it works.
func TestWorlds(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		delivered, views, refused := 0, 0, 0
		for seed := range uint64(*worlds) {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			w := newWorld(n)
			w.settle()
			refused += w.walk(r, 400*n)
			if w.err != nil {
				t.Fatalf("seed %d, %d members: %v", seed, n, w.err)
			}
			w.quiet(t)
			views += len(w.ends)
			for _, e := range w.ends {
				delivered += len(e)
			}
		}
		if n > 1 && (delivered == 0 || views == 0 || refused == 0) {
			t.Errorf("%d members: nothing was tried", n)
		}
		t.Logf("%d members: %d views ended with %d frames; %d sends were refused by the window", n, views, delivered, refused)
	}
}

// TestPlantedBugs: every check can fail.
func TestPlantedBugs(t *testing.T) {
	for _, b := range []struct {
		name   string
		how    error
		tamper func(*node, *Output)
	}{
		{"delivers in another order", errB2, func(_ *node, o *Output) {
			if n := len(o.Events); n > 1 && o.Events[n-1].View == nil && o.Events[n-2].View == nil {
				o.Events[n-1], o.Events[n-2] = o.Events[n-2], o.Events[n-1]
			}
		}},
		{"delivers twice", errO2, func(_ *node, o *Output) {
			if n := len(o.Events); n > 0 && o.Events[n-1].View == nil {
				o.Events = append(o.Events, o.Events[n-1])
			}
		}},
		{"leaves out the last one of a view", errO1, func(n *node, o *Output) {
			if len(o.Events) > 1 && o.Events[1].View != nil && o.Events[0].View == nil && n.core.b.Self().Member == 1 {
				o.Events = o.Events[1:]
			}
		}},
		{"calls everything safe", errO3, func(_ *node, o *Output) {
			for i := range o.Events {
				o.Events[i].Safe = true
			}
		}},
		{"does not wait until it is safe", errO3, func(_ *node, o *Output) {
			for i := range o.Events {
				o.Events[i].Safe = false
			}
		}},
		{"has no window", errF3, func(n *node, _ *Output) { n.core.settings.Window = 100 }},
	} {
		t.Run(b.name, func(t *testing.T) {
			for seed := range uint64(500) {
				w := newWorld(3)
				w.settle()
				w.tamper = b.tamper
				w.walk(rand.New(rand.NewPCG(seed, 3)), 1200)
				w.settle()
				if errors.Is(w.err, b.how) {
					return
				}
			}
			t.Errorf("not caught as %v", b.how)
		})
	}
}

func TestSendErrors(t *testing.T) {
	w := newWorld(3)
	if _, err := w.nodes[0].core.Send(0, fabric.ClassAgreed, nil); !errors.Is(err, barrier.ErrNoMember) {
		t.Errorf("before the first view: %v", err)
	}
	w.settle()
	if _, err := w.nodes[0].core.Send(0, fabric.ClassFIFO, nil); !errors.Is(err, ErrClass) {
		t.Errorf("class fifo: %v", err)
	}
	w.nodes[0].core.settings.WindowBytes = 10
	w.sent["\x00\x00\x00\x00\x00\x00"] = w.nodes[0].core.b.Self()
	w.sent[string(make([]byte, 100))] = w.nodes[0].core.b.Self()
	if _, err := w.nodes[0].core.Send(0, fabric.ClassAgreed, make([]byte, 100)); err != nil {
		t.Errorf("a frame larger than the window, alone: %v", err)
	}
	w.act(0)
	if _, err := w.nodes[0].core.Send(0, fabric.ClassAgreed, nil); !errors.Is(err, ErrWindow) {
		t.Errorf("behind it: %v", err)
	}
	for range 20 {
		for w.everything() {
		}
		if _, err := w.nodes[0].core.Send(0, fabric.ClassAgreed, make([]byte, 6)); err != nil {
			t.Fatalf("when all have what was sent: %v", err)
		}
		w.act(0)
	}
	if _, err := w.nodes[0].core.Send(0, fabric.ClassAgreed, make([]byte, 6)); !errors.Is(err, ErrWindow) {
		t.Errorf("12 bytes in a window of 10: %v", err)
	}
	w.nodes[1].core.SetSuspects([]fabric.MemberID{3})
	w.nodes[0].core.SetSuspects([]fabric.MemberID{3})
	for range 3 {
		w.row(1, 0)
		w.row(0, 1)
	}
	if !w.nodes[0].core.Propose() {
		t.Fatal("no ballot")
	}
	w.nodes[0].core.settings.WindowBytes = 1 << 20
	if _, err := w.nodes[0].core.Send(0, fabric.ClassAgreed, nil); !errors.Is(err, barrier.ErrWedged) {
		t.Errorf("while the view changes: %v", err)
	}
	for _, s := range []Settings{{}, {Settings: barrier.Settings{Self: 1}}, {Window: -1}} {
		if _, err := New(s, nil); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}

// tells has a member's newest row read by others.
func (w *world) tells(from int, to ...int) {
	for w.saved(from) {
	}
	for _, i := range to {
		w.row(from, i)
	}
}

// TestBehindTheCut: what a member took for the sake of a ballot that was not the
// last, and the next view's cut leaves out, is not delivered. barrier's
// TestOlderValue draws the schedule.
func TestBehindTheCut(t *testing.T) {
	const a, b, c = 0, 1, 2
	w := newWorld(3)
	w.settle()
	send := func(i int) {
		if err := w.send(i, fabric.ClassAgreed, 1); err != nil {
			t.Fatal(err)
		}
	}
	send(c)
	send(b)
	w.pass(b, a, false)
	w.pass(b, c, false)
	w.tells(b, a, c)
	w.tells(a, b)
	w.tells(c, a)
	suspect := func(who int, i ...int) {
		for _, k := range i {
			w.nodes[k].core.SetSuspects([]fabric.MemberID{fabric.MemberID(who + 1)})
			w.act(k)
		}
	}
	suspect(c, a, b)
	w.tells(b, a)
	propose := func(i int) {
		if !w.nodes[i].core.Propose() {
			t.Fatalf("%d proposes nothing", i)
		}
		w.act(i)
	}
	propose(a) // without C
	w.tells(a, b)
	w.tells(b, a)
	suspect(a, b, c)
	w.tells(c, b)
	propose(b) // without A
	w.tells(b, c)
	w.pass(c, b, false)
	w.tells(c, b, a)
	propose(a)
	w.tells(a, c)
	w.tells(c, a)
	w.tells(a, c)
	w.tells(c, a)
	w.learn(a, b)
	for _, i := range []int{a, b} {
		n := w.nodes[i]
		if n.core.view.Number != 2 || n.core.at < 0 {
			t.Fatalf("%v is in %v", n.core.b.Self(), n.core.id)
		}
		for _, e := range n.log {
			if e.View == nil && e.From.Member == c+1 {
				t.Errorf("%v delivered %q", n.core.b.Self(), e.Body)
			}
		}
	}
	w.quiet(t)
}

// TestOneForwards: of several members that have what another one lacks, one sends
// it: the first that the other one hears.
func TestOneForwards(t *testing.T) {
	for want, hears := range [][]fabric.MemberID{{1, 2}, {2}} {
		w := newWorld(4)
		w.settle()
		if err := w.send(3, fabric.ClassAgreed, 1); err != nil {
			t.Fatal(err)
		}
		w.pass(3, 0, false)
		w.pass(3, 1, false)
		w.links[3*4+2] = nil // 4 dies, and its frame for 3 with it
		for i := range 3 {
			w.nodes[i].core.SetHears([]fabric.MemberID{1, 2, 3})
			w.nodes[i].core.SetSuspects([]fabric.MemberID{4})
			w.act(i)
		}
		w.nodes[2].core.SetHears(hears)
		w.act(2)
		sent := [2]int{}
		for range 20 {
			for i := range 3 {
				w.tells(i, 0, 1, 2)
			}
			if i := w.nodes[0].core; i.view.Number == 1 && !i.b.Wedged() {
				i.Propose()
				w.act(0)
			}
			for i := range sent {
				sent[i] += len(w.links[i*4+2])
				w.pass(i, 2, false)
			}
		}
		if n := w.nodes[2].core; sent[want] != 1 || sent[1-want] != 0 || n.view.Number != 2 || len(n.view.Members) != 3 || w.err != nil {
			t.Errorf("it hears %v: %v frames were forwarded by 1 and 2; %v, %v", hears, sent, n.id, w.err)
		}
	}
}

// TestFaultsAreTold: also of a frame that had to wait, when it can be taken.
func TestFaultsAreTold(t *testing.T) {
	w := newWorld(3)
	w.settle()
	c := w.nodes[0].core
	if err := c.park(letter{from: c.view.Members[1], view: c.id, seq: 1, class: fabric.ClassAgreed}); err != nil { // not above the floor
		t.Fatal(err)
	}
	c.SetSuspects(nil)
	if o := c.Take(); len(o.Faults) != 1 || o.Faults[0].Member != 2 || !errors.Is(o.Faults[0].Err, barrier.ErrStamp) || len(c.parked) != 0 {
		t.Errorf("%v, %d frames wait", o.Faults, len(c.parked))
	}
}

// TestTwiceBehindAGap: what is sent again though it had arrived does not count
// against what waits.
func TestTwiceBehindAGap(t *testing.T) {
	w := newWorld(2)
	w.settle()
	c := w.nodes[1].core
	l := letter{from: c.view.Members[0], view: c.id, seq: 1, class: fabric.ClassAgreed, stamp: fabric.Stamp{Time: 1}}
	if err := c.park(l); err != nil {
		t.Fatal(err)
	}
	c.after()
	again := l
	for l.seq = 3; l.seq < 3+window; l.seq++ { // 2 is missing
		l.stamp.Time++
		if err := c.park(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.park(again); err != nil {
		t.Errorf("a frame that is here is refused: %v", err)
	}
	if err := c.park(l); !errors.Is(err, ErrWindow) {
		t.Errorf("more than a window waits: %v", err)
	}
}

// TestWire: what is written is read; anything else is refused.
func TestWire(t *testing.T) {
	for _, from := range []fabric.MemberID{7, 8} { // its own, forwarded
		l := letter{barrier.Life{Member: from, Incarnation: 9, Generation: 300}, barrier.ViewID{Number: 500, Hash: 6}, 4, fabric.Stamp{Time: 3, Logical: 1}, fabric.ClassSafe, []byte("body")}
		f := fabric.Frame{Header: fabric.Header{Class: l.class, Stream: l.seq, Stamp: l.stamp, Has: fabric.HasStamp}, Body: appendLetter(nil, &l, 7)}
		got, err := parseLetter(7, &f)
		if err != nil || string(got.body) != "body" || got.from != l.from || got.view != l.view || got.seq != l.seq || got.stamp != l.stamp || got.class != l.class {
			t.Errorf("%+v, %v, want %+v", got, err, l)
		}
		whole := f.Body
		for n := range len(whole) - len("body") {
			f.Body = whole[:n]
			if _, err := parseLetter(7, &f); !errors.Is(err, ErrWire) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		f.Body = whole
		for what, h := range map[string]fabric.Header{
			"class fifo": {Class: fabric.ClassFIFO, Has: fabric.HasStamp}, "no stamp": {Class: fabric.ClassAgreed},
		} {
			g := fabric.Frame{Header: h, Body: whole}
			if _, err := parseLetter(7, &g); !errors.Is(err, ErrWire) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if from == 8 {
			if _, err := parseLetter(8, &f); !errors.Is(err, ErrWire) {
				t.Errorf("forwarded by its origin: %v", err)
			}
		}
	}
}

func FuzzWire(f *testing.F) {
	l := letter{from: barrier.Life{Member: 7, Incarnation: 9, Generation: 300}, body: []byte("body")}
	f.Add(appendLetter(nil, &l, 7))
	f.Add(appendLetter(nil, &l, 8))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := fabric.Frame{Header: fabric.Header{Class: fabric.ClassAgreed, Has: fabric.HasStamp, Stamp: fabric.Stamp{Time: int64(binary.MaxVarintLen64)}}, Body: b}
		l, err := parseLetter(7, &in)
		if err != nil {
			return
		}
		if out := appendLetter(nil, &l, 7); string(out) != string(b) {
			t.Errorf("%x is read as %+v, which is %x", b, l, out)
		}
	})
}
