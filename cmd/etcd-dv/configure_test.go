package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/raftdv/dv/raftdv/plug"
)

func TestSettingsFromFlagsAndEnvironment(t *testing.T) {
	t.Setenv("ETCD_DV_LIVENESS", "fabric")
	t.Setenv("ETCD_DV_ADVERTISE_UDP", "")
	s, err := settings(parse([]string{"etcd-dv", "--dv-mode=off"}))
	if err != nil || s.Mode != plug.Off || s.Liveness != plug.Fabric {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, name := range []string{"ETCD_DV_LIVENESS", "ETCD_DV_ADVERTISE_UDP"} {
		if _, ok := os.LookupEnv(name); ok {
			t.Errorf("%s is still set: etcd would warn of it", name)
		}
	}
}

// One setting from two places: whichever we took would surprise somebody.
func TestSettingsRefuseBoth(t *testing.T) {
	t.Setenv("ETCD_DV_MODE", "auto")
	_, err := settings(parse([]string{"etcd-dv", "--dv-mode=off"}))
	if err == nil || !strings.Contains(err.Error(), "--dv-mode and ETCD_DV_MODE are both set") {
		t.Error(err)
	}
}

func TestSettingsFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.yaml")
	if err := os.WriteFile(path, []byte("name: m1\ndv:\n  mode: off\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"flag":        {"etcd-dv", "--config-file", path},
		"environment": {"etcd-dv"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "environment" {
				t.Setenv("ETCD_CONFIG_FILE", path)
			}
			t.Setenv("ETCD_DV_LIVENESS", "fabric") // ignored with a file, as etcd's own are
			s, err := settings(parse(append(args, "--dv-fabrics=stream")))
			if err != nil || s.Mode != plug.Off || s.Liveness != "" || s.Fabrics != nil {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
}

// The udp fabric binds where the peer listener does, whatever is advertised
// (NAT, proxies).
func TestPeerListener(t *testing.T) {
	with := func(urls string) (s plug.Settings) {
		s.SetPeerListener(urls)
		return s
	}
	file := filepath.Join(t.TempDir(), "etcd.yaml")
	if err := os.WriteFile(file, []byte("listen-peer-urls: http://10.0.0.3:3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		env  string
		want string
	}{
		"default":     {nil, "", embed.DefaultListenPeerURLs},
		"flag":        {[]string{"--listen-peer-urls", "http://10.0.0.1:1"}, "", "http://10.0.0.1:1"},
		"environment": {nil, "http://10.0.0.2:2", "http://10.0.0.2:2"},
		"both":        {[]string{"--listen-peer-urls=http://10.0.0.1:1"}, "http://10.0.0.2:2", "http://10.0.0.1:1"},
		"file":        {[]string{"--config-file=" + file, "--listen-peer-urls=http://10.0.0.1:1"}, "http://10.0.0.2:2", "http://10.0.0.3:3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("ETCD_LISTEN_PEER_URLS", c.env)
			got, err := settings(parse(append([]string{"etcd-dv"}, c.args...)))
			if err != nil || !reflect.DeepEqual(got, with(c.want)) {
				t.Errorf("got %+v, %v, want %+v", got, err, with(c.want))
			}
		})
	}
}

func TestSettingsNameTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.yaml")
	// A file that cannot be read is etcd's to complain of, with its exit status.
	_, err := settings(parse([]string{"etcd-dv", "--config-file=" + path}))
	if err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("dv: {mood: x}"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = settings(parse([]string{"etcd-dv", "--config-file=" + path}))
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "dv.mood is unknown") {
		t.Error(err)
	}
}

func TestIndent(t *testing.T) {
	err := errors.Join(errors.New("a"), fmt.Errorf("b:\nmore of b"), errors.Join(errors.New("c"), errors.New("d")))
	if got, want := indent(err), "  - a\n  - b:\n    more of b\n  - c\n  - d"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
