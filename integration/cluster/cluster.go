package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	dialTimeout = 5 * time.Second
	// startTries is how often New begins again with other ports when another
	// program took one between the choice and the start.
	startTries = 3
)

// A Cluster is a set of members that were started together.
type Cluster struct {
	cfg    Config
	dir    string
	ownDir bool
	token  string
	tls    *tlsFiles
	close  sync.Once

	mu      sync.Mutex
	members []*Member
	made    int   // members so far, for their names
	ports   []int // to give back
}

// New starts a cluster and returns when every member is ready. The caller
// closes it. If it fails nothing is left behind.
func New(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cluster config:\n%w", err)
	}
	var err error
	for range startTries {
		var c *Cluster
		if c, err = start(ctx, cfg); err == nil {
			return c, nil
		}
		if !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	return nil, err
}

func start(ctx context.Context, cfg Config) (*Cluster, error) {
	c, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	if err := c.startAll(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// prepare chooses folders, ports and certificates.
func prepare(cfg Config) (_ *Cluster, err error) {
	c := &Cluster{cfg: cfg, dir: cfg.Dir, token: fmt.Sprintf("dv-%08x", rand.Uint32())}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "raftdv-cluster-"); err != nil {
			return nil, err
		}
		c.ownDir = true
	}
	if cfg.TLS {
		if c.tls, err = makeTLS(filepath.Join(c.dir, "tls")); err != nil {
			return nil, err
		}
	}
	for range cfg.Size {
		if _, err := c.addMember("new"); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) addMember(state string) (*Member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := fmt.Sprintf("m%d", c.made+1)
	dir := filepath.Join(c.dir, name)
	var place Place
	if c.cfg.Place != nil {
		var err error
		if place, err = c.cfg.Place(c.made, dir); err != nil {
			return nil, fmt.Errorf("place of %s: %w", name, err)
		}
	}
	var urls [2]string
	for i := range urls {
		p, err := freePort()
		if err != nil {
			return nil, err
		}
		c.ports = append(c.ports, p)
		urls[i] = fmt.Sprintf("%s://%s:%d", c.tls.scheme(), place.host(), p)
	}
	if place.Socket != "" {
		urls[0] = "unix://" + place.Socket
	}
	c.made++
	m := &Member{
		Name: name, Dir: dir,
		ClientURL: urls[0], PeerURL: urls[1],
		cluster: c, place: place, binary: c.cfg.Binary, state: state,
	}
	c.members = append(c.members, m)
	return m, nil
}

// Add makes one more member, joins it to the running cluster and waits until
// it is ready.
func (c *Cluster) Add(ctx context.Context) (*Member, error) {
	m, err := c.addMember("existing")
	if err != nil {
		return nil, err
	}
	err = c.reconfigure(ctx, c.without(m), func(ctx context.Context, cli *clientv3.Client) error {
		_, err := cli.MemberAdd(ctx, []string{m.PeerURL})
		return err
	})
	if err != nil {
		c.forget(m)
		return nil, fmt.Errorf("add %s: %w", m.Name, err)
	}
	return m, m.Restart(ctx)
}

// Remove takes a member out of the cluster, ends it and deletes its folder.
func (c *Cluster) Remove(ctx context.Context, m *Member) error {
	// The one that goes may end before it answers.
	err := c.reconfigure(ctx, c.without(m), func(ctx context.Context, cli *clientv3.Client) error {
		list, err := cli.MemberList(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list.Members, func(e *etcdserverpb.Member) bool { return e.Name == m.Name })
		if i < 0 {
			return fmt.Errorf("the cluster has no member of this name")
		}
		_, err = cli.MemberRemove(ctx, list.Members[i].ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", m.Name, err)
	}
	m.Stop()
	c.forget(m)
	return os.RemoveAll(m.Dir)
}

// reconfigure runs change through some members, and again while the cluster
// says that it cannot be changed yet: etcd wants members to have been connected
// for some seconds.
func (c *Cluster) reconfigure(ctx context.Context, through []*Member, change func(context.Context, *clientv3.Client) error) error {
	cli, err := c.Client(through...)
	if err != nil {
		return err
	}
	defer cli.Close()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StartTimeout)
	defer cancel()
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		err := change(ctx, cli)
		if !errors.Is(err, rpctypes.ErrUnhealthy) && !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-t.C:
		}
	}
}

func (c *Cluster) forget(m *Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = slices.DeleteFunc(c.members, func(o *Member) bool { return o == m })
}

func (c *Cluster) startAll(ctx context.Context) error {
	for _, m := range c.Members() {
		if err := m.Start(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StartTimeout)
	defer cancel()
	return c.each(func(m *Member) error { return m.WaitReady(ctx) })
}

// each calls f for all members at once and joins their errors.
func (c *Cluster) each(f func(*Member) error) error {
	members := c.Members()
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { errs[i] = f(m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) initialCluster() string {
	var parts []string
	for _, m := range c.Members() {
		parts = append(parts, m.Name+"="+m.PeerURL)
	}
	return strings.Join(parts, ",")
}

// Dir is the folder that holds everything of the cluster.
func (c *Cluster) Dir() string { return c.dir }

// Members returns the members, oldest first.
func (c *Cluster) Members() []*Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

// without returns the other members.
func (c *Cluster) without(m *Member) []*Member {
	return slices.DeleteFunc(c.Members(), func(o *Member) bool { return o == m })
}

// Endpoints returns the client URLs of all members.
func (c *Cluster) Endpoints() []string {
	var urls []string
	for _, m := range c.Members() {
		urls = append(urls, m.ClientURL)
	}
	return urls
}

// Flags are what etcdctl and raftdv status need to reach the cluster, by the
// names of their flags without dashes.
func (c *Cluster) Flags() map[string]string {
	flags := map[string]string{"endpoints": strings.Join(c.Endpoints(), ",")}
	maps.Copy(flags, c.tls.flags())
	return flags
}

// Client returns a client of the given members, of all without any. The
// caller closes it.
func (c *Cluster) Client(members ...*Member) (*clientv3.Client, error) {
	if len(members) == 0 {
		members = c.Members()
	}
	var urls []string
	for _, m := range members {
		urls = append(urls, m.ClientURL)
	}
	return c.client(urls)
}

func (c *Cluster) client(urls []string) (*clientv3.Client, error) {
	tls, err := c.tls.client()
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{
		Endpoints:   urls,
		TLS:         tls,
		DialTimeout: dialTimeout,
		Logger:      zap.NewNop(),
	})
}

// Leader returns the member that says of itself that it leads, as soon as
// there is one.
func (c *Cluster) Leader(ctx context.Context) (*Member, error) {
	t := time.NewTicker(probeEvery)
	defer t.Stop()
	for {
		for _, m := range c.Members() {
			if m.Pid() != 0 && leads(ctx, m) {
				return m, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no member leads: %w", context.Cause(ctx))
		case <-t.C:
		}
	}
}

func leads(ctx context.Context, m *Member) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	st, err := m.Status(ctx)
	return err == nil && st.Leader != 0 && st.Leader == st.Header.MemberId
}

// Close ends all members and removes what the cluster made. It may be called
// again.
func (c *Cluster) Close() {
	c.close.Do(func() {
		c.each(func(m *Member) error { m.Kill(); return nil })
		for _, p := range c.ports {
			releasePort(p)
		}
		if c.ownDir {
			os.RemoveAll(c.dir)
			return
		}
		for _, m := range c.Members() {
			os.RemoveAll(m.Dir)
		}
		os.RemoveAll(filepath.Join(c.dir, "tls"))
	})
}
