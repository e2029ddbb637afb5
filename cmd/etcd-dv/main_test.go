package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/integration/cluster"
)

func program(t *testing.T, p cluster.Program) string {
	t.Helper()
	path, err := cluster.Build(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

type output struct {
	stdout, stderr string
	code           int
	dir            string // it ran in
}

func run(t *testing.T, path string, env []string, args ...string) output {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), cmd.Dir}
}

// Programs parse etcd's version, so its lines come first, unchanged.
func TestVersion(t *testing.T) {
	stock := run(t, program(t, cluster.Etcd), nil, "--version")
	ours := run(t, program(t, cluster.EtcdDV), nil, "--version")
	rest, ok := strings.CutPrefix(ours.stdout, stock.stdout)
	if !ok || ours.code != 0 {
		t.Errorf("stock:\n%s\nours (status %d):\n%s", stock.stdout, ours.code, ours.stdout)
	}
	if !strings.Contains(rest, "raftdv Version: ") || !strings.Contains(rest, "raftdv Hook: etcd server v3.") {
		t.Errorf("our part: %q", rest)
	}
}

func TestHelp(t *testing.T) {
	stock := run(t, program(t, cluster.Etcd), nil, "--help")
	ours := run(t, program(t, cluster.EtcdDV), nil, "--help")
	if !strings.HasSuffix(ours.stdout, stock.stdout) || ours.code != 0 {
		t.Errorf("etcd's help is not in ours (status %d):\n%s", ours.code, ours.stdout)
	}
	if !strings.Contains(ours.stdout, "--dv-mode 'auto'") {
		t.Errorf("our flags are not in:\n%.500s", ours.stdout)
	}
}

func TestSubcommandsAreEtcds(t *testing.T) {
	got := run(t, program(t, cluster.EtcdDV), nil, "gateway", "--help")
	if got.code != 0 || !strings.Contains(got.stdout, "gateway") {
		t.Errorf("status %d: %s%s", got.code, got.stdout, got.stderr)
	}
}

// Without the hook every setting would be ignored in silence.
func TestUnhookedRefuses(t *testing.T) {
	bin := program(t, cluster.Unhooked)
	got := run(t, bin, nil, "--dv-mode=x")
	if got.code != exitUsage {
		t.Errorf("status %d, want %d", got.code, exitUsage)
	}
	for _, want := range []string{"make build", "go run ./internal/patch", `dv-mode="x" is unknown`} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("no %q in:\n%s", want, got.stderr)
		}
	}
	if v := run(t, bin, nil, "--version"); !strings.Contains(v.stdout, "raftdv Hook: absent") {
		t.Errorf("version: %s", v.stdout)
	}
}

func TestFaultsAreListedTogether(t *testing.T) {
	got := run(t, program(t, cluster.EtcdDV), []string{"ETCD_DV_MOOD=x"}, "--dv-mode=x", "--dv-listen-udp=y", "--dv-none=z")
	if got.code != exitUsage {
		t.Errorf("status %d, want %d", got.code, exitUsage)
	}
	for _, want := range []string{"ETCD_DV_MOOD is unknown", `dv-mode="x"`, `dv-listen-udp="y"`, "--dv-none is unknown"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("no %q in:\n%s", want, got.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(got.dir, "default.etcd")); err == nil {
		t.Error("a member was made all the same")
	}
}

// etcd warns of every ETCD_* variable that it does not know. The second
// member is the control: the warning is there to be seen.
func TestEnvironmentRaisesNoWarning(t *testing.T) {
	const warning = "unrecognized environment variable"
	for name, tc := range map[string]struct {
		variable string
		warns    bool
	}{
		"ours":       {"ETCD_DV_MODE", false},
		"a stranger": {"ETCD_XDV_MODE", true},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := cluster.New(t.Context(), cluster.Config{
				Binary: program(t, cluster.EtcdDV), Size: 1,
				Env: map[string]string{tc.variable: "off"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			log, err := os.ReadFile(c.Members()[0].LogPath())
			if err != nil {
				t.Fatal(err)
			}
			if got := bytes.Contains(log, []byte(warning)); got != tc.warns {
				t.Errorf("warned: %v, want %v", got, tc.warns)
			}
		})
	}
}

// The dv map changes nothing of what etcd reads from its file, relative paths
// included.
func TestConfigFile(t *testing.T) {
	bin := program(t, cluster.EtcdDV)
	c, err := cluster.New(t.Context(), cluster.Config{Binary: bin, Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := c.Members()[0]
	if n := len(debugStates(t, m)); n != 1 { // the control: without the dv map
		t.Errorf("%d transports, want 1", n)
	}
	m.Stop() // its ports are free and known to c

	dir := t.TempDir()
	text := fmt.Sprintf(`
name: m1
data-dir: rel/data
listen-client-urls: %[1]s
advertise-client-urls: %[1]s
listen-peer-urls: %[2]s
initial-advertise-peer-urls: %[2]s
initial-cluster: m1=%[2]s
dv:
  mode: off
`, m.ClientURL, m.PeerURL)
	if err := os.WriteFile(filepath.Join(dir, "etcd.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "--config-file=etcd.yaml")
	cmd.Dir = dir
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err = m.WaitAnswer(ctx)
	transports := debugStates(t, m)
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "rel", "data", "member")); err != nil {
		t.Error(err)
	}
	if len(transports) != 0 {
		t.Errorf("the dv map did not reach the transport: %v", transports)
	}
}

// debugStates returns what the member shows of its transports.
func debugStates(t *testing.T, m *cluster.Member) (states []map[string]any) {
	t.Helper()
	hc, err := m.HTTPClient()
	if err != nil {
		t.Fatal(err)
	}
	defer hc.CloseIdleConnections()
	resp, err := hc.Get(m.ClientURL + "/debug/dv")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&states); err != nil {
		t.Fatal(err)
	}
	return states
}
