package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// generator is hashed into the key: a changed generator makes a new copy.
//
//go:embed *.go
var generator embed.FS

// Options say what to write and where.
type Options struct {
	// Root is the folder of the main module's go.mod.
	Root string
	// Dir receives the server's copy. Default Root/.build.
	Dir string
	// ModFile is the module file to write; its go.sum goes beside it.
	// Default Dir/go.mod.
	ModFile string
	// Require are further module@version for ModFile; their dependencies and
	// checksums are added too.
	Require []string
	// Replace are further old[@v]=new[@v] for ModFile.
	Replace []string
}

func (o Options) withDefaults() Options {
	if o.Dir == "" {
		o.Dir = filepath.Join(o.Root, ".build")
	}
	if o.ModFile == "" {
		o.ModFile = filepath.Join(o.Dir, "go.mod")
	}
	return o
}

// A Result names what Generate made or found up to date.
type Result struct {
	Version   string // of the server
	ServerDir string // its patched copy
	ModFile   string // for go build -modfile
	Fresh     bool   // a copy was made by this call
}

// Generate makes the patched server and the module file that uses it. It is
// idempotent and safe to run at the same time in several processes.
func Generate(ctx context.Context, o Options) (Result, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return Result{}, err
	}
	unlock, err := lock(filepath.Join(o.Dir, "lock"))
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	removeStale(o.Dir)
	mod, err := download(ctx, o.Root)
	if err != nil {
		return Result{}, err
	}
	r := Result{Version: mod.Version, ModFile: o.ModFile}
	r.ServerDir, r.Fresh, err = serverCopy(o.Dir, mod)
	if err != nil {
		return r, err
	}
	return r, writeModFile(ctx, o, r.ServerDir)
}

// removeStale removes what an interrupted run left. The caller holds the lock,
// so nobody works in there.
func removeStale(dir string) {
	for _, pattern := range []string{"server.tmp-*", "mod.tmp-*"} {
		stale, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, s := range stale {
			os.RemoveAll(s)
		}
	}
}

// A module is what go mod download reports.
type module struct {
	Version, Dir, Sum, Error string
}

// download returns the server module that go.mod names, in the module cache.
func download(ctx context.Context, root string) (module, error) {
	out, err := goTool(ctx, root, "mod", "download", "-json", serverModule)
	var m module
	if jerr := json.Unmarshal(out, &m); jerr != nil && err == nil {
		err = jerr
	}
	if m.Error != "" {
		err = fmt.Errorf("%s", m.Error)
	}
	if err != nil {
		return m, fmt.Errorf("find %s for %s: %w", serverModule, filepath.Join(root, "go.mod"), err)
	}
	return m, nil
}

// serverCopy returns the folder of the patched copy, and whether it had to be
// made. The copy appears by a rename, when it is whole.
func serverCopy(dir string, mod module) (string, bool, error) {
	key, err := copyKey(mod)
	if err != nil {
		return "", false, err
	}
	dst := filepath.Join(dir, "server-"+mod.Version+"-"+key)
	if _, err := os.Stat(dst); err == nil {
		return dst, false, nil
	}
	tmp, err := os.MkdirTemp(dir, "server.tmp-")
	if err != nil {
		return "", false, err
	}
	defer os.RemoveAll(tmp)
	tree := filepath.Join(tmp, "server")
	if err := copyTree(tree, mod.Dir); err != nil {
		return "", false, fmt.Errorf("copy the server: %w", err)
	}
	if err := patchTree(tree, mod.Version); err != nil {
		return "", false, err
	}
	return dst, true, os.Rename(tree, dst)
}

func copyKey(mod module) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, mod.Version, mod.Sum)
	files, err := generator.ReadDir(".")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		text, err := generator.ReadFile(f.Name())
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, f.Name(), len(text))
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// writeModFile copies go.mod and go.sum, adds the replacement and what the
// options ask for, and puts both in place if they changed.
func writeModFile(ctx context.Context, o Options, serverDir string) error {
	tmp, err := os.MkdirTemp(o.Dir, "mod.tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	mod := filepath.Join(tmp, "go.mod")
	if err := copyFiles(o.Root, tmp, "go.mod", "go.sum"); err != nil {
		return err
	}
	args := []string{"mod", "edit", "-replace=" + serverModule + "=" + replacement(o.Root, serverDir)}
	for _, r := range o.Replace {
		args = append(args, "-replace="+r)
	}
	if _, err := goTool(ctx, o.Root, append(args, mod)...); err != nil {
		return fmt.Errorf("write %s: %w", o.ModFile, err)
	}
	if len(o.Require) > 0 {
		if _, err := goTool(ctx, o.Root, append([]string{"get", "-t", "-modfile=" + mod}, o.Require...)...); err != nil {
			return fmt.Errorf("add requirements to %s: %w", o.ModFile, err)
		}
	}
	if err := install(mod, o.ModFile); err != nil {
		return err
	}
	return install(sumOf(mod), sumOf(o.ModFile))
}

// replacement is relative to the main module where it can be: a build then
// does not depend on where the module lies.
func replacement(root, dir string) string {
	rel, err := filepath.Rel(root, dir)
	if err != nil || strings.HasPrefix(rel, "..") {
		return dir
	}
	return "./" + filepath.ToSlash(rel)
}

func sumOf(mod string) string { return strings.TrimSuffix(mod, ".mod") + ".sum" }

func copyFiles(from, to string, names ...string) error {
	for _, n := range names {
		text, err := os.ReadFile(filepath.Join(from, n))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, n), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// install renames from to to unless they are equal: an unchanged module file
// keeps its time.
func install(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return os.Rename(from, to)
}

// lock holds path until the returned function is called, or the process ends.
func lock(path string) (func(), error) {
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

// goTool runs the go command on the main module itself, whatever module file
// or workspace the environment asks for.
func goTool(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
