package plug

import (
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
)

// reset gives a test a process that nothing was configured in.
func reset(t *testing.T) {
	t.Helper()
	process.Lock()
	hooked := process.hooked
	process.configured, process.settings, process.hooked = false, Settings{}, ""
	process.Unlock()
	t.Cleanup(func() {
		process.Lock()
		process.configured, process.settings, process.hooked = false, Settings{}, hooked
		process.Unlock()
	})
}

func TestOffIsTheStockTransport(t *testing.T) {
	reset(t)
	if err := Configure(Settings{Mode: Off}); err != nil {
		t.Fatal(err)
	}
	stock := &rafthttp.Transport{}
	if got := New(config.ServerConfig{}, stock); got != Transport(stock) {
		t.Errorf("got %T, want the transport that was handed in", got)
	}
}

func TestConfigureRefusesFaultsAndChangesNothing(t *testing.T) {
	reset(t)
	if err := Configure(Settings{Mode: Off}); err != nil {
		t.Fatal(err)
	}
	if err := Configure(Settings{Mode: "x"}); err == nil {
		t.Error("a fault was taken")
	}
	if s, err := current(); err != nil || s.Mode != Off {
		t.Errorf("in force: %+v, %v", s, err)
	}
}

func TestEnvironmentHoldsWithoutConfigure(t *testing.T) {
	reset(t)
	t.Setenv("ETCD_DV_MODE", "off")
	if s, err := current(); err != nil || s.Mode != Off {
		t.Errorf("in force: %+v, %v", s, err)
	}
	if err := Configure(Settings{Mode: Auto}); err != nil {
		t.Fatal(err)
	}
	if s, err := current(); err != nil || s.Mode != Auto {
		t.Errorf("the environment beats Configure: %+v, %v", s, err)
	}
}

// The server calls New where it cannot fail: a fault must stop Start.
func TestFaultsOfTheEnvironmentStopTheServer(t *testing.T) {
	for _, kv := range [][2]string{{"ETCD_DV_MODE", "x"}, {"ETCD_DV_MOOD", "auto"}} {
		reset(t)
		t.Run(kv[0], func(t *testing.T) {
			t.Setenv(kv[0], kv[1])
			err := New(config.ServerConfig{}, &rafthttp.Transport{}).Start()
			if err == nil || !strings.Contains(err.Error(), "environment") {
				t.Errorf("Start: %v", err)
			}
		})
	}
}

func TestHooked(t *testing.T) {
	reset(t)
	if v, ok := Hooked(); ok {
		t.Errorf("hooked by %q before anything was marked", v)
	}
	MarkHooked("v3.7.3")
	if v, ok := Hooked(); !ok || v != "v3.7.3" {
		t.Errorf("got %q, %v", v, ok)
	}
}
