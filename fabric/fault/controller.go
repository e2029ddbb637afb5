package fault

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Config of a [Controller]. The zero value is fit for the wall clock.
type Config struct {
	// Seed of all decisions.
	Seed uint64
	// Clock for delays: nil is the wall clock, a sim.Network virtual time.
	Clock Clock
	// MaxHold bounds the time for which a frame is held back; it is added to
	// the ticket timeout of each port. Default 1 s.
	MaxHold time.Duration
	// QueueBytes bounds for each destination and lane what is held back; a
	// frame weighs its bytes and 32. Default 1 MiB.
	QueueBytes int
	// RowRetry is how long a row that was dropped is held back. Default 10 ms.
	RowRetry time.Duration
}

// Clock calls a function later.
type Clock interface {
	After(d time.Duration, f func())
}

type wallClock struct{}

func (wallClock) After(d time.Duration, f func()) { time.AfterFunc(d, f) }

// Validate lists everything that is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	for name, d := range map[string]time.Duration{"MaxHold": c.MaxHold, "RowRetry": c.RowRetry, "QueueBytes": time.Duration(c.QueueBytes)} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("fault: Config.%s is %v, want 0 (default) or more", name, int64(d)))
		}
	}
	return errors.Join(errs...)
}

// Controller holds the rules of a set of ports. Its methods may be called
// concurrently, also from handlers.
type Controller struct {
	cfg   Config
	clock Clock

	mu    sync.Mutex
	rng   *rand.Rand
	rules map[pair]Rule
	cuts  map[pair]int
	ports map[fabric.MemberID]*Port
	// quiet: there are neither rules nor cuts, so that Send need not look.
	quiet atomic.Bool

	counts [countKinds]atomic.Uint64
}

type pair struct{ from, to fabric.MemberID }

// Counts is how often each fault has struck.
type Counts struct {
	Dropped, Corrupted, Held, Reordered uint64 // frames
	Refused                             uint64 // frames, by a cut
	RowsWithheld                        uint64
}

const (
	nDropped = iota
	nCorrupted
	nHeld
	nReordered
	nRefused
	nRows
	countKinds
)

// New makes a controller without rules.
func New(cfg Config) (*Controller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.MaxHold == 0 {
		cfg.MaxHold = time.Second
	}
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = 1 << 20
	}
	if cfg.RowRetry == 0 {
		cfg.RowRetry = 10 * time.Millisecond
	}
	c := &Controller{
		cfg: cfg, clock: cfg.Clock, rng: rand.New(rand.NewPCG(cfg.Seed, 0xfa17)),
		rules: make(map[pair]Rule), cuts: make(map[pair]int), ports: make(map[fabric.MemberID]*Port),
	}
	if c.clock == nil {
		c.clock = wallClock{}
	}
	c.quiet.Store(true)
	return c, nil
}

// SetRule replaces what happens to what from sends to to. Member 0 stands for
// all that have no rule of their own. It wraps ErrUnsupported if the sender's
// port cannot do what Rule.Wire asks for.
func (c *Controller) SetRule(from, to fabric.MemberID, r Rule) error {
	if err := r.validate(&c.cfg); err != nil {
		return err
	}
	c.mu.Lock()
	c.rules[pair{from, to}] = r
	if (r == Rule{}) {
		delete(c.rules, pair{from, to})
	}
	c.noteLocked()
	c.mu.Unlock()
	return c.applyWire()
}

// applyWire has every port damage what it sends as the rules say now.
func (c *Controller) applyWire() error {
	type job struct {
		p  *Port
		to fabric.MemberID
		w  WireFaults
	}
	var jobs []job
	c.mu.Lock()
	for _, p := range c.ports {
		for to := range c.ports {
			jobs = append(jobs, job{p, to, c.ruleLocked(p.id, to).Wire})
		}
		for r := range c.rules { // members of other processes
			if c.ports[r.to] == nil && r.to != 0 {
				jobs = append(jobs, job{p, r.to, c.ruleLocked(p.id, r.to).Wire})
			}
		}
	}
	c.mu.Unlock()
	var errs []error
	for _, j := range jobs {
		if j.to != j.p.id {
			errs = append(errs, j.p.setWire(j.to, j.w))
		}
	}
	return errors.Join(errs...)
}

// Clear removes all rules and cuts. Frames that are held back leave when their
// time has come.
func (c *Controller) Clear() error {
	c.mu.Lock()
	clear(c.rules)
	clear(c.cuts)
	c.noteLocked()
	c.mu.Unlock()
	c.relinkAll()
	return c.applyWire()
}

func (c *Controller) noteLocked() { c.quiet.Store(len(c.rules) == 0 && len(c.cuts) == 0) }

// ruleLocked finds the rule for a pair: its own, one for all receivers, one for
// all senders, one for all.
func (c *Controller) ruleLocked(from, to fabric.MemberID) Rule {
	for _, p := range [...]pair{{from, to}, {from, 0}, {0, to}, {0, 0}} {
		if r, ok := c.rules[p]; ok {
			return r
		}
	}
	return Rule{}
}

func (c *Controller) rule(from, to fabric.MemberID) Rule {
	if c.quiet.Load() {
		return Rule{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ruleLocked(from, to)
}

// Cut ends transmission from one member to another; see the package
// documentation. Cuts add up: each needs a Mend.
func (c *Controller) Cut(from, to fabric.MemberID) { c.changeCut(pair{from, to}, 1) }

// Mend takes one Cut back; without one it does nothing.
func (c *Controller) Mend(from, to fabric.MemberID) { c.changeCut(pair{from, to}, -1) }

func (c *Controller) changeCut(p pair, by int) {
	c.mu.Lock()
	if c.cuts[p] += by; c.cuts[p] <= 0 {
		delete(c.cuts, p)
	}
	c.noteLocked()
	c.mu.Unlock()
	c.relinkAll()
}

// isCut reports whether a direction is cut.
func (c *Controller) isCut(from, to fabric.MemberID) bool {
	if c.quiet.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts[pair{from, to}] > 0
}

// isApart reports whether a cut keeps frames from flowing between two members.
func (c *Controller) isApart(a, b fabric.MemberID) bool {
	if c.quiet.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts[pair{a, b}] > 0 || c.cuts[pair{b, a}] > 0
}

// relinkAll lets all ports tell their handlers what has changed.
func (c *Controller) relinkAll() {
	c.mu.Lock()
	ports := slices.Collect(maps.Values(c.ports))
	c.mu.Unlock()
	slices.SortFunc(ports, func(a, b *Port) int { return cmp.Compare(a.id, b.id) })
	for _, p := range ports {
		p.relink()
	}
}

// Kill ends a member; see the package documentation. Its port's Close waits for
// the end.
func (c *Controller) Kill(id fabric.MemberID) {
	c.mu.Lock()
	p := c.ports[id]
	c.mu.Unlock()
	if p != nil {
		p.kill()
	}
}

// Counts returns how often each fault has struck.
func (c *Controller) Counts() Counts {
	return Counts{
		Dropped: c.counts[nDropped].Load(), Corrupted: c.counts[nCorrupted].Load(), Held: c.counts[nHeld].Load(),
		Reordered: c.counts[nReordered].Load(), Refused: c.counts[nRefused].Load(), RowsWithheld: c.counts[nRows].Load(),
	}
}

// fate is what is decided about one frame for one destination.
type fate struct {
	err  error // refused
	loss error // lost
	hold time.Duration
}

func (c *Controller) decide(from, to fabric.MemberID, o *fabric.Outgoing, patch []byte) fate {
	if c.quiet.Load() {
		return fate{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cuts[pair{from, to}] > 0 || c.cuts[pair{to, from}] > 0 {
		c.counts[nRefused].Add(1)
		return fate{err: fmt.Errorf("%w: %w", fabric.ErrLinkDown, ErrCut)}
	}
	r := c.ruleLocked(from, to)
	f := fate{hold: c.holdLocked(&r)}
	switch {
	case r.Drop > 0 && c.rng.Float64() < r.Drop:
		c.counts[nDropped].Add(1)
		f.loss = ErrDropped
	case r.Corrupt > 0 && c.rng.Float64() < r.Corrupt:
		c.counts[nCorrupted].Add(1)
		f.loss = corrupt(o, patch, c.rng.Uint64())
	}
	return f
}

func (c *Controller) holdLocked(r *Rule) time.Duration {
	d := r.Delay
	if r.Jitter > 0 {
		d += time.Duration(c.rng.ExpFloat64() * float64(r.Jitter))
	}
	if r.Reorder > 0 && c.rng.Float64() < r.Reorder {
		d += r.ReorderBy
		c.counts[nReordered].Add(1)
	}
	if d > 0 {
		c.counts[nHeld].Add(1)
	}
	return min(d, c.cfg.MaxHold)
}

// dropRow decides about a row.
func (c *Controller) dropRow(from, to fabric.MemberID) bool {
	if c.quiet.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.ruleLocked(from, to)
	return r.Drop > 0 && c.rng.Float64() < r.Drop
}

// corrupt flips one bit of a frame on the wire. That the decoder lets it pass
// would be a bug of the format, and nothing to go on with.
func corrupt(o *fabric.Outgoing, patch []byte, random uint64) error {
	h := fabric.Header{Kind: max(o.Kind, fabric.KindData), Class: o.Class, Lane: o.Lane, Stream: o.Stream, Has: fabric.HasCRC}
	b := fabric.AppendFrame(nil, &h, patch, o.Body)
	bit := random % uint64(8*len(b))
	b[bit/8] ^= 1 << (bit % 8)
	var f fabric.Frame
	rest, err := fabric.ParseFrame(b, fabric.MaxBody, &f)
	if err == nil && len(rest) == 0 {
		panic(fmt.Sprintf("fault: a frame with bit %d flipped is taken for %+v", bit, f.Header))
	}
	return fmt.Errorf("%w: %w", ErrCorrupted, err)
}
