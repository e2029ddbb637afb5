package failover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/raftdv/dv/integration/cluster"
)

// ErrNotHere is returned for a fault that this machine or user cannot make.
var ErrNotHere = errors.New("cannot be had here")

// A lab is what members run in, and can break one of them.
type lab interface {
	place(i int, dir string) (cluster.Place, error)
	// strike breaks member i, mend undoes it.
	strike(i int, m *cluster.Member) error
	mend(ctx context.Context, i int, m *cluster.Member) error
	// release lets all members end; close removes the rest, after they have ended.
	release() error
	close() error
}

// newLab makes the lab for a fault; ErrNotHere if it is impossible.
func newLab(ctx context.Context, fault, dir string, members int) (lab, error) {
	switch fault {
	case Cut:
		return newNetwork(ctx, members)
	case Stall:
		return newDisks(dir)
	}
	return signals{stop: fault == Stop}, nil
}

// signals is the lab on loopback whose faults are signals.
type signals struct{ stop bool }

func (signals) place(int, string) (cluster.Place, error) { return cluster.Place{}, nil }

func (l signals) strike(_ int, m *cluster.Member) error {
	if l.stop {
		return m.Pause()
	}
	m.Kill()
	return nil
}

func (l signals) mend(ctx context.Context, _ int, m *cluster.Member) error {
	if l.stop {
		return m.Resume()
	}
	return m.Restart(ctx)
}

func (signals) release() error { return nil }
func (signals) close() error   { return nil }

// need returns ErrNotHere without root or one of the programs.
func need(what string, programs ...string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s %w: it needs root", what, ErrNotHere)
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s %w: %w", what, ErrNotHere, err)
		}
	}
	return nil
}
