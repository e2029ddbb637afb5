package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

const (
	defaultRaftDuration = 600 * time.Millisecond
	// maxRepeats bounds how often one comparison is measured again because
	// the leader changed.
	maxRepeats = 10
	// maxInFlight bounds what waits at once: far below where a group on one
	// machine still gets faster.
	maxInFlight = 1 << 14
	// raftOpenTime is what opening and closing the groups of one comparison
	// takes, for the estimate.
	raftOpenTime = time.Second
)

// RaftConfig says what to measure. The zero value of every field is its default.
type RaftConfig struct {
	// Ports to compare with rafthttp, of RaftPorts. Default DefaultRaftPorts.
	Ports []string
	// Members are the sizes of the groups. Default 3, 5.
	Members []int
	// InFlight are the numbers of proposals under way. Each belongs to a client
	// that makes the next when the leader has applied it. Default 1, 32.
	InFlight []int
	// Size of an entry in bytes. Default 256.
	Size int
	// Sealed: Clear compares over http, Sealed over https, SealedBoth both.
	// Default Clear.
	Sealed string
	// Pairs of measurements for each ratio. Default 6.
	Pairs int
	// Duration of one measurement, the warm-up included. Default 600ms.
	Duration time.Duration
	// Progress is told what is going on. Default nobody.
	Progress func(format string, args ...any)
}

func (c RaftConfig) withDefaults() RaftConfig {
	if len(c.Ports) == 0 {
		c.Ports = DefaultRaftPorts()
	}
	if len(c.Members) == 0 {
		c.Members = []int{3, 5}
	}
	if len(c.InFlight) == 0 {
		c.InFlight = []int{1, 32}
	}
	orDefault(&c.Size, defaultSize)
	orDefault(&c.Sealed, Clear)
	orDefault(&c.Pairs, defaultPairs)
	orDefault(&c.Duration, defaultRaftDuration)
	if c.Progress == nil {
		c.Progress = func(string, ...any) {}
	}
	return c
}

// Validate returns all faults at once.
func (c RaftConfig) Validate() error {
	c = c.withDefaults()
	errs := append(checkPorts(c.Ports, RaftPorts()), checkSealed(c.Sealed, c.Ports)...)
	for _, n := range c.Members {
		if n < minMembers {
			errs = append(errs, fmt.Errorf("%d members have nobody to agree with: use %d or more", n, minMembers))
		}
	}
	for _, n := range c.InFlight {
		if n < 1 || n > maxInFlight {
			errs = append(errs, fmt.Errorf("%d proposals in flight: use 1 to %d", n, maxInFlight))
		}
	}
	if c.Size < minProposal {
		errs = append(errs, fmt.Errorf("entries of %d bytes are too small: use %d or more", c.Size, minProposal))
	}
	if c.Size > maxSizePerMsg {
		errs = append(errs, fmt.Errorf("entries of %d bytes are larger than raft's messages: use %d or fewer", c.Size, maxSizePerMsg))
	}
	if c.Pairs < 1 {
		errs = append(errs, fmt.Errorf("%d pairs measure nothing: use 1 or more", c.Pairs))
	}
	if c.Duration < 0 {
		errs = append(errs, errors.New("the duration cannot be negative"))
	}
	return errors.Join(errs...)
}

// Estimate is about how long RunRaft takes.
func (c RaftConfig) Estimate() time.Duration {
	c = c.withDefaults()
	return time.Duration(len(c.cells())) * (time.Duration(2*c.Pairs)*c.Duration + raftOpenTime)
}

// raftCell is one line of the result.
type raftCell struct {
	cell
	inFlight int
}

func (c raftCell) String() string { return fmt.Sprintf("%v, %d in flight", c.cell, c.inFlight) }

func (c RaftConfig) cells() (cells []raftCell) {
	base := TransportConfig{Ports: c.Ports, Members: c.Members, Sealed: c.Sealed}
	for _, b := range base.cells() {
		for _, n := range c.InFlight {
			cells = append(cells, raftCell{b, n})
		}
	}
	return cells
}

// RunRaft measures raft groups and calls report for each port, number of
// members, clear or sealed and number of proposals in flight, as soon as it is
// known. A comparison that fails does not keep the others from being made; the
// error names all that did.
func RunRaft(ctx context.Context, cfg RaftConfig, report func(RaftResult)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	all := comparisons[raftCell, RaftResult]{
		cells: cfg.cells(), pairs: cfg.Pairs, sealed: cfg.Sealed, estimate: cfg.Estimate(), progress: cfg.Progress,
		run: func(ctx context.Context, c raftCell, certs *transport.TLSInfo) (RaftResult, error) {
			return runRaftCell(ctx, cfg, c, certs)
		},
	}
	return all.make(ctx, report)
}

// raftSide is one of the two that are compared, with a group that is opened
// again when it has been spoilt.
type raftSide struct {
	sys    func() *system
	g      *raftGroup
	series raftSeries
}

// raftRig measures one cell.
type raftRig struct {
	cfg        RaftConfig
	cell       raftCell
	certs      *transport.TLSInfo
	ours, base raftSide
	repeats    int
}

func runRaftCell(ctx context.Context, cfg RaftConfig, c raftCell, certs *transport.TLSInfo) (RaftResult, error) {
	if !c.sealed {
		certs = nil
	}
	r := &raftRig{cfg: cfg, cell: c, certs: certs}
	r.ours.sys = func() *system { return c.port.make(0) }
	r.base.sys = func() *system { return stockSystem(PortRafthttp) }
	defer r.close()
	for i := range cfg.Pairs {
		order := []*raftSide{&r.base, &r.ours}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			if err := r.measure(ctx, s); err != nil {
				return RaftResult{}, err
			}
		}
	}
	return r.result(), nil
}

// measure measures one side once, again if leadership changed meanwhile.
func (r *raftRig) measure(ctx context.Context, s *raftSide) error {
	for {
		f, err := r.attempt(ctx, s)
		if err == nil {
			s.series.add(f)
			return nil
		}
		s.close()
		if !errors.Is(err, errLeaderChanged) {
			return err
		}
		if r.repeats++; r.repeats > maxRepeats {
			return fmt.Errorf("measured again %d times, as the leader kept changing: is the machine overloaded? %w", maxRepeats, err)
		}
		r.cfg.Progress("%v: measured again: %v", r.cell, err)
	}
}

func (r *raftRig) attempt(ctx context.Context, s *raftSide) (f raftFigures, err error) {
	if s.g == nil {
		if s.g, err = openRaft(ctx, s.sys(), r.cell.members, r.cell.inFlight, r.cfg.Size, r.certs); err != nil {
			return f, err
		}
	}
	return s.g.run(ctx, r.cell.inFlight, r.cfg.Duration)
}

func (s *raftSide) close() {
	if s.g != nil {
		s.g.close()
		s.g = nil
	}
}

func (r *raftRig) close() {
	r.ours.close()
	r.base.close()
}
