package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftdv/dv/internal/needs"
)

// distribution is a unit as distributions write it, cut to what the drop-in
// changes and needs.
const distribution = `[Unit]
Description=etcd

[Service]
Environment=DAEMON_ARGS=
Environment=ETCD_DATA_DIR=/var/lib/etcd/default
EnvironmentFile=-/etc/default/%p
Type=notify
ExecStart=/bin/true $DAEMON_ARGS

[Install]
WantedBy=multi-user.target
`

func needsSystemd(t *testing.T) {
	t.Helper()
	needs.All(t, needs.Programs("systemd-analyze")...)
}

// units lays out what docs/examples has, with a program that is there in place
// of etcd-dv, after change.
func units(t *testing.T, change func(string) string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"etcd-dv.service", "etcd.service.d/etcd-dv.conf"} {
		text, err := os.ReadFile(filepath.Join(root, "docs/examples/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		write(name, change(strings.ReplaceAll(string(text), "/usr/local/bin/etcd-dv", "/bin/true")))
	}
	write("etcd.service", distribution)
	return dir
}

func TestUnits(t *testing.T) {
	needsSystemd(t)
	dir := units(t, func(text string) string { return text })
	for _, unit := range []string{"etcd-dv.service", "etcd.service"} {
		if err := VerifyUnit(t.Context(), dir, unit); err != nil {
			t.Error(err)
		}
	}
}

func TestBrokenUnits(t *testing.T) {
	needsSystemd(t)
	for name, c := range map[string]struct{ unit, old, new, want string }{
		"misspelt setting":  {"etcd-dv.service", "RestartSec=", "RestratSec=", "RestratSec"},
		"misspelt section":  {"etcd-dv.service", "[Service]", "[Servcie]", "Servcie"},
		"no such value":     {"etcd-dv.service", "Type=notify", "Type=notifies", "notifies"},
		"no such set":       {"etcd-dv.service", "@system-service", "@system-services", "@system-services"},
		"no such program":   {"etcd-dv.service", "/bin/true", "/bin/untrue", "/bin/untrue is not executable"},
		"second command":    {"etcd.service", "ExecStart=\n", "", "more than one ExecStart"},
		"misspelt drop-in":  {"etcd.service", "Environment=", "Enviroment=", "Enviroment"},
		"drop-in's program": {"etcd.service", "/bin/true", "/bin/untrue", "/bin/untrue is not executable"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := units(t, func(text string) string { return strings.Replace(text, c.old, c.new, 1) })
			err := VerifyUnit(t.Context(), dir, c.unit)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
