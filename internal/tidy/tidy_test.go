package tidy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type rule struct {
	name  string
	check func(Tree) ([]string, error)
}

var rules = []rule{
	{"TopLevel", TopLevel}, {"Sizes", Sizes}, {"Layers", Layers}, {"PackageDocs", PackageDocs},
	{"Formatted", Formatted}, {"Lengths", Lengths}, {"Clocks", Clocks}, {"Words", Words},
}

// The repository keeps its own rules.
func TestRepository(t *testing.T) {
	tree, err := Load(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(tree.Files, "internal/tidy/tidy_test.go") {
		t.Fatal("this is not the repository")
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			faults, err := r.check(tree)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range faults {
				t.Error(f)
			}
		})
	}
}

// good keeps every rule.
func good() map[string]string {
	files := map[string]string{
		"fabric/doc.go":          "// Package fabric carries bytes.\npackage fabric\n",
		"fabric/testdata/x.go":   "package    broken",
		"raftdv/doc.go":          "// Package raftdv carries messages.\npackage raftdv\n\nimport (\n\t_ \"go.etcd.io/raft/v3\"\n\n\t_ \"github.com/raftdv/dv/fabric\"\n)\n",
		"raftdv/plug/doc.go":     "// Package plug is called by etcd.\npackage plug\n\nimport _ \"github.com/raftdv/dv/raftdv\"\n",
		"raftdv/x_test.go":       "package raftdv\n\nimport _ \"github.com/raftdv/dv/integration/cluster\"\n",
		"cmd/etcd-dv/doc.go":     "// Etcd-dv is etcd.\npackage main\n\nimport _ \"github.com/raftdv/dv/raftdv/plug\"\n",
		"integration/x/doc.go":   "// Package x runs clusters.\npackage x\n",
		"internal/x/doc.go":      "// Package x helps.\npackage x\n",
		"docs/architecture.md":   "Unpack it in /var/lib, or below the root/ folder.\n",
		"bin/etcd-dv":            "not looked at\n",
		".build/server/x.go":     "package    broken",
		"raftdv/testdata/binary": "\x00/root/\xff",
	}
	for name, must := range top {
		if _, dir := map[string]bool{"raftdv": true, "fabric": true, "cmd": true, "integration": true, "docs": true, "internal": true}[name]; must && !dir {
			files[name] = "x\n"
		}
	}
	files[".ci/run"] = "x\n"
	delete(files, ".ci")
	return files
}

func load(t *testing.T, files map[string]string) Tree {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestGoodTree(t *testing.T) {
	tree := load(t, good())
	for _, r := range rules {
		if faults, err := r.check(tree); err != nil || len(faults) > 0 {
			t.Errorf("%s: %v, %q", r.name, err, faults)
		}
	}
}

// Every rule must see its breach: the good tree plus one file.
func TestBreaches(t *testing.T) {
	for name, tc := range map[string]struct {
		rule       func(Tree) ([]string, error)
		file, text string
		want       string
	}{
		"stray at the top":    {TopLevel, "notes.txt", "x", "notes.txt: does not belong"},
		"stray folder":        {TopLevel, "pkg/x/y", "x", "pkg: does not belong"},
		"large":               {Sizes, "docs/large", strings.Repeat("x", maxFile+1), "docs/large: 1048577 bytes"},
		"upwards":             {Layers, "fabric/up.go", "package fabric\n\nimport _ \"github.com/raftdv/dv/raftdv\"\n", "fabric lies below raftdv"},
		"upwards in a test":   {Layers, "fabric/up_test.go", "package fabric\n\nimport _ \"github.com/raftdv/dv/raftdv\"\n", "fabric lies below raftdv"},
		"barrier on ordered":  {Layers, "barrier/up.go", "package barrier\n\nimport _ \"github.com/raftdv/dv/ordered\"\n", "barrier lies below ordered"},
		"raftdv on cmd":       {Layers, "raftdv/up.go", "package raftdv\n\nimport _ \"github.com/raftdv/dv/cmd/etcd-dv\"\n", "raftdv lies below cmd"},
		"raftdv on its tests": {Layers, "raftdv/up.go", "package raftdv\n\nimport _ \"github.com/raftdv/dv/integration/x\"\n", "raftdv lies below integration"},
		"raftdv on the plug":  {Layers, "raftdv/up.go", "package raftdv\n\nimport _ \"github.com/raftdv/dv/raftdv/plug\"\n", "the plug calls the transport"},
		"internal is a leaf":  {Layers, "internal/x/up.go", "package x\n\nimport _ \"github.com/raftdv/dv/fabric\"\n", "internal packages are leaves"},
		"raft in the fabric":  {Layers, "fabric/udp/raft.go", "package udp\n\nimport _ \"go.etcd.io/raft/v3/raftpb\"\n", "knows no raft"},
		"etcd in the barrier": {Layers, "barrier/etcd.go", "package barrier\n\nimport _ \"go.etcd.io/etcd/server/v3/config\"\n", "knows no raft"},
		"no doc.go":           {PackageDocs, "fabric/udp/udp.go", "// Package udp has a comment.\npackage udp\n", "fabric/udp: has no doc.go"},
		"no comment":          {PackageDocs, "fabric/udp/doc.go", "package udp\n", `fabric/udp/doc.go: its comment does not start with ["Package udp "]`},
		"detached comment":    {PackageDocs, "fabric/udp/doc.go", "// Package udp is apart.\n\npackage udp\n", "does not start"},
		"other name":          {PackageDocs, "cmd/tool/doc.go", "// Package main does it.\npackage main\n", `does not start with ["Tool " "Command tool "]`},
		"spaces":              {Formatted, "fabric/ugly.go", "package   fabric\n", "fabric/ugly.go: is not as gofmt"},
		"not simplified":      {Formatted, "fabric/ugly.go", "package fabric\n\nvar x = [][]int{[]int{1}}\n", "fabric/ugly.go: is not as gofmt"},
		"long file":           {Lengths, "fabric/long.go", "package fabric\n" + strings.Repeat("\n", maxLines), "501 lines: more than 500"},
		"long function":       {Lengths, "fabric/long.go", "package fabric\n\nfunc f() {" + strings.Repeat("\n", maxFuncLines) + "}\n", "func f has 71 lines"},
		"wall clock":          {Clocks, "raftdv/x.go", "package raftdv\n\nvar x = time.Now().UnixNano()\n", "raftdv/x.go: line 3 measures with the wall clock"},
		"wall clock of now":   {Clocks, "raftdv/x.go", "package raftdv\n\nvar x = now.UnixNano()\n", "line 3 measures"},
		"from a number":       {Clocks, "fabric/x.go", "package fabric\n\nvar x = time.Unix(0, 1)\n", "line 3 measures"},
		"a machine's path":    {Words, "docs/x.md", "one\nsee /ro" + "ot/x\n", "docs/x.md: line 2 holds a path of one machine"},
		"a home":              {Words, "raftdv/x.go", `package raftdv // "/ho` + `me/me/x"`, "a path of one machine"},
		"a temporary path":    {Words, "docs/x.md", "write to /t" + "mp/x", "a temporary path"},
		"a registry":          {Words, "Makefile", "GOPROXY=https://proxy.gola" + "ng.org", "the name of a registry"},
		"an author":           {Words, "README.md", "by Cla" + "ude", "who wrote it"},
		"a leftover":          {Words, "raftdv/x.go", "package raftdv // TO" + "DO: do it", "left for later"},
		"a conflict":          {Words, "raftdv/x.go", "package raftdv\n<<<<<<" + "< HEAD\n", "a conflict of two changes"},
	} {
		t.Run(name, func(t *testing.T) {
			files := good()
			files[tc.file] = tc.text
			faults, err := tc.rule(load(t, files))
			if err != nil {
				t.Fatal(err)
			}
			if len(faults) != 1 || !strings.Contains(faults[0], tc.want) {
				t.Errorf("got %q, want one with %q", faults, tc.want)
			}
		})
	}
}

func TestMissingAtTheTop(t *testing.T) {
	for name, must := range top {
		files := good()
		for f := range files {
			if f == name || strings.HasPrefix(f, name+"/") {
				delete(files, f)
			}
		}
		faults, err := TopLevel(load(t, files))
		want := []string{name + ": is missing"}
		if !must {
			want = nil
		}
		if err != nil || !slices.Equal(faults, want) {
			t.Errorf("without %s: %q, %v", name, faults, err)
		}
	}
}

// What git ignores and what the rules ignore must be the same, or a fault
// could be committed unseen.
func TestIgnored(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, dir := strings.CutSuffix(strings.TrimPrefix(line, "/"), "/")
		if !ignored(strings.Replace(name, "*", "x", 1), dir) {
			t.Errorf("git ignores %s, the rules do not", line)
		}
	}
}
