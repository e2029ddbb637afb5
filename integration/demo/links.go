package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/failover"
	"github.com/raftdv/dv/raftdv"
)

const (
	defaultCut = 10 * time.Second
	// writable is for how many percent of the time a cluster that can be written to is:
	// the rest is what members need to notice.
	writable = 90
	// maxChanges of leader while links are cut.
	maxChanges = 1
)

// LinksConfig says what Links shows. Binary is required.
type LinksConfig struct {
	// Binary is the etcd-dv, Stock the etcd to compare with, "" for none.
	Binary, Stock string
	// Args are given to every member of etcd-dv.
	Args []string
	// Duration of each cut. Default 10s.
	Duration time.Duration
}

// linkStories are the scenarios that Links shows, and how it tells them.
var linkStories = []struct{ scenario, what string }{
	{"leader-follower", "three members; the link of the leader and a follower is cut, both ways"},
	{"chain-of-four", "four members; all links are cut but those of a chain, in which the leader is second"},
}

// Links shows on w what clusters still write while links between their members are
// cut. It returns nil if etcd-dv could be written to all the time, with a change of
// leader at most, and lost nothing; or if network namespaces cannot be had, which it
// says.
func Links(ctx context.Context, cfg LinksConfig, w io.Writer) error {
	out := newPrinter(w)
	if cfg.Duration == 0 {
		cfg.Duration = defaultCut
	}
	sides := []string{failover.DVSide, failover.StockSide}
	if cfg.Stock == "" {
		out.step("no stock etcd to compare with (make stock builds one)")
		cfg.Stock = cfg.Binary // somebody has to be named
		sides = sides[:1]
	}
	var errs []error
	for _, story := range linkStories {
		out.step("%s", story.what)
		err := failover.RunPartitions(ctx, failover.PartitionConfig{
			Programs:  failover.Programs{Stock: cfg.Stock, DV: cfg.Binary, DVArgs: cfg.Args},
			Scenarios: []string{story.scenario}, Duration: cfg.Duration, Trials: 1, Sides: sides,
			During: func(ctx context.Context, side string, members []*cluster.Member) {
				if side == failover.DVSide {
					out.detail("etcd-dv, half-way:")
					for _, l := range detours(ctx, members) {
						out.detail("  %s", l)
					}
				}
			},
		}, func(r failover.PartitionResult) {
			if r.Skipped != "" {
				out.step("SKIPPED: %s", r.Skipped)
				return
			}
			out.detail("etcd-dv: %s", tell(&r.DV))
			if len(sides) > 1 {
				out.detail("stock:   %s", tell(&r.Stock))
			}
			if r.DV.AvailablePct < writable {
				errs = append(errs, fmt.Errorf("%w: %s: etcd-dv could be written to for %.0f%% of the time, want %d%%", failover.ErrMissed, story.scenario, r.DV.AvailablePct, writable))
			}
			if r.DV.ChangesMax > maxChanges {
				errs = append(errs, fmt.Errorf("%w: %s: etcd-dv changed its leader %d times, want at most %d", failover.ErrMissed, story.scenario, r.DV.ChangesMax, maxChanges))
			}
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func tell(n *failover.PartitionNumbers) string {
	changes := fmt.Sprintf("%d changes of leader", n.ChangesMax)
	if n.ChangesMax == 1 {
		changes = "1 change of leader"
	}
	return fmt.Sprintf("somebody could write for %.0f%% of the time, a member for %.0f%% on average; the longest gap was %.0f ms; %s; all %d acknowledged writes read back",
		n.AvailablePct, n.ReachPct, n.LongestGapMs, changes, n.Writes)
}

// detours returns who reaches whom by way of others, a line each.
func detours(ctx context.Context, members []*cluster.Member) (lines []string) {
	lines, _ = eachPeer(ctx, members, func(from, to string, p *raftdv.PeerState, name func(string) string) string {
		switch {
		case p.Linked:
			return ""
		case p.Path == raftdv.FabricRelay:
			return fmt.Sprintf("%s -> %s: by way of %s", from, to, name(p.Relay))
		default:
			return fmt.Sprintf("%s -> %s: cut off (%s)", from, to, p.Path)
		}
	})
	return slices.DeleteFunc(lines, func(l string) bool { return l == "" })
}
