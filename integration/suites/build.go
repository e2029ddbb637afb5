package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// The programs that tests of real processes run, as the tests call them.
const (
	progEtcd        = "etcd"
	progEtcdctl     = "etcdctl"
	progEtcdutl     = "etcdutl"
	progLastRelease = "etcd-last-release"
)

// keepBuilds is how long a build that nobody uses is kept.
const keepBuilds = 48 * time.Hour

// A set is everything that the tests of one package run for one kind. It
// never changes: a build that comes later makes another.
type set struct {
	key  string // of the contents and the settings that reach them
	dir  string // for -bin-dir; test programs with the server in them need none
	test string // the test program
}

// A builder builds each program once. The caller holds the workspace's lock.
type builder struct {
	*workspace
	say  func(format string, args ...any)
	kept map[string]string // from what the go command wrote to the copy of it
	sets map[string]set
}

func newBuilder(w *workspace, say func(string, ...any)) *builder {
	return &builder{workspace: w, say: say, kept: map[string]string{}, sets: map[string]set{}}
}

// set builds and returns what a package's tests need for a kind.
func (b *builder) set(ctx context.Context, s *suite, pkg string, k kind) (set, error) {
	id := s.name + "\x00" + pkg + "\x00" + string(k)
	if have, ok := b.sets[id]; ok {
		return have, nil
	}
	test, err := b.testProgram(ctx, s, pkg, k)
	if err != nil {
		return set{}, err
	}
	made := set{test: test}
	parts := []string{b.identity(test)}
	server := test
	if !s.linked && !s.alone {
		programs, err := b.programs(ctx, s, k)
		if err != nil {
			return set{}, err
		}
		server = programs[progEtcd]
		if made.dir, err = b.binDir(programs); err != nil {
			return set{}, err
		}
		parts = append(parts, b.identity(made.dir))
	}
	if !s.alone {
		if err := checkKind(server, k); err != nil {
			return set{}, err
		}
	}
	made.key = digest(append(append(parts, s.env...), dvSettings(k)...))
	b.sets[id] = made
	return made, nil
}

// hookSymbol is in every program whose server has our transport.
const hookSymbol = "github.com/raftdv/dv/raftdv/plug.New"

// checkKind makes sure that two different things are compared.
func checkKind(program string, k kind) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if hooked := bytes.Contains(text, []byte(hookSymbol)); hooked != (k == dv) {
		return fmt.Errorf("%s was built as %s, but has our transport: %v", filepath.Base(program), k, hooked)
	}
	return nil
}

// testProgram builds a package's tests. One that has no server in it serves
// both kinds.
func (b *builder) testProgram(ctx context.Context, s *suite, pkg string, k kind) (string, error) {
	sub, mod := "any", stock
	if s.linked {
		sub, mod = string(k), k
	}
	args := []string{"test", "-c", "-trimpath", "-buildvcs=false", "-modfile=" + b.modFile(mod)}
	if s.tags != "" {
		args = append(args, "-tags="+s.tags)
	}
	if len(s.edits) > 0 {
		overlay, err := b.overlay(s)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay="+overlay)
	}
	out := filepath.Join(b.dir, "out", "test-"+sub, s.program(pkg))
	return b.build(ctx, out, b.root, append(args, "-o", out, testsModule+"/"+pkg))
}

// overlay writes the suite's edits of the test module, and what the go command
// has to know of them.
func (b *builder) overlay(s *suite) (string, error) {
	dir := filepath.Join(b.dir, "overlay-"+s.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for i, e := range s.edits {
		from := filepath.Join(b.tests, filepath.FromSlash(e.file))
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if !bytes.Contains(text, []byte(e.old)) {
			return "", fmt.Errorf("%s has no %q any more: correct the edits of suite %s", e.file, e.old, s.name)
		}
		to := filepath.Join(dir, fmt.Sprintf("%d-%s", i, path.Base(e.file)))
		if err := os.WriteFile(to, bytes.ReplaceAll(text, []byte(e.old), []byte(e.new)), 0o644); err != nil {
			return "", err
		}
		replace[from] = to
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, text, 0o644)
}

// programs returns, by the names that tests use, what they run.
func (b *builder) programs(ctx context.Context, s *suite, k kind) (map[string]string, error) {
	server := serverModule
	if k == dv {
		server = "./cmd/etcd-dv"
	}
	type source struct {
		mod kind
		out string
		pkg string
	}
	have := map[string]string{}
	for prog, from := range map[string]source{
		progEtcd:    {k, progEtcd + "-" + string(k), server},
		progEtcdctl: {stock, progEtcdctl, etcdModule + "etcdctl/v3"},
		progEtcdutl: {stock, progEtcdutl, etcdModule + "etcdutl/v3"},
	} {
		out := filepath.Join(b.dir, "out", from.out)
		args := []string{"build", "-trimpath", "-buildvcs=false", "-modfile=" + b.modFile(from.mod), "-o", out, from.pkg}
		path, err := b.build(ctx, out, b.root, args)
		if err != nil {
			return nil, err
		}
		have[prog] = path
	}
	if !s.lastRelease {
		return have, nil
	}
	last, err := b.lastRelease(ctx)
	have[progLastRelease] = last
	return have, err
}

// lastRelease builds the previous minor version in a module of its own, which
// holds its own dependencies.
func (b *builder) lastRelease(ctx context.Context) (string, error) {
	mod := filepath.Join(b.dir, "last-"+lastRelease)
	if _, err := os.Stat(filepath.Join(mod, "go.sum")); err != nil {
		if err := os.MkdirAll(mod, 0o755); err != nil {
			return "", err
		}
		text := "module lastrelease\n\ngo 1.24\n"
		if err := os.WriteFile(filepath.Join(mod, "go.mod"), []byte(text), 0o644); err != nil {
			return "", err
		}
		if _, err := b.goTool(ctx, mod, "get", serverModule+"@"+lastRelease); err != nil {
			return "", err
		}
	}
	out := filepath.Join(b.dir, "out", progLastRelease)
	return b.build(ctx, out, mod, []string{"build", "-trimpath", "-buildvcs=false", "-o", out, serverModule})
}

// build runs the go command, which does nothing for what is up to date, and
// returns a copy of the result that later builds leave alone.
func (b *builder) build(ctx context.Context, out, from string, args []string) (string, error) {
	if path, ok := b.kept[out]; ok {
		return path, nil
	}
	if _, err := os.Stat(out); err != nil {
		b.say("building %s (a first build compiles all of etcd: some minutes)", filepath.Base(out))
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", err
	}
	if _, err := b.goTool(ctx, from, args...); err != nil {
		return "", fmt.Errorf("build %s: %w", filepath.Base(out), err)
	}
	path, err := b.keep(out)
	b.kept[out] = path
	return path, err
}

// identity says what a kept program is, wherever the workspace lies.
func (b *builder) identity(path string) string { return strings.TrimPrefix(path, b.storeDir()) }

func (b *builder) storeDir() string { return filepath.Join(b.dir, "store") }

// keep copies a program into a folder that is named by its contents.
func (b *builder) keep(out string) (string, error) {
	sum, err := fileHash(out)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.storeDir(), sum)
	path := filepath.Join(dir, filepath.Base(out))
	if touch(dir) == nil {
		return path, nil
	}
	tmp, err := os.MkdirTemp(b.dir, "store.tmp-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	into := filepath.Join(tmp, sum)
	if err := os.MkdirAll(into, 0o755); err != nil {
		return "", err
	}
	copied := filepath.Join(into, filepath.Base(out))
	if err := copyFile(copied, out); err != nil {
		return "", err
	}
	if err := os.Chmod(copied, 0o755); err != nil {
		return "", err
	}
	if err := os.MkdirAll(b.storeDir(), 0o755); err != nil {
		return "", err
	}
	return path, os.Rename(into, dir)
}

// binDir makes a folder that holds programs under the names that tests use.
func (b *builder) binDir(programs map[string]string) (string, error) {
	var parts []string
	for _, name := range []string{progEtcd, progEtcdctl, progEtcdutl, progLastRelease} {
		parts = append(parts, name, b.identity(programs[name]))
	}
	dir := filepath.Join(b.storeDir(), "bin-"+digest(parts))
	if touch(dir) == nil {
		return dir, nil
	}
	tmp, err := os.MkdirTemp(b.dir, "store.tmp-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	into := filepath.Join(tmp, "bin")
	if err := os.Mkdir(into, 0o755); err != nil {
		return "", err
	}
	for name, path := range programs {
		if err := os.Link(path, filepath.Join(into, name)); err != nil {
			return "", err
		}
	}
	return dir, os.Rename(into, dir)
}

// removeOld removes builds that were not used for a while.
func (b *builder) removeOld() {
	entries, _ := os.ReadDir(b.storeDir())
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > keepBuilds {
			os.RemoveAll(filepath.Join(b.storeDir(), e.Name()))
		}
	}
}

// touch marks a folder as used. It fails if there is none.
func touch(dir string) error {
	now := time.Now()
	return os.Chtimes(dir, now, now)
}

func fileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:keyLength], nil
}

// keyLength hex digits name a build.
const keyLength = 16

func digest(parts []string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d %s\n", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:keyLength]
}

const dvEnvPrefix = "ETCD_DV_"

// dvSettings are the variables that configure the transport. Stock gets none.
func dvSettings(k kind) []string {
	if k == stock {
		return nil
	}
	var set []string
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, dvEnvPrefix) {
			set = append(set, kv)
		}
	}
	return set
}
