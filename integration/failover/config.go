package failover

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/raftdv/dv/integration/bench"
)

// Faults of the leader.
const (
	Kill  = "kill"  // kill -9 of its process
	Stop  = "stop"  // SIGSTOP
	Cut   = "cut"   // its network: nothing goes in or out
	Stall = "stall" // its disk: writes wait
)

// Faults are all of them, in the order of the default.
func Faults() []string { return []string{Kill, Stop, Cut, Stall} }

const (
	defaultTrials = 30
	defaultBound  = 15 * time.Second
	// memoryDir is where Linux keeps a file system in memory.
	memoryDir = "/dev/shm"
	// minMembers can lose one and go on.
	minMembers = 3
	maxWriters = 1024
	// startTime and trialTime are for the estimate: starting the clusters of a
	// block, and a trial, of both sides.
	startTime = 15 * time.Second
	trialTime = 10 * time.Second
)

// Programs are what is compared, and where. Stock and DV are required; the
// zero value of every other field is its default.
type Programs struct {
	// Stock and DV are an etcd and an etcd-dv.
	Stock, DV string
	// DVArgs are further arguments of DV's members.
	DVArgs []string
	// Dir holds the data. Default: in memory where the system has such a file
	// system, else a temporary folder.
	Dir string
	// Logs is a folder to which the members' logs are copied when a cluster ends.
	// Default none.
	Logs string
	// Progress is told what is going on. Default nobody.
	Progress func(format string, args ...any)
}

func (p Programs) withDefaults() Programs {
	if p.Dir == "" && bench.InMemory(memoryDir) {
		p.Dir = memoryDir
	}
	if p.Progress == nil {
		p.Progress = func(string, ...any) {}
	}
	return p
}

func (p Programs) faults() (errs []error) {
	for _, b := range []struct{ what, path string }{{"stock etcd", p.Stock}, {"etcd-dv", p.DV}} {
		if _, err := os.Stat(b.path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w: build it, or name the program", b.what, err))
		}
	}
	return errs
}

// Config says what Run measures.
type Config struct {
	Programs
	// Faults to measure. Default all.
	Faults []string
	// Members are the sizes of the clusters. Default 3, 5.
	Members []int
	// Writers are the numbers of writers that load the cluster. Default 1.
	Writers []int
	// Trials of each side for each cell. Default 30.
	Trials int
	// Bound ends a trial without an acknowledged write. Default 15s.
	Bound time.Duration
	// Trial, if not nil, is told of each trial as it is done.
	Trial func(Trial)
}

func (c Config) withDefaults() Config {
	c.Programs = c.Programs.withDefaults()
	if len(c.Faults) == 0 {
		c.Faults = Faults()
	}
	if len(c.Members) == 0 {
		c.Members = []int{3, 5}
	}
	if len(c.Writers) == 0 {
		c.Writers = []int{1}
	}
	if c.Trials == 0 {
		c.Trials = defaultTrials
	}
	if c.Bound == 0 {
		c.Bound = defaultBound
	}
	if c.Trial == nil {
		c.Trial = func(Trial) {}
	}
	return c
}

// Validate returns all faults at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	errs := c.Programs.faults()
	for _, f := range c.Faults {
		if !slices.Contains(Faults(), f) {
			errs = append(errs, fmt.Errorf("fault %q is unknown: use any of %v", f, Faults()))
		}
	}
	for _, n := range c.Members {
		if n < minMembers {
			errs = append(errs, fmt.Errorf("%d members cannot lose one: use %d or more", n, minMembers))
		}
	}
	for _, n := range c.Writers {
		if n < 1 || n > maxWriters {
			errs = append(errs, fmt.Errorf("%d writers: use 1 to %d", n, maxWriters))
		}
	}
	if c.Trials < 1 {
		errs = append(errs, fmt.Errorf("%d trials measure nothing: use 1 or more", c.Trials))
	}
	if c.Bound < 0 {
		errs = append(errs, errors.New("the bound cannot be negative"))
	}
	return errors.Join(errs...)
}

// A cell is one comparison: a row of the table.
type cell struct {
	fault            string
	members, writers int
}

func (c Config) cells() (all []cell) {
	for _, f := range c.Faults {
		for _, n := range c.Members {
			for _, w := range c.Writers {
				all = append(all, cell{f, n, w})
			}
		}
	}
	return all
}

// Estimate is about how long Run takes.
func (c Config) Estimate() time.Duration {
	c = c.withDefaults()
	blocks := (c.Trials + block - 1) / block
	return time.Duration(len(c.cells())) * (time.Duration(blocks)*startTime + time.Duration(c.Trials)*trialTime)
}
