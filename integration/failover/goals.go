package failover

import (
	"errors"
	"fmt"
	"math"
)

// A Goal bounds what etcd-dv takes in a cell with one writer, in ms.
type Goal struct{ P50Ms, P99Ms, MaxMs float64 }

// electionMs is etcd's default election timeout.
const electionMs = 1000

// goals by fault; nothing measures them unless it is asked to.
var goals = map[string]Goal{
	Kill:  {15, 50, math.Inf(1)},
	Stop:  {60, 120, math.Inf(1)},
	Cut:   {60, 120, math.Inf(1)},
	Stall: {math.Inf(1), math.Inf(1), 1.2 * electionMs},
}

// leastShare of its writes that etcd-dv keeps under attack.
const leastShare = 0.5

// ErrMissed is returned when a goal is missed.
var ErrMissed = errors.New("goal missed")

// Check compares a result with its goal; nil where there is none.
func (r Result) Check() error {
	g, ok := goals[r.Fault]
	if !ok || r.Writers != 1 {
		return nil
	}
	if r.Skipped != "" {
		return fmt.Errorf("%w: %s, %d members: was not measured: %s", ErrMissed, r.Fault, r.Members, r.Skipped)
	}
	var errs []error
	for _, q := range []struct {
		name      string
		got, goal float64
	}{{"p50", r.DV.P50Ms, g.P50Ms}, {"p99", r.DV.P99Ms, g.P99Ms}, {"max", r.DV.MaxMs, g.MaxMs}} {
		if q.got > q.goal {
			errs = append(errs, fmt.Errorf("%w: %s, %d members: %s %.1f ms, want at most %.0f", ErrMissed, r.Fault, r.Members, q.name, q.got, q.goal))
		}
	}
	if r.DV.NotWithin > 0 {
		errs = append(errs, fmt.Errorf("%w: %s, %d members: no write in %d trials", ErrMissed, r.Fault, r.Members, r.DV.NotWithin))
	}
	return errors.Join(errs...)
}

// Check wants a new member to come no later than stock's: the intervals do not
// exclude 1.
func (r JoinResult) Check() error {
	var errs []error
	for _, c := range []struct {
		what   string
		median float64
		lo     float64
	}{{"its snapshot", r.SnapshotRatio, r.SnapshotRatioLo}, {"being ready", r.ReadyRatio, r.ReadyRatioLo}} {
		if !(c.lo <= 1) {
			errs = append(errs, fmt.Errorf("%w: for %s a new member takes %.3g times what stock's does (at least %.3g)", ErrMissed, c.what, c.median, c.lo))
		}
	}
	return errors.Join(errs...)
}

// Check wants no change of leader, and no more than stock where members are
// throttled.
func (r QuietResult) Check() error {
	allowed := 0
	if r.Throttle > 0 {
		allowed = r.Stock.Changes
	}
	switch {
	case r.Skipped != "":
		return fmt.Errorf("%w: was not measured: %s", ErrMissed, r.Skipped)
	case r.DV.Changes > allowed:
		return fmt.Errorf("%w: %d changes of leader without a fault, want at most %d", ErrMissed, r.DV.Changes, allowed)
	}
	return nil
}

// Check wants writes to go on at half of their rate.
func (r AttackResult) Check() error {
	if r.DV.DuringPS < leastShare*r.DV.BeforePS {
		return fmt.Errorf("%w: %.1f writes/s under attack, want half of the %.0f before it", ErrMissed, r.DV.DuringPS, r.DV.BeforePS)
	}
	return nil
}
