package failover

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestInTurn: both sides take turns in being first, and an error ends it and says where.
func TestInTurn(t *testing.T) {
	var got []string
	note := func(trial int, side string) error {
		got = append(got, fmt.Sprint(trial, side[:1]))
		return nil
	}
	if err := inTurn(3, bothSides, note); err != nil || !slices.Equal(got, []string{"0s", "0d", "1d", "1s", "2s", "2d"}) {
		t.Errorf("%v, %v", got, err)
	}
	broken := errors.New("broken")
	err := inTurn(3, bothSides, func(trial int, side string) error {
		if trial == 1 && side == StockSide {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "trial 2, stock") {
		t.Error(err)
	}
}

// TestSkipped: only what cannot be had here is no error.
func TestSkipped(t *testing.T) {
	var said string
	p := Programs{Progress: func(s string, args ...any) { said = fmt.Sprintf(s, args...) }}
	if why, err := p.skipped("a cut", errors.New("broken")); why != "" || err == nil || said != "" {
		t.Errorf("%q, %v, said %q", why, err, said)
	}
	if why, err := p.skipped("a cut", nil); why != "" || err != nil || said != "" {
		t.Errorf("%q, %v, said %q", why, err, said)
	}
	if why, err := p.skipped("a cut", fmt.Errorf("namespaces %w", ErrNotHere)); why != "namespaces cannot be had here" || err != nil || said != "SKIPPED: a cut: namespaces cannot be had here" {
		t.Errorf("%q, %v, said %q", why, err, said)
	}
}
