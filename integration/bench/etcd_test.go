package bench

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/guard"
	"github.com/raftdv/dv/internal/needs"
)

func buildBoth(t *testing.T) (stock, dv string) {
	t.Helper()
	var err error
	if stock, err = cluster.Build(t.Context(), cluster.Etcd); err != nil {
		t.Fatal(err)
	}
	if dv, err = cluster.Build(t.Context(), cluster.EtcdDV); err != nil {
		t.Fatal(err)
	}
	return stock, dv
}

func TestRunEtcd(t *testing.T) {
	needs.Time(t, "starts two clusters of processes")
	stock, dv := buildBoth(t)
	dir := t.TempDir()
	var got []EtcdResult
	var said []string
	err := RunEtcd(t.Context(), EtcdConfig{
		Stock: stock, DV: dv, Members: []int{1}, Clients: []int{1, 4}, Pairs: 2, Duration: 200 * time.Millisecond, Dir: dir,
		Progress: func(format string, _ ...any) { said = append(said, format) },
	}, func(r EtcdResult) { got = append(got, r) })
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Clients != 1 || got[1].Clients != 4 {
		t.Fatalf("%+v", got)
	}
	for _, r := range got {
		if r.Members != 1 || r.Pairs != 2 || r.Value != defaultValue || r.RatioPuts <= 0 || r.RatioP99 <= 0 || r.RatioCPU <= 0 {
			t.Errorf("%+v", r)
		}
		for _, n := range []EtcdNumber{r.DV, r.Stock} {
			if n.PutsPerS <= 0 || n.P50Ms <= 0 || n.P99Ms < n.P50Ms || n.CPUUs <= 0 {
				t.Errorf("%+v", n)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if len(said) != 1+2 {
		t.Errorf("progress: %q", said)
	}
}

// Members in namespaces reach each other, and clients reach them; what cannot be had
// is said at once.
func TestEtcdNamespaces(t *testing.T) {
	needs.Time(t, "starts two clusters of processes")
	stock, dv := buildBoth(t)
	cfg := EtcdConfig{Stock: stock, DV: dv, Members: []int{2}, Clients: []int{1}, Pairs: 1, Duration: 300 * time.Millisecond, Dir: t.TempDir(), Namespaces: true}
	var got []EtcdResult
	err := RunEtcd(t.Context(), cfg, func(r EtcdResult) { got = append(got, r) })
	if errors.Is(err, guard.ErrNotHere) {
		needs.Refused(t, err.Error(), needs.Bridges()...)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Network != "namespaces" || got[0].Paths == PortRafthttp || got[0].DV.PutsPerS <= 0 || got[0].Stock.PutsPerS <= 0 {
		t.Errorf("%+v", got)
	}
	cfg.TLS = true
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "namespaces cannot be had with TLS") {
		t.Errorf("with TLS: %v", err)
	}
}

// The messages of etcd-dv must be on its own paths, else the comparison shows
// nothing.
func TestEtcdPaths(t *testing.T) {
	needs.Time(t, "starts clusters of processes")
	stock, dv := buildBoth(t)
	for name, tc := range map[string]struct {
		binary, want string
		args         []string
	}{
		"stock":  {stock, PortRafthttp, nil},
		"off":    {dv, PortRafthttp, []string{"--dv-mode=off"}},
		"stream": {dv, "stream", []string{"--dv-fabrics=stream"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &etcdSide{name: name}
			if err := s.open(t.Context(), cluster.Config{Binary: tc.binary, Size: 2, Dir: t.TempDir(), Args: tc.args}); err != nil {
				t.Fatal(err)
			}
			defer s.close()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for {
				got, err := s.paths(ctx)
				if err == nil && got == tc.want {
					return
				}
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
					t.Fatalf("got %q, %v, want %q", got, err, tc.want)
				}
			}
		})
	}
}

// A cluster that stops answering must not get a number.
func TestEtcdRefusesLostPuts(t *testing.T) {
	needs.Time(t, "starts a cluster of processes")
	stock, _ := buildBoth(t)
	s := &etcdSide{name: "stock", value: 8}
	var series etcdSeries
	if err := s.open(t.Context(), cluster.Config{Binary: stock, Size: 1, Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.connect(1); err != nil {
		t.Fatal(err)
	}
	defer s.disconnect()
	if err := s.measure(t.Context(), 50*time.Millisecond, &series); err != nil {
		t.Fatal(err)
	}
	s.cluster.Members()[0].Kill()
	if err := s.measure(t.Context(), 50*time.Millisecond, &series); err == nil || !strings.Contains(err.Error(), "put:") {
		t.Errorf("a dead cluster: %v", err)
	}
	if len(series.puts) != 1 {
		t.Errorf("%+v", series)
	}
}

func TestEtcdConfigListsAllFaults(t *testing.T) {
	err := EtcdConfig{
		Stock: "/no/such/etcd", Members: []int{0}, Clients: []int{-1}, Pairs: -1, Duration: -1,
	}.Validate()
	for _, want := range []string{"stock etcd: ", "etcd-dv: ", "0 members", "-1 clients", "-1 pairs", "cannot be negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := (EtcdConfig{Stock: self, DV: self}).Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	failed := RunEtcd(t.Context(), EtcdConfig{Stock: self, DV: "/no/such/etcd-dv"}, nil)
	if !errors.Is(failed, os.ErrNotExist) {
		t.Errorf("run: %v", failed)
	}
}

func TestEtcdResult(t *testing.T) {
	stock := &etcdSeries{puts: []float64{100, 200}, p50: []float64{2, 2}, p99: []float64{8, 4}, cpu: []float64{50, 60}}
	dv := &etcdSeries{puts: []float64{110, 220}, p50: []float64{1, 1}, p99: []float64{8, 2}, cpu: []float64{50, 30}}
	r := etcdResult(EtcdConfig{Value: 256}, 32, stock, dv)
	r.Members, r.Paths, r.Storage = 3, "udp", "memory"
	if r.RatioPuts != 1.1 || r.RatioP50 != 0.5 || r.RatioP99 != 0.75 || r.RatioP99Lo != 0.5 || r.RatioP99Hi != 1 || r.RatioCPU != 0.75 {
		t.Errorf("%+v", r)
	}
	var b strings.Builder
	if err := WriteEtcdTable(&b, []EtcdResult{r}); err != nil {
		t.Fatal(err)
	}
	golden(t, "etcd.table", b.String())
}

// What is printed as JSON has the names that readers look for.
func TestResultsAsJSON(t *testing.T) {
	text, err := json.Marshal(TransportResult{Port: "udp", RTTSpinUs: 1, RatioRTTSpin: 1})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"port", "members", "size", "deliveries_per_s", "ratio_deliveries", "cpu_us", "ratio_cpu", "allocs_per_delivery",
		"rtt_block_us", "ratio_rtt_block", "rtt_spin_us", "ratio_rtt_spin", "sealed", "rafthttp", "harness",
		"ratio_deliveries_lo", "ratio_deliveries_hi", "ratio_cpu_lo", "ratio_cpu_hi",
	} {
		if _, ok := fields[name]; !ok {
			t.Errorf("no %s in %s", name, text)
		}
	}
}
