package swap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
)

const (
	defaultClients = 6
	defaultPace    = 25 * time.Millisecond
	defaultSettle  = 3 * time.Second
	members        = 3
	readTimeout    = time.Minute
)

// Config says what to swap. Stock, DV and Dir are required.
type Config struct {
	Stock, DV string // binaries
	// Dir receives members' data, logs and, in the end, the report.
	Dir string
	// Clients write and read at the same time. Default 6.
	Clients int
	// Pace is how often each begins an operation. Default 25ms.
	Pace time.Duration
	// Settle is how long the load goes on before the first step and after
	// each. Default 3s.
	Settle time.Duration
	// Env is added to the environment of every member. Stock etcd warns of
	// variables that it does not know and goes on.
	Env map[string]string
	// TLS makes peers and clients use mutual TLS.
	TLS bool
}

func (c Config) withDefaults() Config {
	if c.Clients == 0 {
		c.Clients = defaultClients
	}
	if c.Pace == 0 {
		c.Pace = defaultPace
	}
	if c.Settle == 0 {
		c.Settle = defaultSettle
	}
	return c
}

// Validate returns all faults at once.
func (c Config) Validate() error {
	var errs []error
	for name, value := range map[string]string{"Stock": c.Stock, "DV": c.DV, "Dir": c.Dir} {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s is empty: name it", name))
		}
	}
	if c.Clients < 0 || c.Pace < 0 || c.Settle < 0 {
		errs = append(errs, errors.New("the fields Clients, Pace and Settle cannot be negative: 0 stands for the default"))
	}
	return errors.Join(errs...)
}

// A Report says what happened.
type Report struct {
	History  *History
	Steps    []StepReport
	DataDirs map[string]string // of the members, which are stopped
}

// A StepReport is one step and what clients felt of it.
type StepReport struct {
	What, Member string
	Took         time.Duration // until the member answered again
	// Gap is the longest time from the step's begin to the next one's in
	// which no write was acknowledged to anybody.
	Gap           time.Duration
	Acked, Failed int
	// Roads are taken at the end of the step.
	Roads Roads

	begin, end int64
}

// Run takes all steps under load and collects the history. The members are
// stopped when it returns; their data is in cfg.Dir.
func Run(ctx context.Context, cfg Config, w io.Writer) (*Report, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c, err := cluster.New(ctx, cluster.Config{Binary: cfg.Stock, Dir: cfg.Dir, Size: members, TLS: cfg.TLS, Env: cfg.Env})
	if err != nil {
		return nil, err
	}
	// Close would remove the data, which is evidence: the caller owns Dir.
	defer stopAll(c)
	l, err := startLoad(ctx, c, cfg.Clients, cfg.Pace)
	if err != nil {
		return nil, err
	}
	r := &Report{History: &History{}, DataDirs: map[string]string{}}
	err = r.takeSteps(ctx, cfg, c, l, w)
	r.History.Clients = l.end()
	if err != nil {
		return nil, err
	}
	if err := r.readBack(ctx, c, l); err != nil {
		return nil, err
	}
	r.measure()
	r.print(w)
	return r, nil
}

func stopAll(c *cluster.Cluster) {
	for _, m := range c.Members() {
		m.Stop()
	}
}

func (r *Report) takeSteps(ctx context.Context, cfg Config, c *cluster.Cluster, l *load, w io.Writer) error {
	binaries := map[bool]string{false: cfg.Stock, true: cfg.DV}
	if err := settle(ctx, l, cfg.Settle); err != nil {
		return err
	}
	for _, s := range plan(members) {
		begin := l.clock.now()
		m, err := s.do(ctx, c, binaries)
		if err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		took := l.clock.now() - begin
		if err := settle(ctx, l, cfg.Settle); err != nil {
			return fmt.Errorf("after %s of %s: %w", s.what, m.Name, err)
		}
		taken, err := roads(ctx, c.Members(), running(c, cfg.DV))
		if err != nil {
			return fmt.Errorf("after %s of %s: %w", s.what, m.Name, err)
		}
		r.Steps = append(r.Steps, StepReport{
			What: s.what, Member: m.Name, Took: time.Duration(took), Roads: taken, begin: begin, end: l.clock.now(),
		})
		fmt.Fprintf(w, "%-5s %-38s answers after %v\n", m.Name, s.what, time.Duration(took).Round(time.Millisecond))
	}
	return nil
}

// running are the members with a binary.
func running(c *cluster.Cluster, binary string) []*cluster.Member {
	return slices.DeleteFunc(slices.Clone(c.Members()), func(m *cluster.Member) bool { return m.Binary() != binary })
}

// settle lets the load go on and makes sure that it does: writes must be
// acknowledged again, however long that takes within readTimeout.
func settle(ctx context.Context, l *load, d time.Duration) error {
	before := l.acks.Load()
	timer, limit := time.NewTimer(d), time.NewTimer(readTimeout)
	defer timer.Stop()
	defer limit.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
	}
	t := time.NewTicker(opTimeout / 100)
	defer t.Stop()
	for l.acks.Load() == before {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.C:
			return fmt.Errorf("no write was acknowledged for %v", readTimeout)
		case <-t.C:
		}
	}
	return nil
}

// readBack has a client read everything through every member, and takes each
// member's own history.
func (r *Report) readBack(ctx context.Context, c *cluster.Cluster, l *load) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r.History.Members = map[string][]Event{}
	for _, m := range c.Members() {
		cli, err := m.Client()
		if err != nil {
			return err
		}
		ops, events, err := readMember(ctx, cli, l)
		cli.Close()
		if err != nil {
			return fmt.Errorf("read back through %s: %w", m.Name, err)
		}
		r.History.Clients = append(r.History.Clients, ops)
		r.History.Members[m.Name] = events
		r.DataDirs[m.Name] = m.DataDir()
	}
	return nil
}

func readMember(ctx context.Context, cli *clientv3.Client, l *load) ([]Op, []Event, error) {
	rec := newRecorder(cli, l.clock, &l.streams, readTimeout)
	if _, err := rec.get(ctx, key(0), clientv3.GetPrefixRangeEnd("key")); err != nil {
		return nil, nil, err
	}
	events, err := readEvents(ctx, cli, rec.ops[0].Output.Revision)
	return rec.ops, events, err
}

// readEvents returns all changes up to a revision, which must be that of one.
func readEvents(ctx context.Context, cli *clientv3.Client, last int64) ([]Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var events []Event
	for resp := range cli.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := resp.Err(); err != nil {
			return nil, err
		}
		for _, e := range resp.Events {
			events = append(events, event(e))
		}
		if n := len(events); n > 0 && events[n-1].Revision >= last {
			return events, nil
		}
	}
	return nil, fmt.Errorf("the watch ended after %d events, before revision %d: %w", len(events), last, context.Cause(ctx))
}

func event(e *clientv3.Event) Event {
	kind := opPut
	if e.Type == clientv3.EventTypeDelete {
		kind = "delete-operation"
	}
	return Event{Type: kind, Key: string(e.Kv.Key), Value: Value{string(e.Kv.Value)}, Revision: e.Kv.ModRevision, IsCreate: e.IsCreate()}
}

// measure finds the gaps.
func (r *Report) measure() {
	ops := r.History.ops()
	for i := range r.Steps {
		s := &r.Steps[i]
		last := s.begin
		for _, op := range ops {
			if op.Return < s.begin || op.Return >= s.end {
				continue
			}
			if !op.acked() {
				s.Failed++
				continue
			}
			if _, wrote := op.write(); wrote {
				s.Acked++
				s.Gap = max(s.Gap, time.Duration(op.Return-last))
				last = op.Return
			}
		}
		s.Gap = max(s.Gap, time.Duration(s.end-last))
	}
}

func (r *Report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%-6s %-34s %9s %9s %6s %6s  %s\n", "member", "step", "answers", "gap", "acked", "failed", "roads: fabric fallback stock")
	for _, s := range r.Steps {
		fmt.Fprintf(w, "%-6s %-34s %9v %9v %6d %6d  %13d %8d %5d\n", s.Member, s.What,
			s.Took.Round(time.Millisecond), s.Gap.Round(time.Millisecond), s.Acked, s.Failed,
			s.Roads.Fabric, s.Roads.Fallback, s.Roads.Stock)
	}
	total, acked := 0, 0
	for _, op := range slices.Concat(r.History.Clients...) {
		total++
		if _, ok := op.write(); ok {
			acked++
		}
	}
	fmt.Fprintf(w, "%d operations, %d acknowledged writes\n", total, acked)
}

// ReportDir is where the evidence of a run in dir lies.
func ReportDir(dir string) string { return filepath.Join(dir, "report") }
