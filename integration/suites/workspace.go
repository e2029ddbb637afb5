package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	etcdModule   = "go.etcd.io/etcd/"
	serverModule = etcdModule + "server/v3"
	testsModule  = etcdModule + "tests/v3"
	// lastRelease is the previous minor version: mixed-version tests run it.
	lastRelease = "v3.6.16"
)

//go:embed inject/failpoint.go.txt
var failpointChoice []byte

// A workspace is the folder in which everything is generated and built. None
// of it is ever committed.
type workspace struct {
	root    string // of the main module
	dir     string
	version string // of the server in the main module's go.mod
	tests   string // the copy of etcd's test module
}

// openWorkspace brings the test module at the server's version and the module
// files for both kinds. It is idempotent; runs at the same time wait for each
// other.
func openWorkspace(ctx context.Context, root, dir string) (*workspace, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	w := &workspace{root: root, dir: dir}
	out, err := w.goTool(ctx, root, "list", "-m", "-f", "{{.Version}}", serverModule)
	if err != nil {
		return nil, err
	}
	w.version = strings.TrimSpace(string(out))
	if err := w.copyTests(ctx); err != nil {
		return nil, fmt.Errorf("copy %s: %w", testsModule, err)
	}
	for _, k := range bothKinds {
		if err := w.writeModFile(ctx, k); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *workspace) modFile(k kind) string { return filepath.Join(w.dir, string(k)+".mod") }

// copyTests puts the test module where it can be changed. The copy appears by
// a rename, when it is whole.
func (w *workspace) copyTests(ctx context.Context) error {
	src, err := w.download(ctx, testsModule+"@"+w.version)
	if err != nil {
		return err
	}
	key := sha256.New()
	fmt.Fprintln(key, src.Sum, copyFormat)
	key.Write(failpointChoice)
	w.tests = filepath.Join(w.dir, "tests-"+w.version+"-"+hex.EncodeToString(key.Sum(nil))[:8])
	if _, err := os.Stat(w.tests); err == nil {
		return nil
	}
	tmp, err := os.MkdirTemp(w.dir, "tests.tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	tree := filepath.Join(tmp, "tests")
	if err := copyTree(tree, src.Dir, func(string) bool { return true }); err != nil {
		return err
	}
	if err := w.adapt(ctx, tree); err != nil {
		return err
	}
	return os.Rename(tree, w.tests)
}

// copyFormat is raised when adapt changes.
const copyFormat = 1

// adapt changes what does not build or run outside of etcd's repository.
func (w *workspace) adapt(ctx context.Context, tree string) error {
	// One file uses the module cache/v3, which the module proxy does not have;
	// another build environment needs a toolkit of its own.
	for _, gone := range []string{"integration/cache_test.go", "antithesis"} {
		if err := os.RemoveAll(filepath.Join(tree, gone)); err != nil {
			return err
		}
	}
	if _, err := w.goTool(ctx, tree, "mod", "edit", "-droprequire="+etcdModule+"cache/v3", "-toolchain=none"); err != nil {
		return err
	}
	if err := linkFixtures(tree); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(tree, "robustness", "failpoint", "choice_suites.go"), failpointChoice, 0o644)
}

// linkFixtures restores the symbolic links of the repository, which modules
// cannot hold: tests look for ../fixtures from wherever they run.
func linkFixtures(tree string) error {
	for _, dir := range []string{"integration", "integration/clientv3", "integration/clientv3/experimental", "integration/proxy"} {
		up := strings.Repeat("../", strings.Count(dir, "/")+1)
		if err := os.Symlink(up+"fixtures", filepath.Join(tree, dir, "fixtures")); err != nil {
			return err
		}
	}
	return nil
}

// writeModFile has internal/patch write the module file of a kind. That of
// stock names the released server again, so that both kinds are built from
// the same dependencies and differ in nothing but the server.
func (w *workspace) writeModFile(ctx context.Context, k kind) error {
	// A relative path keeps the folder of the checkout out of the programs.
	tests, err := filepath.Rel(w.root, w.tests)
	if err != nil || strings.HasPrefix(tests, "..") {
		tests = w.tests
	} else {
		tests = "./" + filepath.ToSlash(tests)
	}
	args := []string{
		"run", "./internal/patch", "-q", "-out", w.modFile(k),
		"-require", testsModule + "/...@" + w.version,
		"-require", etcdModule + "etcdctl/v3@" + w.version,
		"-require", etcdModule + "etcdutl/v3@" + w.version,
		"-replace", testsModule + "=" + tests,
	}
	if k == stock {
		args = append(args, "-replace", serverModule+"="+serverModule+"@"+w.version)
	}
	_, err = w.goTool(ctx, w.root, args...)
	return err
}

// A module is what go mod download reports.
type module struct{ Dir, Sum, Error string }

func (w *workspace) download(ctx context.Context, path string) (m module, err error) {
	out, err := w.goTool(ctx, w.root, "mod", "download", "-json", path)
	if jerr := json.Unmarshal(out, &m); jerr == nil && m.Error != "" {
		return m, fmt.Errorf("download %s: %s", path, m.Error)
	}
	return m, err
}

// goTool runs the go command as the main module's go.mod asks, whatever the
// environment says of workspaces and module files. Flags such as -p of
// GOFLAGS hold.
func (w *workspace) goTool(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// copyTree copies the files of src that take accepts, all folders and all
// links. The copy is writable.
func copyTree(dst, src string, take func(path string) bool) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case d.Type() == fs.ModeSymlink:
			return copyLink(to, path)
		case take(rel):
			return copyFile(to, path)
		}
		return nil
	})
}

func copyLink(dst, src string) error {
	target, err := os.Readlink(src)
	if err != nil {
		return err
	}
	return os.Symlink(target, dst)
}

func copyFile(dst, src string) error {
	from, err := os.Open(src)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(dst)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return err
	}
	return to.Close()
}

// lockFile holds path until the returned function is called or the process
// ends.
func lockFile(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
