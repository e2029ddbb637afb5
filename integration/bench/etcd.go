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
	"github.com/raftdv/dv/integration/netns"
)

const (
	defaultEtcdPairs    = 10
	defaultEtcdDuration = 5 * time.Second
	defaultValue        = 256
	// memoryDir is where Linux keeps a file system in memory.
	memoryDir = "/dev/shm"
	// clusterTime is what starting and stopping both clusters takes, for the
	// estimate.
	clusterTime = 5 * time.Second
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
	// Pairs of measurements for each ratio, each on clusters of its own. Default
	// 10.
	Pairs int
	// Duration of one measurement. Default 5s.
	Duration time.Duration
	// Value is the size of a value in bytes. Default 256.
	Value int
	// TLS between members and towards clients.
	TLS bool
	// Namespaces gives each member a network namespace, with datagrams of 1500 bytes
	// between members as on hosts, and a unix socket for clients. It needs root, and
	// cannot be had with TLS. Default: all are on loopback, with datagrams of 64 KiB.
	Namespaces bool
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
	if c.Dir == "" && InMemory(memoryDir) {
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
	if c.Namespaces && c.TLS {
		errs = append(errs, errors.New("namespaces cannot be had with TLS: the certificates name loopback alone; use one of the two"))
	}
	return errors.Join(errs...)
}

// Estimate is about how long RunEtcd takes.
func (c EtcdConfig) Estimate() time.Duration {
	c = c.withDefaults()
	measured := time.Duration(len(c.Clients)*2) * c.Duration
	return time.Duration(len(c.Members)*c.Pairs) * (clusterTime + measured + measured/5)
}

// RunEtcd measures and calls report for each number of members and clients,
// as soon as it is known.
func RunEtcd(ctx context.Context, cfg EtcdConfig, report func(EtcdResult)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg.Progress("%d comparisons of %d pairs, about %v", len(cfg.Members)*len(cfg.Clients), cfg.Pairs, cfg.Estimate().Round(time.Second))
	left := newETA(len(cfg.Members)*cfg.Pairs, cfg.Estimate())
	for _, n := range cfg.Members {
		if err := runClusters(ctx, cfg, n, left, report); err != nil {
			return fmt.Errorf("%d members: %w", n, err)
		}
	}
	return nil
}

// runClusters compares clusters of n members. Each measurement has a cluster of
// its own, with nothing beside it: who leads, and how a process came to lie in
// memory, stays as it is for the life of a cluster, so that what is measured on
// one agrees with itself more than it should; and a cluster that only idles
// keeps the processors from falling asleep, which helps the other one, and the
// more so the less it is able to idle.
func runClusters(ctx context.Context, cfg EtcdConfig, n int, left *eta, report func(EtcdResult)) error {
	results := make([]etcdComparison, len(cfg.Clients))
	for i := range cfg.Pairs {
		cfg.Progress("%d members: pair %d/%d; %s", n, i+1, cfg.Pairs, left.next())
		if err := runPair(ctx, cfg, n, i, results); err != nil {
			return fmt.Errorf("pair %d: %w", i+1, err)
		}
	}
	for i, clients := range cfg.Clients {
		c := &results[i]
		r := etcdResult(cfg, clients, &c.stock, &c.dv)
		r.Members, r.Storage, r.TLS, r.Paths, r.Network = n, c.storage, cfg.TLS, pathNames(c.paths), cfg.network()
		report(r)
	}
	return nil
}

// etcdComparison is what the pairs gave for one number of clients.
type etcdComparison struct {
	stock, dv etcdSeries
	paths     []string
	storage   string
}

// runPair measures one cluster of each program, one after the other. Odd pairs
// begin with the other side.
func runPair(ctx context.Context, cfg EtcdConfig, n, pair int, results []etcdComparison) error {
	order := []*etcdSide{
		{name: "stock", binary: cfg.Stock, series: func(c *etcdComparison) *etcdSeries { return &c.stock }},
		{name: "dv", binary: cfg.DV, args: cfg.DVArgs, series: func(c *etcdComparison) *etcdSeries { return &c.dv }},
	}
	if pair%2 == 1 {
		slices.Reverse(order)
	}
	for _, s := range order {
		s.value = cfg.Value
		if err := s.measureAll(ctx, cfg, n, results); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (c EtcdConfig) network() string {
	if c.Namespaces {
		return "namespaces"
	}
	return "loopback"
}

// measureAll starts a cluster and measures it with each number of clients.
func (s *etcdSide) measureAll(ctx context.Context, cfg EtcdConfig, n int, results []etcdComparison) (err error) {
	dir, err := os.MkdirTemp(cfg.Dir, "raftdv-bench-")
	if err != nil {
		return fmt.Errorf("folder for the data: %w", err)
	}
	defer os.RemoveAll(dir)
	c := cluster.Config{Binary: s.binary, Size: n, TLS: cfg.TLS, Dir: filepath.Join(dir, s.name), Args: slices.Concat(memberArgs, s.args)}
	if cfg.Namespaces {
		network, e := netns.New(ctx, n)
		if e != nil {
			return e
		}
		defer func() { err = errors.Join(err, network.Close()) }()
		c.Place = network.Place
	}
	if err := s.open(ctx, c); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer s.close()
	for i, clients := range cfg.Clients {
		c := &results[i]
		if err := s.run(ctx, clients, cfg.Duration, s.series(c)); err != nil {
			return fmt.Errorf("%d clients: %w", clients, err)
		}
		c.storage = storage(dir)
		if s.name != "dv" {
			continue
		}
		paths, err := s.paths(ctx)
		if err != nil {
			return err
		}
		c.paths = append(c.paths, strings.Split(paths, ",")...)
	}
	return nil
}

func storage(dir string) string {
	if InMemory(dir) {
		return "memory"
	}
	return "disk"
}

// pathNames joins what is used, each once.
func pathNames(all []string) string {
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ",")
}
