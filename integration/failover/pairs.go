package failover

import (
	"errors"
	"fmt"
	"iter"
	"slices"
)

// inTurn calls one for each side of each trial. Every second trial begins with the
// other side, so that what the machine does meanwhile falls on both.
func inTurn(trials int, sides []string, one func(trial int, side string) error) error {
	for i := range trials {
		order := slices.Clone(sides)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, side := range order {
			if err := one(i, side); err != nil {
				return fmt.Errorf("trial %d, %s: %w", i+1, side, err)
			}
		}
	}
	return nil
}

// bothSides are stock etcd and etcd-dv.
var bothSides = []string{StockSide, DVSide}

// of is what belongs to a side.
func of[N any](side string, stock, dv *N) *N {
	if side == StockSide {
		return stock
	}
	return dv
}

// each is what belongs to each side, in the order of tables.
func each[N any](stock, dv *N) iter.Seq2[string, *N] {
	return func(yield func(string, *N) bool) {
		_ = yield(StockSide, stock) && yield(DVSide, dv)
	}
}

// skipped says why something was not measured if err is that it cannot be had here;
// else it returns err.
func (p Programs) skipped(what string, err error) (why string, rest error) {
	if !errors.Is(err, ErrNotHere) {
		return "", err
	}
	p.Progress("SKIPPED: %s: %v", what, err)
	return err.Error(), nil
}
