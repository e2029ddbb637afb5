package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/ledger"
	"github.com/raftdv/dv/raftdv"
)

const (
	defaultLoad = 3 * time.Second
	// minMembers can lose one and go on.
	minMembers    = 3
	verifyTimeout = time.Minute
)

// Config says what to show. Binary is required.
type Config struct {
	// Binary is the etcd-dv or etcd to run.
	Binary string
	// Members is the size of the cluster. Default 3.
	Members int
	// TLS makes peers and clients use mutual TLS.
	TLS bool
	// Load is how long to write before and after the loss of the leader.
	// Default 3s.
	Load time.Duration
	// Args are given to every member.
	Args []string
	// Stock is the stock etcd whose leader is killed in the same way, to
	// compare. Default none.
	Stock string
	// Tool and Etcdctl are how the reader calls these programs. Default: by
	// their names, raftdv and etcdctl.
	Tool, Etcdctl string
	// Stay keeps the cluster running after the check, until the context ends.
	Stay bool
}

func (c Config) withDefaults() Config {
	if c.Members == 0 {
		c.Members = minMembers
	}
	if c.Load == 0 {
		c.Load = defaultLoad
	}
	if c.Tool == "" {
		c.Tool = "raftdv"
	}
	if c.Etcdctl == "" {
		c.Etcdctl = "etcdctl"
	}
	return c
}

// Validate returns all faults at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Members < minMembers {
		errs = append(errs, fmt.Errorf("%d members cannot lose one: use %d or more", c.Members, minMembers))
	}
	if c.Load < 0 {
		errs = append(errs, fmt.Errorf("load of %v: use a positive duration", c.Load))
	}
	return errors.Join(errs...)
}

// A run is one demo from start to end.
type run struct {
	cfg     Config
	out     *printer
	cluster *cluster.Cluster
	cli     *clientv3.Client
	acked   *ledger.Ledger

	leader   *cluster.Member // the one that is killed
	recovery time.Duration
	election *raftdv.LastElection // that followed, as the new leader tells it; nil if it tells nothing
	stock    time.Duration        // recovery of stock etcd; 0: not measured
	rate     float64              // acknowledged puts per second before that
}

// Run shows the demo on w. It returns nil if every acknowledged write was
// read back from every member.
func Run(ctx context.Context, cfg Config, w io.Writer) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	r := &run{cfg: cfg, out: newPrinter(w), acked: ledger.New(prefix)}
	defer r.close()
	for _, step := range []func(context.Context) error{
		r.start, r.write, r.killLeader, r.restart, r.check, r.compare,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.summary(ctx)
	if cfg.Stay {
		r.out.say("The cluster stays up until Ctrl-C.")
		<-ctx.Done()
	}
	return nil
}

func (r *run) close() {
	if r.cli != nil {
		r.cli.Close()
	}
	if r.cluster != nil {
		r.out.step("stopping all members and removing %s", r.cluster.Dir())
		r.cluster.Close()
	}
}

func (r *run) start(ctx context.Context) (err error) {
	r.out.step("starting %d members of %s on loopback", r.cfg.Members, r.cfg.Binary)
	r.cluster, err = cluster.New(ctx, cluster.Config{
		Binary: r.cfg.Binary, Size: r.cfg.Members, TLS: r.cfg.TLS, Args: r.cfg.Args,
	})
	if err != nil {
		return err
	}
	for _, m := range r.cluster.Members() {
		r.out.detail("%s: pid %d, clients %s, peers %s", m.Name, m.Pid(), m.ClientURL, m.PeerURL)
	}
	r.cli, err = r.cluster.Client()
	return err
}

func (r *run) write(ctx context.Context) error {
	r.out.step("writing for %v from %d writers", r.cfg.Load, writers)
	loadCtx, cancel := context.WithTimeout(ctx, r.cfg.Load)
	defer cancel()
	load(loadCtx, r.cli, r.acked, "before")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.rate = float64(r.acked.Writes()) / r.cfg.Load.Seconds()
	r.out.detail("%d puts acknowledged (%.0f/s)", r.acked.Writes(), r.rate)
	return r.verifyAt(ctx, r.cluster.Members()...)
}

// verifyAt reads everything back through each of the members.
func (r *run) verifyAt(ctx context.Context, members ...*cluster.Member) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	for _, m := range members {
		cli, err := m.Client()
		if err != nil {
			return err
		}
		err = r.acked.Verify(ctx, cli)
		cli.Close()
		if err != nil {
			return fmt.Errorf("through %s: %w", m.Name, err)
		}
	}
	r.out.detail("all %d acknowledged puts read back through %d members", r.acked.Writes(), len(members))
	return nil
}

func (r *run) killLeader(ctx context.Context) (err error) {
	r.leader, r.recovery, err = killLeaderOf(ctx, r.cluster, r.acked, func(m *cluster.Member) {
		r.out.step("kill -9 of the leader %s (pid %d)", m.Name, m.Pid())
	})
	if err != nil {
		return err
	}
	next, err := r.cluster.Leader(ctx)
	if err != nil {
		return err
	}
	r.out.detail("first put acknowledged %v after the kill; %s leads", r.recovery.Round(time.Millisecond), next.Name)
	if r.election = lastElection(ctx, next); r.election != nil {
		r.out.detail("the election: %s", describe(r.election))
	}
	return nil
}

// compare kills the leader of a stock cluster in the same way.
func (r *run) compare(ctx context.Context) error {
	if r.cfg.Stock == "" {
		r.out.step("no stock etcd to compare with (make stock builds one)")
		return nil
	}
	r.out.step("the same with stock etcd: %d members of %s", r.cfg.Members, r.cfg.Stock)
	c, err := cluster.New(ctx, cluster.Config{Binary: r.cfg.Stock, Size: r.cfg.Members, TLS: r.cfg.TLS})
	if err != nil {
		return err
	}
	defer c.Close()
	cli, err := c.Client()
	if err != nil {
		return err
	}
	defer cli.Close()
	loadCtx, cancel := context.WithTimeout(ctx, r.cfg.Load)
	defer cancel()
	load(loadCtx, cli, ledger.New(prefix), "before")
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	leader, took, err := killLeaderOf(ctx, c, ledger.New(prefix), func(m *cluster.Member) {
		r.out.detail("kill -9 of the leader %s (pid %d)", m.Name, m.Pid())
	})
	if err != nil {
		return err
	}
	r.stock = took
	r.out.detail("first put acknowledged %v after the kill of %s", took.Round(time.Millisecond), leader.Name)
	return nil
}

// killLeaderOf returns how long after the kill the first put was acknowledged.
func killLeaderOf(ctx context.Context, c *cluster.Cluster, l *ledger.Ledger, before func(*cluster.Member)) (*cluster.Member, time.Duration, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, 0, err
	}
	var others []*cluster.Member
	for _, m := range c.Members() {
		if m != leader {
			others = append(others, m)
		}
	}
	cli, err := c.Client(others...)
	if err != nil {
		return nil, 0, err
	}
	defer cli.Close()
	before(leader)
	at := time.Now()
	leader.Kill()
	took, err := recovery(ctx, cli, l, at)
	return leader, took, err
}

func (r *run) restart(ctx context.Context) error {
	r.out.step("starting %s again, under load", r.leader.Name)
	before := r.acked.Writes()
	loadCtx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); load(loadCtx, r.cli, r.acked, "return") }()
	err := r.leader.Restart(ctx)
	stop()
	<-done
	if err != nil {
		return err
	}
	r.out.detail("%s is back; %d puts acknowledged meanwhile", r.leader.Name, r.acked.Writes()-before)
	return nil
}

func (r *run) check(ctx context.Context) error {
	r.out.step("checking that no acknowledged put is lost")
	return r.verifyAt(ctx, r.cluster.Members()...)
}
