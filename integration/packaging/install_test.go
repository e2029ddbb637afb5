package packaging

import (
	"context"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/raftdv/dv/integration/cluster"
)

// startTimeout bounds how long one member may take to be ready.
const startTimeout = time.Minute

func build(t *testing.T, programs ...cluster.Program) (dir string) {
	t.Helper()
	for _, p := range programs {
		path, err := cluster.Build(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Dir(path)
	}
	return dir
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// installed lists files below dir with their permissions.
func installed(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	files := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			files[strings.TrimPrefix(path, dir)] = info.Mode()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestInstall(t *testing.T) {
	bin := build(t, cluster.EtcdDV, cluster.Tool)
	run(t, "make", "notices", "BIN="+bin)
	for name, c := range map[string]struct {
		vars []string
		bin  string
		want map[string]fs.FileMode
	}{
		"default": {nil, "/usr/local/bin", map[string]fs.FileMode{
			"/usr/local/bin/etcd-dv": 0o755, "/usr/local/bin/raftdv": 0o755, "/usr/local/lib/systemd/system/etcd-dv.service": 0o644,
			"/usr/local/share/doc/raftdv/LICENSE": 0o644, "/usr/local/share/doc/raftdv/THIRD-PARTY": 0o644, "/usr/local/share/doc/raftdv/etcd-dv.default": 0o644,
			"/usr/local/share/doc/raftdv/etcd.service.d/etcd-dv.conf": 0o644,
		}},
		"distribution": {[]string{"PREFIX=/usr", "BINDIR=/usr/sbin"}, "/usr/sbin", map[string]fs.FileMode{
			"/usr/sbin/etcd-dv": 0o755, "/usr/sbin/raftdv": 0o755, "/usr/lib/systemd/system/etcd-dv.service": 0o644,
			"/usr/share/doc/raftdv/LICENSE": 0o644, "/usr/share/doc/raftdv/THIRD-PARTY": 0o644, "/usr/share/doc/raftdv/etcd-dv.default": 0o644,
			"/usr/share/doc/raftdv/etcd.service.d/etcd-dv.conf": 0o644,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "a folder")
			vars := append([]string{"BIN=" + bin, "DESTDIR=" + dest}, c.vars...)
			run(t, append([]string{"make", "install"}, vars...)...)
			if got := installed(t, dest); !maps.Equal(got, c.want) {
				t.Errorf("installed %v, want %v", got, c.want)
			}
			for _, unit := range slices.Sorted(maps.Keys(c.want)) {
				if strings.HasSuffix(unit, ".service") || strings.HasSuffix(unit, ".conf") {
					startsInstalled(t, filepath.Join(dest, unit), c.bin+"/etcd-dv")
				}
			}
			if out := run(t, filepath.Join(dest, c.bin, "etcd-dv"), "--version"); !strings.Contains(out, "raftdv Hook: etcd server") {
				t.Errorf("the installed program says %q", out)
			}
			mine := filepath.Join(dest, c.bin, "mine")
			if err := os.WriteFile(mine, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			run(t, append([]string{"make", "uninstall"}, vars...)...)
			run(t, append([]string{"make", "uninstall"}, vars...)...) // twice is no fault
			if got := installed(t, dest); len(got) != 1 || got[c.bin+"/mine"] != 0o644 {
				t.Errorf("%v after make uninstall", got)
			}
		})
	}
}

// startsInstalled: the unit starts the program where it was installed to.
func startsInstalled(t *testing.T, unit, program string) {
	t.Helper()
	s, err := UnitStart(unit)
	if err != nil || len(s.Command) == 0 || s.Command[0] != program {
		t.Errorf("%s starts %v, want %s (%v)", unit, s.Command, program, err)
	}
}

// Nothing is installed when there is nothing to install.
func TestInstallWithoutBuild(t *testing.T) {
	dest := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "make", "install", "BIN="+t.TempDir(), "DESTDIR="+dest)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "run make build first") {
		t.Errorf("%v: %s", err, out)
	}
	if got := installed(t, dest); len(got) > 0 {
		t.Errorf("installed %v", got)
	}
}

// The flags that the table takes from etcd's main program are there.
func TestMainFlags(t *testing.T) {
	bin := build(t, cluster.EtcdDV)
	help := run(t, filepath.Join(bin, "etcd-dv"), "--help")
	for _, name := range mainFlags {
		if !regexp.MustCompile(`--` + name + `\b`).MatchString(help) {
			t.Errorf("etcd-dv --help has no --%s", name)
		}
	}
}

// Type=notify of the unit: etcd-dv tells its service manager when it is ready,
// not before.
func TestNotify(t *testing.T) {
	bin := build(t, cluster.EtcdDV)
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "etcd-dv"), "--log-outputs", filepath.Join(dir, "log"),
		"--listen-peer-urls=unix://"+filepath.Join(dir, "peer"), "--listen-client-urls=unix://"+filepath.Join(dir, "client"),
		"--advertise-client-urls=http://127.0.0.1:1", "--dv-mode=auto")
	cmd.Dir, cmd.Env = dir, []string{"NOTIFY_SOCKET=" + socket, "ETCD_DATA_DIR=" + filepath.Join(dir, "data")}
	runtime.LockOSThread() // the kernel reports the death of the thread that started it
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Signal(syscall.SIGTERM)
	deadline, _ := ctx.Deadline()
	conn.SetReadDeadline(deadline)
	text := make([]byte, 256)
	n, err := conn.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "READY=1") {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Errorf("the service manager hears %q, %v; log:\n%s", text[:n], err, log)
	}
}
