package storm

import (
	"fmt"
	"time"
)

// A Spec is an experiment. Parse makes one.
type Spec struct {
	// Name is a word for files and titles; Claim what the experiment is about.
	Name, Claim string
	// Cells are what the matrix holds, but for what is excluded, in its order.
	Cells []Cell
	// First and Seeds: each cell has the trials with seeds First to First+Seeds-1.
	First, Seeds uint64
	// WarmUp is how long a trial goes on before the fault strikes, Duration for how
	// long after it; both in simulated
	// time, or in that of the clock on the wall if Real.
	WarmUp, Duration time.Duration
	// Rate is how many writes clients begin in a second, Size the bytes of each.
	Rate, Size int
	// Baseline is the transport that others are compared with, "" if none.
	Baseline string
	// Expect decides the exit status.
	Expect []Expectation

	// Real: the trials are run with real processes, see ForReal.
	Real bool

	// Text is the specification as it was read, and File its name.
	Text []byte
	File string
}

// Defaults of a specification, and the bounds of its settings.
const (
	defaultSeeds    = 100
	maxSeeds        = 10_000_000
	defaultWarmUp   = 2 * time.Second
	defaultDuration = 5 * time.Second
	minDuration     = 100 * time.Millisecond
	maxDuration     = 10 * time.Minute
	defaultRate     = 100
	maxRate         = 10_000
	defaultSize     = 64
	maxSize         = 1 << 16
	maxCells        = 100_000
	maxExpect       = 1000
)

// Trials is how many the whole experiment has.
func (s *Spec) Trials() uint64 { return uint64(len(s.Cells)) * s.Seeds }

// A Cell is one combination of values, in the order of the dimensions.
type Cell struct{ values []string }

// Value is that of a dimension, by its name.
func (c *Cell) Value(dimension string) string { return c.values[dimensionIndex(dimension)] }

// Values are all, in the order of Dimensions.
func (c *Cell) Values() []string { return c.values }

// String names the dimensions that differ from their usual values.
func (c *Cell) String() string {
	text := ""
	for i, v := range c.values {
		if v != dimensions[i].usual || i == 0 {
			if text != "" {
				text += " "
			}
			text += fmt.Sprintf("%s=%s", dimensions[i].name, v)
		}
	}
	return text
}

// Dimensions are the names of what a matrix may vary, in the order of columns.
func Dimensions() []string { return dimensionNames() }
