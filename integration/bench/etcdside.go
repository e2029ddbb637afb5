package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/procfs"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
)

const (
	// keys are written over and over, so that the store stays small.
	keys       = 10_000
	putTimeout = 10 * time.Second
	// compactTimeout bounds tidying up between measurements.
	compactTimeout = 30 * time.Second
)

// etcdSide is one of the clusters that are compared.
type etcdSide struct {
	name    string
	binary  string
	args    []string
	value   int
	cluster *cluster.Cluster
	clients []*clientv3.Client
	series  func(*etcdComparison) *etcdSeries // this side's part
}

// etcdSeries has one entry for each pair. Latencies are in ms, CPU in µs of
// all members per put.
type etcdSeries struct{ puts, p50, p99, cpu []float64 }

func (s *etcdSide) open(ctx context.Context, cfg cluster.Config) error {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return err
	}
	var err error
	s.cluster, err = cluster.New(ctx, cfg)
	return err
}

func (s *etcdSide) close() { s.cluster.Close() }

func (s *etcdSide) connect(n int) error {
	for range n {
		cli, err := s.cluster.Client()
		if err != nil {
			s.disconnect()
			return err
		}
		s.clients = append(s.clients, cli)
	}
	return nil
}

func (s *etcdSide) disconnect() {
	for _, c := range s.clients {
		c.Close()
	}
	s.clients = nil
}

// run measures with n clients.
func (s *etcdSide) run(ctx context.Context, n int, d time.Duration, into *etcdSeries) error {
	if err := s.connect(n); err != nil {
		return err
	}
	defer s.disconnect()
	return s.measure(ctx, d, into)
}

// measure writes for d after a warm-up, then compacts.
func (s *etcdSide) measure(ctx context.Context, d time.Duration, into *etcdSeries) error {
	if _, _, err := s.write(ctx, time.Duration(warmUp*float64(d))); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	before, err := s.cpu()
	if err != nil {
		return err
	}
	latencies, took, err := s.write(ctx, d)
	if err != nil {
		return err
	}
	after, err := s.cpu()
	if err != nil {
		return err
	}
	if len(latencies) == 0 {
		return fmt.Errorf("no put was acknowledged within %v: use a longer duration", d)
	}
	n := float64(len(latencies))
	slices.Sort(latencies)
	into.puts = append(into.puts, n/took.Seconds())
	into.p50 = append(into.p50, Quantile(latencies, 0.5))
	into.p99 = append(into.p99, Quantile(latencies, 0.99))
	into.cpu = append(into.cpu, (after-before)*1e6/n)
	return s.compact(ctx)
}

// write puts from all clients for d. It returns the latency of each put in ms.
func (s *etcdSide) write(ctx context.Context, d time.Duration) ([]float64, time.Duration, error) {
	begin := time.Now()
	latencies, errs := make([][]float64, len(s.clients)), make([]error, len(s.clients))
	var wg sync.WaitGroup
	for i, cli := range s.clients {
		wg.Go(func() { latencies[i], errs[i] = writer(ctx, cli, begin.Add(d), s.value) })
	}
	wg.Wait()
	took := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			return nil, 0, err
		}
	}
	return slices.Concat(latencies...), took, nil
}

func writer(ctx context.Context, kv clientv3.KV, until time.Time, size int) (latencies []float64, err error) {
	value := []byte(strings.Repeat("v", size))
	for begin := time.Now(); begin.Before(until); {
		key := fmt.Sprintf("bench/%06d", rand.IntN(keys))
		if err := putOnce(ctx, kv, key, string(value)); err != nil {
			return latencies, fmt.Errorf("put: %w", err)
		}
		end := time.Now()
		latencies = append(latencies, end.Sub(begin).Seconds()*1e3)
		begin = end
	}
	return latencies, nil
}

func putOnce(ctx context.Context, kv clientv3.KV, key, value string) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	_, err := kv.Put(ctx, key, value)
	return err
}

// compact drops what was written before, so that a later measurement does not
// run on a larger store.
func (s *etcdSide) compact(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, compactTimeout)
	defer cancel()
	resp, err := s.clients[0].Get(ctx, "bench/")
	if err != nil {
		return fmt.Errorf("revision: %w", err)
	}
	if _, err = s.clients[0].Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

// cpu is the time in seconds that all members have used so far.
func (s *etcdSide) cpu() (sum float64, err error) {
	for _, m := range s.cluster.Members() {
		p, err := procfs.NewProc(m.Pid())
		if err != nil {
			return 0, fmt.Errorf("CPU of %s: %w", m.Name, err)
		}
		stat, err := p.Stat()
		if err != nil {
			return 0, fmt.Errorf("CPU of %s: %w", m.Name, err)
		}
		sum += stat.CPUTime()
	}
	return sum, nil
}

// paths says what the members' messages travel on.
func (s *etcdSide) paths(ctx context.Context) (string, error) {
	var all []string
	for _, m := range s.cluster.Members() {
		states, err := m.States(ctx)
		if err != nil {
			return "", fmt.Errorf("state of %s: %w", m.Name, err)
		}
		if len(states) == 0 {
			all = append(all, PortRafthttp)
		}
		for _, st := range states {
			for _, p := range st.Peers {
				all = append(all, p.Path)
			}
		}
	}
	return pathNames(all), nil
}
