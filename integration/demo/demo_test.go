package demo

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func etcdDV(t *testing.T) string {
	t.Helper()
	bin, err := cluster.Build(t.Context(), cluster.EtcdDV)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func stock(t *testing.T) string {
	t.Helper()
	bin, err := cluster.Build(t.Context(), cluster.Etcd)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func TestRun(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg   Config
		paths []string
	}{
		"clear":  {Config{Stock: stock(t)}, []string{"the same with stock etcd", "times as long", "election            1 round", "m1 -> m2: udp", "m2 -> m3: udp", "m3 -> m1: udp"}},
		"tls":    {Config{TLS: true}, []string{"m1 -> m2: udp", "m2 -> m3: udp", "m3 -> m1: udp"}},
		"stream": {Config{Args: []string{"--dv-fabrics=stream"}}, []string{"m1 -> m2: stream", "m3 -> m1: stream"}},
		"off":    {Config{Args: []string{"--dv-mode=off"}}, []string{"m1 -> all peers: stock rafthttp", "m3 -> all peers: stock rafthttp"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			cfg := tc.cfg
			cfg.Binary, cfg.Load = etcdDV(t), time.Second
			if err := Run(t.Context(), cfg, &out); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, want := range append([]string{
				"starting 3 members", "puts acknowledged", "kill -9 of the leader",
				"first put acknowledged", "is back", "none lost", "stopping all members",
			}, tc.paths...) {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}
		})
	}
}

func TestStayEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &watcher{on: "stays up until", do: cancel}
	err := Run(ctx, Config{Binary: etcdDV(t), Load: time.Second, Stay: true, Etcdctl: "/nowhere/etcdctl"}, out)
	if err != nil || ctx.Err() == nil {
		t.Errorf("ended with %v before Ctrl-C (%v)\n%s", err, ctx.Err(), out.String())
	}
	for _, want := range []string{"export ETCDCTL_ENDPOINTS=http://127.0.0.1:", "etcdctl put greeting hello", "make etcdctl", "raftdv status --endpoints=$ETCDCTL_ENDPOINTS", "kill -9 "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

// An interrupted run has checked nothing and must not look like a success.
func TestInterruptedRunFails(t *testing.T) {
	for _, at := range []string{"starting 3 members", "writing for", "kill -9 of the leader", "again, under load"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &watcher{on: at, do: cancel}
			err := Run(ctx, Config{Binary: etcdDV(t), Load: 500 * time.Millisecond}, out)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v\n%s", err, out.String())
			}
		})
	}
}

// watcher calls do once when a line with on is written.
type watcher struct {
	strings.Builder
	on string
	do func()
}

func (w *watcher) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.on) {
		w.do()
	}
	return w.Builder.Write(p)
}

func TestValidate(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	err := Config{Members: 2, Load: -1}.Validate()
	for _, want := range []string{"2 members cannot lose one", "positive duration"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

// Without any acknowledgement recovery must end with an error, not with a
// number.
func TestRecoveryGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}}) // nobody is there
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	if d, err := recovery(ctx, cli, ledger.New(prefix), time.Now()); err == nil {
		t.Errorf("recovered after %v", d)
	}
}
