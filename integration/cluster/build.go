package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A Program is something that tests run and that Build can make.
type Program struct {
	Name    string // of the file
	Package string
	// Hooked links the server whose transport can be replaced.
	Hooked bool
	// Race links the race detector, which makes everything slow.
	Race bool
}

var (
	// EtcdDV is the product.
	EtcdDV = Program{Name: "etcd-dv", Package: "github.com/raftdv/dv/cmd/etcd-dv", Hooked: true}
	// Etcd is stock etcd at the same version.
	Etcd = Program{Name: "etcd", Package: "go.etcd.io/etcd/server/v3"}
	// Tool is the raftdv tool.
	Tool = Program{Name: "raftdv", Package: "github.com/raftdv/dv/cmd/raftdv", Hooked: true}
	// Unhooked is the product built in the wrong way.
	Unhooked = Program{Name: "etcd-dv-unhooked", Package: "github.com/raftdv/dv/cmd/etcd-dv"}
)

var built struct {
	sync.Mutex
	paths map[Program]string
}

// Build makes a program in the module's build folder and returns its path. It
// is made once per process, and by one process at a time.
func Build(ctx context.Context, p Program) (string, error) {
	built.Lock()
	defer built.Unlock()
	if path, ok := built.paths[p]; ok {
		return path, nil
	}
	path, err := build(ctx, p)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	if built.paths == nil {
		built.paths = map[Program]string{}
	}
	built.paths[p] = path
	return path, nil
}

func build(ctx context.Context, p Program) (string, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".build", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	args := []string{"build"}
	if p.Hooked {
		if _, err := goTool(ctx, root, "run", "./internal/patch", "-q"); err != nil {
			return "", err
		}
		args = append(args, "-modfile="+filepath.Join(root, ".build", "go.mod"))
	}
	path := filepath.Join(dir, p.Name)
	if p.Race {
		path += "-race"
		args = append(args, "-race")
	}
	_, err = goTool(ctx, root, append(args, "-o", path, p.Package)...)
	return path, err
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := goTool(ctx, "", "list", "-m", "-f", "{{.Dir}}", "github.com/raftdv/dv")
	return strings.TrimSpace(string(out)), err
}

func goTool(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, err
}

// lock holds path until the returned function is called, or the process ends.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
