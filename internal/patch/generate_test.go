package main

import (
	"go/build"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func generate(t *testing.T, o Options) Result {
	t.Helper()
	r, err := Generate(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The server at the version of go.mod: the patch changes what it says and
// nothing else.
func TestGenerate(t *testing.T) {
	o := Options{Root: root(t), Dir: t.TempDir()}
	r := generate(t, o)
	if !r.Fresh {
		t.Error("the first run made no copy")
	}
	mod, err := download(t.Context(), o.Root)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("diff", "-r", "-U0", mod.Dir, r.ServerDir).Output()
	if err == nil {
		t.Fatal("the copy is the same as the server")
	}
	var added, removed []string
	for line := range strings.Lines(string(out)) {
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
		case strings.HasPrefix(line, "+"):
			added = append(added, strings.TrimSpace(line[1:]))
		case strings.HasPrefix(line, "-"):
			removed = append(removed, strings.TrimSpace(line[1:]))
		}
	}
	want := []string{
		`"go.etcd.io/etcd/server/v3/verify"; dvplug "github.com/raftdv/dv/raftdv/plug"`,
		"return dvplug.ServeMetrics(ml, metricsMux)",
		`"github.com/prometheus/client_golang/prometheus/promhttp"; dvplug "github.com/raftdv/dv/raftdv/plug"`,
		"mux.Handle(PathMetrics, promhttp.Handler()); dvplug.HandleDebug(mux)",
		`"go.etcd.io/etcd/server/v3/etcdserver"; dvplug "github.com/raftdv/dv/raftdv/plug"`,
		"dvplug.HandleServices(grpcServer, s); return grpcServer",
		`"go.etcd.io/raft/v3/raftpb"; dvplug "github.com/raftdv/dv/raftdv/plug"`,
		"tr := dvplug.New(cfg, &rafthttp.Transport{",
		"})",
		"tr, ok := s.r.transport.(dvplug.Transport)",
		"tr, ok := s.r.transport.(dvplug.Transport)",
	}
	if strings.Join(added, "\n") != strings.Join(want, "\n") || len(removed) != len(want) {
		t.Errorf("the patch differs:\n%s", out)
	}
	if !strings.Contains(string(out), "Only in "+filepath.Join(r.ServerDir, "etcdserver")+": zz_dv_hook.go") {
		t.Errorf("no hook file:\n%s", out)
	}
}

func TestGenerateTwice(t *testing.T) {
	o := Options{Root: root(t), Dir: t.TempDir()}
	first := generate(t, o)
	stale := filepath.Join(o.Dir, "server.tmp-123")
	if err := os.MkdirAll(filepath.Join(stale, "server"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := modTimes(t, first)
	second := generate(t, o)
	if second.Fresh {
		t.Error("the second run made a copy again")
	}
	if second.ServerDir != first.ServerDir {
		t.Errorf("%s became %s", first.ServerDir, second.ServerDir)
	}
	if after := modTimes(t, second); before != after {
		t.Errorf("files were written again:\n%s\n%s", before, after)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("what an interrupted run left is still there")
	}
}

func modTimes(t *testing.T, r Result) string {
	t.Helper()
	var b strings.Builder
	for _, p := range []string{r.ModFile, sumOf(r.ModFile), filepath.Join(r.ServerDir, hookFile)} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(info.ModTime().String() + "\n")
	}
	return b.String()
}

func TestGenerateAtTheSameTime(t *testing.T) {
	o := Options{Root: root(t), Dir: t.TempDir()}
	var wg sync.WaitGroup
	results, errs := make([]Result, 4), make([]error, 4)
	for i := range results {
		wg.Go(func() { results[i], errs[i] = Generate(t.Context(), o) })
	}
	wg.Wait()
	made := 0
	for i := range results {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if results[i].Fresh {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d runs made a copy, want 1", made)
	}
}

// A key that does not depend on all that goes into the copy would keep an old
// one in use.
func TestCopyKey(t *testing.T) {
	keys := map[string]bool{}
	for _, m := range []module{{Version: "v1", Sum: "a"}, {Version: "v2", Sum: "a"}, {Version: "v1", Sum: "b"}} {
		k, err := copyKey(m)
		if err != nil {
			t.Fatal(err)
		}
		keys[k] = true
	}
	if len(keys) != 3 {
		t.Errorf("3 servers have %d keys", len(keys))
	}
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range pkg.GoFiles {
		if _, err := generator.ReadFile(f); err != nil {
			t.Errorf("%s is not part of the key: %v", f, err)
		}
	}
}

func TestModFile(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "with", "more.mod")
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		t.Fatal(err)
	}
	r := generate(t, Options{
		Root: root(t), Dir: dir, ModFile: out,
		Replace: []string{"example.org/other=../other"},
		// Already required, so that the test needs no network.
		Require: []string{"go.uber.org/goleak@v1.3.0"},
	})
	text := read(t, out)
	for _, want := range []string{
		"go.etcd.io/etcd/server/v3 => " + r.ServerDir,
		"example.org/other => ../other",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if read(t, dir, "with", "more.sum") == "" {
		t.Error("no checksums")
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		t.Error("the default module file was written too")
	}
}

func TestReplacement(t *testing.T) {
	for _, tc := range [][3]string{
		{"/m", "/m/.build/server", "./.build/server"},
		{"/m", "/other/server", "/other/server"},
	} {
		if got := replacement(tc[0], tc[1]); got != tc[2] {
			t.Errorf("replacement(%q, %q) = %q, want %q", tc[0], tc[1], got, tc[2])
		}
	}
}

func TestGenerateNamesTheFault(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.org/empty\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Generate(t.Context(), Options{Root: dir})
	if err == nil || !strings.Contains(err.Error(), serverModule) || !strings.Contains(err.Error(), filepath.Join(dir, "go.mod")) {
		t.Errorf("a module without etcd: %v", err)
	}
}
