package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/raftdv/dv/integration/cluster"
)

const (
	defaultEtcdPairs    = 10
	defaultEtcdDuration = 5 * time.Second
	defaultValue        = 256
	// memoryDir is where Linux keeps a file system in memory.
	memoryDir = "/dev/shm"
	// clusterTime is what starting and stopping both clusters takes, for the
	// estimate.
	clusterTime = 10 * time.Second
)

// memberArgs keep the folders small: a run writes for minutes.
var memberArgs = []string{"--max-wals=2", "--max-snapshots=2"}

// EtcdConfig says what to measure. Stock and DV are required; the zero value
// of every other field is its default.
type EtcdConfig struct {
	// Stock and DV are the programs to compare.
	Stock, DV string
	// DVArgs are further arguments of DV's members.
	DVArgs []string
	// Members are the sizes of the clusters. Default 3, 5.
	Members []int
	// Clients are the numbers of clients, each with a connection of its own
	// to every member and one put under way. Default 1, 32.
	Clients []int
	// Pairs of measurements for each ratio. Default 10.
	Pairs int
	// Duration of one measurement. Default 5s.
	Duration time.Duration
	// Value is the size of a value in bytes. Default 256.
	Value int
	// TLS between members and towards clients.
	TLS bool
	// Dir holds the data. Default: a new folder in memory where the system has
	// such a file system, else a temporary one.
	Dir string
	// Progress is told what is going on. Default nobody.
	Progress func(format string, args ...any)
}

func (c EtcdConfig) withDefaults() EtcdConfig {
	if len(c.Members) == 0 {
		c.Members = []int{3, 5}
	}
	if len(c.Clients) == 0 {
		c.Clients = []int{1, 32}
	}
	orDefault(&c.Pairs, defaultEtcdPairs)
	orDefault(&c.Duration, defaultEtcdDuration)
	orDefault(&c.Value, defaultValue)
	if c.Progress == nil {
		c.Progress = func(string, ...any) {}
	}
	if c.Dir == "" && inMemory(memoryDir) {
		c.Dir = memoryDir
	}
	return c
}

// Validate returns all faults at once.
func (c EtcdConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	for _, program := range []struct{ what, path string }{{"stock etcd", c.Stock}, {"etcd-dv", c.DV}} {
		if _, err := os.Stat(program.path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w: build it, or name the program", program.what, err))
		}
	}
	for _, n := range c.Members {
		if n < 1 {
			errs = append(errs, fmt.Errorf("%d members are no cluster: use 1 or more", n))
		}
	}
	for _, n := range c.Clients {
		if n < 1 {
			errs = append(errs, fmt.Errorf("%d clients write nothing: use 1 or more", n))
		}
	}
	if c.Pairs < 1 {
		errs = append(errs, fmt.Errorf("%d pairs measure nothing: use 1 or more", c.Pairs))
	}
	if c.Duration < 0 || c.Value < 0 {
		errs = append(errs, errors.New("duration and value size cannot be negative"))
	}
	return errors.Join(errs...)
}

// Estimate is about how long RunEtcd takes.
func (c EtcdConfig) Estimate() time.Duration {
	c = c.withDefaults()
	measured := time.Duration(len(c.Clients)*c.Pairs*2) * c.Duration
	return time.Duration(len(c.Members)) * (clusterTime + measured + measured/5)
}

// RunEtcd measures and calls report for each number of members and clients,
// as soon as it is known.
func RunEtcd(ctx context.Context, cfg EtcdConfig, report func(EtcdResult)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg.Progress("%d comparisons of %d pairs, about %v", len(cfg.Members)*len(cfg.Clients), cfg.Pairs, cfg.Estimate().Round(time.Second))
	for _, n := range cfg.Members {
		if err := runClusters(ctx, cfg, n, report); err != nil {
			return fmt.Errorf("%d members: %w", n, err)
		}
	}
	return nil
}

// runClusters compares two clusters of n members that run at the same time:
// the one that is not written to has nothing to do but its heartbeats.
func runClusters(ctx context.Context, cfg EtcdConfig, n int, report func(EtcdResult)) error {
	dir, err := os.MkdirTemp(cfg.Dir, "raftdv-bench-")
	if err != nil {
		return fmt.Errorf("folder for the data: %w", err)
	}
	defer os.RemoveAll(dir)
	cfg.Progress("%d members: starting both clusters, data in %s (%s)", n, dir, storage(dir))
	var sides []*etcdSide
	for _, s := range []struct {
		name, binary string
		args         []string
	}{{"stock", cfg.Stock, nil}, {"dv", cfg.DV, cfg.DVArgs}} {
		side := &etcdSide{name: s.name, value: cfg.Value}
		if err := side.open(ctx, cluster.Config{
			Binary: s.binary, Size: n, TLS: cfg.TLS, Dir: filepath.Join(dir, s.name), Args: slices.Concat(memberArgs, s.args),
		}); err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
		defer side.close()
		sides = append(sides, side)
	}
	for _, clients := range cfg.Clients {
		r, err := compare(ctx, cfg, sides[0], sides[1], clients)
		if err != nil {
			return fmt.Errorf("%d clients: %w", clients, err)
		}
		r.Members, r.Storage, r.TLS = n, storage(dir), cfg.TLS
		if r.Paths, err = sides[1].paths(ctx); err != nil {
			return err
		}
		report(r)
	}
	return nil
}

func compare(ctx context.Context, cfg EtcdConfig, stock, dv *etcdSide, clients int) (EtcdResult, error) {
	sides := []*etcdSide{stock, dv}
	for _, s := range sides {
		s.series = etcdSeries{}
		if err := s.connect(clients); err != nil {
			return EtcdResult{}, err
		}
		defer s.disconnect()
	}
	for i := range cfg.Pairs {
		cfg.Progress("%d members, %d clients: pair %d/%d", len(stock.cluster.Members()), clients, i+1, cfg.Pairs)
		order := slices.Clone(sides)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			if err := s.measure(ctx, cfg.Duration); err != nil {
				return EtcdResult{}, fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return etcdResult(cfg, clients, &stock.series, &dv.series), nil
}

func storage(dir string) string {
	if inMemory(dir) {
		return "memory"
	}
	return "disk"
}

// pathNames joins what is used, each once.
func pathNames(all []string) string {
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}
