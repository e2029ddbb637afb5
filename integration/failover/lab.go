package failover

import (
	"context"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/guard"
	"github.com/raftdv/dv/integration/netns"
)

// ErrNotHere is returned for a fault that this machine or user cannot make.
var ErrNotHere = guard.ErrNotHere

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
		n, err := netns.New(ctx, members)
		return network{n}, err
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

// network is the lab whose members are cut off.
type network struct{ *netns.Network }

func (n network) place(i int, dir string) (cluster.Place, error)         { return n.Place(i, dir) }
func (n network) strike(i int, _ *cluster.Member) error                  { return n.Cut(i) }
func (n network) mend(_ context.Context, i int, _ *cluster.Member) error { return n.Mend(i) }
func (network) release() error                                           { return nil }
func (n network) close() error                                           { return n.Close() }

// links is the lab whose links are cut; who is struck loses all of them.
type links struct{ *netns.Links }

func (l links) place(i int, dir string) (cluster.Place, error)   { return l.Place(i, dir) }
func (l links) strike(i int, _ *cluster.Member) error            { return l.Only(netns.Around(i, l.Size())) }
func (l links) mend(context.Context, int, *cluster.Member) error { return l.Only(nil) }
func (links) release() error                                     { return nil }
func (l links) close() error                                     { return l.Close() }
