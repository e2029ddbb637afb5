package failover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/bench"
	"github.com/raftdv/dv/integration/netns"
)

const (
	defaultMessages       = 5 * time.Second
	defaultMessagesTrials = 3
)

// MessagesConfig says how RunMessages counts.
type MessagesConfig struct {
	Programs
	// Members are the sizes of the clusters. Default 3, 5, 7.
	Members []int
	// Writers are the numbers of clients, each with one write under way at the
	// leader. Default 0, which is no load, 1, 32.
	Writers []int
	// Duration of each count. Default 5s.
	Duration time.Duration
	// Trials of each side, on clusters of their own. Default 3.
	Trials int
}

func (c MessagesConfig) withDefaults() MessagesConfig {
	c.Programs = c.Programs.withDefaults()
	if len(c.Members) == 0 {
		c.Members = []int{3, 5, 7}
	}
	if c.Writers == nil {
		c.Writers = []int{0, 1, 32}
	}
	if c.Duration == 0 {
		c.Duration = defaultMessages
	}
	if c.Trials == 0 {
		c.Trials = defaultMessagesTrials
	}
	return c
}

// Validate returns all faults at once.
func (c MessagesConfig) Validate() error {
	c = c.withDefaults()
	errs := c.Programs.faults()
	for _, n := range c.Members {
		if n < 2 {
			errs = append(errs, fmt.Errorf("%d members send nothing to each other: use 2 or more", n))
		}
	}
	for _, n := range c.Writers {
		if n < 0 || n > maxWriters {
			errs = append(errs, fmt.Errorf("%d writers: use 0 to %d", n, maxWriters))
		}
	}
	if c.Duration < time.Second {
		errs = append(errs, fmt.Errorf("a count of %v is mostly of beginning and end: use 1s or more", c.Duration))
	}
	if c.Trials < 1 {
		errs = append(errs, fmt.Errorf("%d trials count nothing: use 1 or more", c.Trials))
	}
	return errors.Join(errs...)
}

// A MessagesResult says how many packets members exchange: datagrams, segments,
// acknowledgements of the kernel's and beacons alike, as they leave the members'
// network devices.
type MessagesResult struct {
	Members int     `json:"members"`
	Writers int     `json:"writers"` // 0: no load
	Seconds float64 `json:"seconds"`
	Trials  int     `json:"trials"`
	// Skipped says why it was not counted.
	Skipped string          `json:"skipped,omitempty"`
	Stock   MessagesNumbers `json:"stock"`
	DV      MessagesNumbers `json:"dv"`
	Paths   string          `json:"paths"`

	bench.Origin
}

// MessagesNumbers are those of one side, means over the trials.
type MessagesNumbers struct {
	Packets  float64 `json:"packets_per_s"` // of all members together
	Bytes    float64 `json:"bytes_per_s"`
	WritesPS float64 `json:"writes_per_s"`
	// PacketsPerWrite and BytesPerWrite are 0 without load. Min and Max are those of
	// a trial.
	PacketsPerWrite float64 `json:"packets_per_write"`
	Min             float64 `json:"packets_per_write_min"`
	Max             float64 `json:"packets_per_write_max"`
	BytesPerWrite   float64 `json:"bytes_per_write"`
}

// RunMessages counts what the members of clusters of stock etcd and of etcd-dv send
// to each other while clients write. Members have network namespaces of their own,
// whose devices count; devices do not segment, so that what the kernel batches
// counts one by one. Clients reach the leader over a socket, which does not count.
func RunMessages(ctx context.Context, cfg MessagesConfig, report func(MessagesResult)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	for _, n := range cfg.Members {
		results := make([]MessagesResult, len(cfg.Writers))
		for i, w := range cfg.Writers {
			results[i] = MessagesResult{Members: n, Writers: w, Seconds: cfg.Duration.Seconds(), Trials: cfg.Trials, Origin: bench.Here()}
		}
		why, err := cfg.skipped(fmt.Sprintf("%d members", n), countTrials(ctx, cfg, n, results))
		if err != nil {
			return fmt.Errorf("%d members: %w", n, err)
		}
		for _, r := range results {
			r.Skipped = why
			report(r)
		}
	}
	return nil
}

// countTrials fills in one result for each number of writers.
func countTrials(ctx context.Context, cfg MessagesConfig, n int, results []MessagesResult) error {
	return inTurn(cfg.Trials, bothSides, func(trial int, side string) error {
		counts, paths, err := countSide(ctx, cfg, n, side)
		if err != nil {
			return err
		}
		for i := range results {
			r := &results[i]
			cfg.Progress("%d members, %d writers: trial %d/%d: %s: %.0f packets/s, %.0f writes/s, %.1f packets for each",
				n, r.Writers, trial+1, cfg.Trials, side, counts[i].Packets, counts[i].WritesPS, counts[i].PacketsPerWrite)
			of(side, &r.Stock, &r.DV).add(&counts[i], trial, cfg.Trials)
			if side == DVSide {
				r.Paths = paths
			}
		}
		return nil
	})
}

// add takes the trial-th of several trials.
func (n *MessagesNumbers) add(o *MessagesNumbers, trial, of int) {
	k := 1 / float64(of)
	n.Packets += k * o.Packets
	n.Bytes += k * o.Bytes
	n.WritesPS += k * o.WritesPS
	n.PacketsPerWrite += k * o.PacketsPerWrite
	n.BytesPerWrite += k * o.BytesPerWrite
	if n.Max = max(n.Max, o.PacketsPerWrite); trial == 0 || o.PacketsPerWrite < n.Min {
		n.Min = o.PacketsPerWrite
	}
}

func countSide(ctx context.Context, cfg MessagesConfig, n int, name string) (counts []MessagesNumbers, paths string, err error) {
	l, err := netns.New(ctx, n)
	if err != nil {
		return nil, "", err
	}
	if err := l.NoSegments(ctx); err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	s, err := openSide(ctx, name, cfg.Programs, n, network{l})
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, w := range cfg.Writers {
		c, err := s.count(ctx, cfg.Duration, w, l)
		if err != nil {
			return nil, "", err
		}
		counts = append(counts, c)
	}
	return counts, s.pathNames(), s.verify(ctx)
}

// count lets clients write through the leader for a while.
func (s *side) count(ctx context.Context, d time.Duration, clients int, l *netns.Network) (n MessagesNumbers, err error) {
	load := startWriters(ctx, clients, []clientv3.KV{s.clients[s.view.leader]}, quietTimeout, s.ledger, func(ack) {})
	defer load.stop()
	pause(ctx, warmUp)
	before, written, begin := netns.Traffic{}, s.ledger.Writes(), time.Now()
	if before, err = l.Sent(); err != nil {
		return n, err
	}
	pause(ctx, d)
	after, err := l.Sent()
	took := time.Since(begin).Seconds()
	writes := float64(s.ledger.Writes() - written)
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return n, err
	}
	if clients > 0 && writes == 0 {
		return n, fmt.Errorf("%d writers wrote nothing in %v: the cluster does not work", clients, d)
	}
	packets, octets := float64(after.Packets-before.Packets), float64(after.Bytes-before.Bytes)
	n = MessagesNumbers{Packets: packets / took, Bytes: octets / took, WritesPS: writes / took}
	if clients > 0 {
		n.PacketsPerWrite, n.BytesPerWrite = packets/writes, octets/writes
	}
	return n, nil
}

// WriteMessagesTable writes results for people.
func WriteMessagesTable(w io.Writer, results []MessagesResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "members\twriters\t\ttrials\twrites/s\tpackets/s\tpackets per write\tleast\tmost\tbytes per write\tpackets to stock's\t")
	for _, r := range results {
		if r.Skipped != "" {
			fmt.Fprintf(t, "%d\t%d\tskipped: %s\n", r.Members, r.Writers, r.Skipped)
			continue
		}
		for side, n := range each(&r.Stock, &r.DV) {
			ratio := ""
			if side == DVSide && r.Writers == 0 {
				ratio = fmt.Sprintf("%.2f", r.DV.Packets/r.Stock.Packets)
			} else if side == DVSide {
				ratio = fmt.Sprintf("%.2f", r.DV.PacketsPerWrite/r.Stock.PacketsPerWrite)
			}
			fmt.Fprintf(t, "%d\t%d\t%s\t%d\t%.0f\t%.0f\t%.1f\t%.1f\t%.1f\t%.0f\t%s\t\n", r.Members, r.Writers, side, r.Trials,
				n.WritesPS, n.Packets, n.PacketsPerWrite, n.Min, n.Max, n.BytesPerWrite, ratio)
		}
	}
	return t.Flush()
}
