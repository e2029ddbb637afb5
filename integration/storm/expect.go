package storm

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A metric is what a trial measures.
type metric struct {
	name, about string
	unit        string // of values in results
	time        bool   // may be written as a time in expectations, and is in milliseconds
}

// metrics in the order of columns.
var metrics = []metric{
	{name: "rounds", about: "campaigns, each a candidate in a term, whose request for votes reached somebody, of the worst election (protocol §6.4)", unit: "rounds"},
	{name: "campaigns", about: "campaigns that were begun, whether they reached anybody or not, of the worst election", unit: "campaigns"},
	{name: "elections", about: "elections that a leader came of", unit: "elections"},
	{name: "terms", about: "by which the term rose", unit: "terms"},
	{name: "split_votes", about: "rounds that no leader came of", unit: "rounds"},
	{name: "time_to_leader", about: "from the fault to the next leader; none if there was no election", unit: "ms", time: true},
	{name: "unavailable", about: "the longest time without an acknowledged write, from the fault on", unit: "ms", time: true},
	{name: "ops", about: "acknowledged writes in a second, from the fault on", unit: "1/s"},
	{name: "messages_per_op", about: "messages that rafts sent for each acknowledged write", unit: "messages"},
	{name: "bytes_per_op", about: "bytes on the network for each acknowledged write: frames, rows and acknowledgements, without what packets add", unit: "B"},
	{name: "failed", about: "1 if the trial broke an invariant while it ran, or nobody led in the end; else 0. What can only be seen when a network has come to rest is for raftdv sim", unit: "trials"},
}

func metricNames() (names []string) {
	for i := range metrics {
		names = append(names, metrics[i].name)
	}
	return names
}

func metricIndex(name string) int {
	return slices.IndexFunc(metrics, func(m metric) bool { return m.name == name })
}

// statistics of a metric over trials.
var statistics = []string{"min", "mean", "p50", "p90", "p99", "p999", "max", "sum", "count"}

// An Expectation is one line of a specification's expect.
type Expectation struct {
	Text   string
	Metric string
	Stat   string
	Op     string // <=, <, >=, >, =, !=
	// Value is what it is compared with; OfBaseline: that times the baseline's.
	Value      float64
	OfBaseline bool
	// Where are the values that cells must have, by dimension.
	Where map[string]string
}

var (
	expectForm = regexp.MustCompile(`^\s*([a-z_]+)\.([a-z0-9]+)\s*(<=|>=|!=|<|>|=)\s*([^\s*]+)(\s*\*\s*baseline)?(?:\s+where\s+(.+))?\s*$`)
	whereForm  = regexp.MustCompile(`^\s*([a-z]+)\s*=\s*(\S+)\s*$`)
)

// expectHelp is in every error about the form.
const expectHelp = `write METRIC.STATISTIC <= VALUE, like "rounds.max <= 3", "unavailable.p99 < 0.5 * baseline" or "rounds.max <= 3 where transport = dv and members = 5"`

// parseExpectation lists all faults of a line.
func parseExpectation(text string) (e Expectation, err error) {
	e = Expectation{Text: strings.TrimSpace(text), Where: map[string]string{}}
	parts := expectForm.FindStringSubmatch(text)
	if parts == nil {
		return e, fmt.Errorf("%q is no expectation: %s", text, expectHelp)
	}
	e.Metric, e.Stat, e.Op, e.OfBaseline = parts[1], parts[2], parts[3], parts[5] != ""
	var errs []error
	m := metricIndex(e.Metric)
	if m < 0 {
		errs = append(errs, fmt.Errorf("metric %q: use any of %s", e.Metric, strings.Join(metricNames(), ", ")))
	}
	if !slices.Contains(statistics, e.Stat) {
		errs = append(errs, fmt.Errorf("statistic %q: use any of %s", e.Stat, strings.Join(statistics, ", ")))
	}
	if e.Value, err = expectValue(parts[4], m >= 0 && metrics[m].time && !e.OfBaseline); err != nil {
		errs = append(errs, err)
	}
	if parts[6] != "" {
		where, err := ParseWhere(parts[6])
		e.Where, errs = where, append(errs, err)
	}
	return e, errors.Join(errs...)
}

// ParseWhere reads conditions on cells, "DIMENSION = VALUE and ...", and lists all that
// is wrong with them.
func ParseWhere(text string) (where map[string]string, err error) {
	var errs []error
	where = map[string]string{}
	for _, w := range regexp.MustCompile(`\s+and\s+`).Split(text, -1) {
		f := whereForm.FindStringSubmatch(w)
		if f == nil {
			errs = append(errs, fmt.Errorf("%q is no condition: write DIMENSION = VALUE, several with and between them", w))
			continue
		}
		d := dimensionIndex(f[1])
		if d < 0 {
			errs = append(errs, fmt.Errorf("dimension %q: use any of %s", f[1], strings.Join(dimensionNames(), ", ")))
			continue
		}
		v, err := dimensions[d].parse(f[2])
		if err != nil {
			errs = append(errs, err)
		} else if _, twice := where[f[1]]; twice {
			errs = append(errs, fmt.Errorf("dimension %q is named twice, and no cell has two values of it", f[1]))
		}
		where[f[1]] = v
	}
	return where, errors.Join(errs...)
}

func expectValue(text string, timed bool) (float64, error) {
	if x, err := strconv.ParseFloat(text, 64); err == nil {
		return x, nil
	}
	t, err := time.ParseDuration(text)
	switch {
	case err == nil && timed:
		return float64(t) / float64(time.Millisecond), nil
	case err == nil:
		return 0, fmt.Errorf("value %q is a time: only metrics that are one are compared with it", text)
	default:
		return 0, fmt.Errorf("value %q is no number", text)
	}
}

// matches reports whether a cell is among those that e is about.
func (e *Expectation) matches(c *Cell) bool { return c.Matches(e.Where) }

// Matches reports whether a cell has all of these values.
func (c *Cell) Matches(where map[string]string) bool {
	for name, v := range where {
		if c.Value(name) != v {
			return false
		}
	}
	return true
}

// holds compares.
func (e *Expectation) holds(got, want float64) bool {
	switch e.Op {
	case "<=":
		return got <= want
	case "<":
		return got < want
	case ">=":
		return got >= want
	case ">":
		return got > want
	case "=":
		return got == want
	default:
		return got != want
	}
}
