package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A program of its own, with a dependency in a folder, as go list sees it.
func program(t *testing.T, license bool) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.org/program\n\ngo 1.26\n\nrequire example.org/dep v1.2.3\n\nreplace example.org/dep => ./dep\n")
	write(t, filepath.Join(dir, "main.go"), "package main\n\nimport _ \"example.org/dep/linked/deep\"\n\nfunc main() {}\n")
	write(t, filepath.Join(dir, "LICENSE"), "terms of the program")
	write(t, filepath.Join(dir, "dep", "go.mod"), "module example.org/dep\n\ngo 1.26\n")
	if license {
		write(t, filepath.Join(dir, "dep", "LICENSE.txt"), "terms of the dependency\n")
	}
	write(t, filepath.Join(dir, "dep", "license.go"), "package dep // not terms\n")
	write(t, filepath.Join(dir, "dep", "linked", "deep", "deep.go"), "package deep\n")
	write(t, filepath.Join(dir, "dep", "other", "LICENSE"), "terms of what is not linked")
	write(t, filepath.Join(dir, "dep", "linked", "COPYING"), "terms of what it took over")
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "off")
}

func TestNotices(t *testing.T) {
	program(t, true)
	if err := run("out", []string{"go.mod=.", "go.mod=."}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("out")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"example.org/dep v1.2.3, modified by " + ownModule + " (LICENSE.txt)\n" + line + "\n\nterms of the dependency\n",
		"(linked/COPYING)", "terms of what it took over", "runtime and standard library (LICENSE)", "runtime and standard library (PATENTS)"} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("%q is there %d times, want once", want, strings.Count(string(text), want))
		}
	}
	for _, not := range []string{"not linked", "not terms", "terms of the program"} {
		if strings.Contains(string(text), not) {
			t.Errorf("%q is there", not)
		}
	}
}

// What nobody has licensed must not be handed on unseen.
func TestNoLicense(t *testing.T) {
	program(t, false)
	err := run("out", []string{"go.mod=."})
	if err == nil || !strings.Contains(err.Error(), "example.org/dep v1.2.3") || !strings.Contains(err.Error(), "has no license") {
		t.Error(err)
	}
	if _, err := os.Stat("out"); err == nil {
		t.Error("a file was written all the same")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"pkg"}} {
		if run("out", args) == nil {
			t.Errorf("%q passes", args)
		}
	}
}
