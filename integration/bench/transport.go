package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"

	"github.com/raftdv/dv/integration/cluster"
)

// The values of TransportConfig.Sealed.
const (
	SealedBoth = "both"
	Clear      = "clear"
	Sealed     = "sealed"
)

const (
	defaultSize     = 256
	defaultWindow   = 256
	defaultPairs    = 6
	defaultDuration = 400 * time.Millisecond
	defaultSpin     = 200 * time.Microsecond
	minMembers      = 2
	// rttShare is the part of Duration that round trips are measured for.
	rttShare = 0.5
	// openTime is what opening and closing one cell's groups takes, for the
	// estimate.
	openTime = 800 * time.Millisecond
)

// TransportConfig says what to measure. The zero value of every field is its
// default.
type TransportConfig struct {
	// Ports to compare with rafthttp, of TransportPorts. Default
	// DefaultTransportPorts.
	Ports []string
	// Members are the sizes of the groups. Default 3, 5.
	Members []int
	// Size of an entry in bytes. Default 256.
	Size int
	// Sealed: Clear compares over http, Sealed over https, SealedBoth both.
	// Default SealedBoth.
	Sealed string
	// Window bounds the entries in flight. Default 256.
	Window int
	// Acks: followers answer with MsgAppResps, and these move the window. By
	// default it moves with what was handed to Process.
	Acks bool
	// Pairs of measurements for each ratio. Default 6.
	Pairs int
	// Duration of one measurement of deliveries; round trips take half of it.
	// Default 400ms.
	Duration time.Duration
	// Spin is how long the transport's receivers poll in the spinning
	// measurement, of ports that can. Default 200µs.
	Spin time.Duration
	// Progress is told what is going on. Default nobody.
	Progress func(format string, args ...any)
}

func (c TransportConfig) withDefaults() TransportConfig {
	if len(c.Ports) == 0 {
		c.Ports = DefaultTransportPorts()
	}
	if len(c.Members) == 0 {
		c.Members = []int{3, 5}
	}
	orDefault(&c.Size, defaultSize)
	orDefault(&c.Sealed, SealedBoth)
	orDefault(&c.Window, defaultWindow)
	orDefault(&c.Pairs, defaultPairs)
	orDefault(&c.Duration, defaultDuration)
	orDefault(&c.Spin, defaultSpin)
	if c.Progress == nil {
		c.Progress = func(string, ...any) {}
	}
	return c
}

func orDefault[T comparable](field *T, def T) {
	if *field == *new(T) {
		*field = def
	}
}

// Validate returns all faults at once.
func (c TransportConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	errs = append(errs, checkPorts(c.Ports, TransportPorts())...)
	errs = append(errs, checkSealed(c.Sealed, c.Ports)...)
	for _, n := range c.Members {
		if n < minMembers {
			errs = append(errs, fmt.Errorf("%d members have nobody to send to: use %d or more", n, minMembers))
		}
	}
	if c.Size < minSize {
		errs = append(errs, fmt.Errorf("entries of %d bytes are too small: use %d or more", c.Size, minSize))
	}
	if most := rawDatagram - rawMessage; c.Size > most && slices.Contains(c.Ports, PortRawUDP) {
		errs = append(errs, fmt.Errorf("entries of %d bytes do not fit into a datagram of %s: use %d or fewer, or leave that port out", c.Size, PortRawUDP, most))
	}
	if c.Window < 2 {
		errs = append(errs, fmt.Errorf("a window of %d cannot be halved: use 2 or more", c.Window))
	}
	if c.Pairs < 1 {
		errs = append(errs, fmt.Errorf("%d pairs measure nothing: use 1 or more", c.Pairs))
	}
	if c.Duration < 0 || c.Spin < 0 {
		errs = append(errs, errors.New("durations cannot be negative"))
	}
	return errors.Join(errs...)
}

// Estimate is about how long RunTransport takes.
func (c TransportConfig) Estimate() time.Duration {
	c = c.withDefaults()
	var sum time.Duration
	for _, cell := range c.cells() {
		roundTrips := 2.0
		if cell.port.spins {
			roundTrips = 3
		}
		pair := 2*c.Duration + time.Duration(roundTrips*rttShare*float64(c.Duration))
		sum += time.Duration(c.Pairs)*pair + c.Duration/2 + openTime
	}
	return sum
}

func (c TransportConfig) load() load { return load{c.Size, uint64(c.Window), c.Acks} }

// cell is one line of the result.
type cell struct {
	port    port
	members int
	sealed  bool
}

func (c cell) String() string {
	return fmt.Sprintf("%s, %d members, %s", c.port.name, c.members, sealedName(c.sealed))
}

func (c TransportConfig) cells() (cells []cell) {
	for _, name := range c.Ports {
		p, _ := findPort(name)
		for _, sealed := range seals(c.Sealed, name) {
			for _, n := range c.Members {
				cells = append(cells, cell{p, n, sealed})
			}
		}
	}
	return cells
}

// RunTransport measures and calls report for each port, number of members and
// clear or sealed, as soon as it is known. A comparison that fails does not
// keep the others from being made; the error names all that did.
func RunTransport(ctx context.Context, cfg TransportConfig, report func(TransportResult)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	all := comparisons[cell, TransportResult]{
		cells: cfg.cells(), pairs: cfg.Pairs, sealed: cfg.Sealed, estimate: cfg.Estimate(), progress: cfg.Progress,
		run: func(ctx context.Context, c cell, certs *transport.TLSInfo) (TransportResult, error) {
			return runCell(ctx, cfg, c, certs)
		},
	}
	return all.make(ctx, report)
}

func certificates(wanted bool) (*transport.TLSInfo, func(), error) {
	if !wanted {
		return nil, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "raftdv-bench-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { os.RemoveAll(dir) }
	info, err := cluster.Certificates(dir)
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("make certificates: %w", err)
	}
	return &info, remove, nil
}

// rig is what one cell measures on. Groups that are open and idle cost a
// little, the same on both sides.
type rig struct{ ours, base, spin *group }

func runCell(ctx context.Context, cfg TransportConfig, c cell, certs *transport.TLSInfo) (TransportResult, error) {
	if !c.sealed {
		certs = nil
	}
	null, err := harness(ctx, cfg, c)
	if err != nil {
		return TransportResult{}, err
	}
	var r rig
	open := func(g **group, sys *system) (err error) {
		*g, err = openGroup(ctx, sys, c.members, certs)
		return err
	}
	defer func() { r.close() }()
	if err := errors.Join(open(&r.base, stockSystem(PortRafthttp)), open(&r.ours, c.port.make(0))); err != nil {
		return TransportResult{}, err
	}
	var s samples
	for i := range cfg.Pairs {
		if err := r.floods(ctx, cfg, i%2 == 1, &s); err != nil {
			return TransportResult{}, err
		}
	}
	if c.port.spins {
		if err := open(&r.spin, c.port.make(cfg.Spin)); err != nil {
			return TransportResult{}, err
		}
	}
	for i := range cfg.Pairs {
		if err := r.roundTrips(ctx, cfg, i%2 == 1, &s); err != nil {
			return TransportResult{}, err
		}
	}
	return s.result(cfg, c, null), nil
}

func (r *rig) close() {
	for _, g := range []*group{r.base, r.ours, r.spin} {
		if g != nil {
			g.close()
		}
	}
}

// harness measures what a transport that does nothing costs.
func harness(ctx context.Context, cfg TransportConfig, c cell) (floodResult, error) {
	g, err := openGroup(ctx, nullSystem(), c.members, nil)
	if err != nil {
		return floodResult{}, err
	}
	defer g.close()
	return runFlood(ctx, g, cfg.load(), cfg.Duration/2)
}

// samples has one entry for each pair.
type samples struct{ ours, base, spin series }

type series struct {
	perSecond, cpu, allocs, p50, p99 []float64
	sent, lost                       uint64
}

func (s *series) flood(r floodResult) {
	s.sent, s.lost = s.sent+r.sent, s.lost+r.lost
	s.perSecond = append(s.perSecond, r.perSecond)
	s.cpu = append(s.cpu, r.cpu)
	s.allocs = append(s.allocs, r.allocs)
}

func (s *series) rtt(r rttResult) {
	s.sent, s.lost = s.sent+r.sent, s.lost+r.lost
	s.p50 = append(s.p50, r.p50)
	s.p99 = append(s.p99, r.p99)
}

// floods measures both sides once, in the other order if swapped.
func (r *rig) floods(ctx context.Context, cfg TransportConfig, swapped bool, s *samples) error {
	for _, side := range inTurn(swapped, side{r.base, &s.base}, side{r.ours, &s.ours}) {
		res, err := runFlood(ctx, side.g, cfg.load(), cfg.Duration)
		if err != nil {
			return err
		}
		side.into.flood(res)
	}
	return nil
}

// roundTrips is floods for round trips.
func (r *rig) roundTrips(ctx context.Context, cfg TransportConfig, swapped bool, s *samples) error {
	for _, side := range inTurn(swapped, side{r.base, &s.base}, side{r.ours, &s.ours}, side{r.spin, &s.spin}) {
		if side.g == nil {
			continue
		}
		res, err := runPingpong(ctx, side.g, cfg.Size, time.Duration(rttShare*float64(cfg.Duration)))
		if err != nil {
			return err
		}
		side.into.rtt(res)
	}
	return nil
}

type side struct {
	g    *group
	into *series
}

func inTurn(swapped bool, sides ...side) []side {
	if swapped {
		slices.Reverse(sides)
	}
	return sides
}
