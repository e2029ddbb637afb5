package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tested runs go test on one package made of the given file.
func tested(t *testing.T, name, text string) (out, log string, ok bool) {
	t.Helper()
	dir := t.TempDir()
	for n, s := range map[string]string{"go.mod": "module x\n\ngo 1.26\n", name: text} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	stdout, _ := cmd.Output() // its status is what we have to find out
	var b strings.Builder
	logPath := filepath.Join(dir, "log")
	ok, err := run(strings.NewReader(string(stdout)), &b, logPath, true)
	if err != nil {
		t.Fatal(err)
	}
	text2, err := os.ReadFile(logPath)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), string(text2), ok
}

const head = "package x\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nvar _ = os.Exit\n\n"

func TestSummary(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text string
		ok         bool
		want       []string
		never      []string
	}{
		"pass": {"x_test.go", head + `func TestA(t *testing.T) { t.Log("chatter") }`, true,
			[]string{"ok  \tx", "skipped: 0", "failed: 0", "--- PASS: TestA"}, []string{"chatter"}},
		"skip": {"x_test.go", head + `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Skip("no cake") }) }`, true,
			[]string{"skipped: 1\n  x.TestA/sub: x_test.go:10: no cake", "--- SKIP: TestA/sub"}, nil},
		"skip without a reason": {"x_test.go", head + `func TestA(t *testing.T) { t.SkipNow() }`, true,
			[]string{"x.TestA: no reason given"}, nil},
		"fail": {"x_test.go", head + `func TestA(t *testing.T) { t.Error("why") }; func TestB(t *testing.T) { t.Log("chatter") }`, false,
			[]string{"x_test.go:10: why", "failed: 2\n  x.TestA\n  x\n", "--- FAIL: TestA"}, []string{"chatter"}},
		"panic": {"x_test.go", head + `func TestA(t *testing.T) { panic("at the disco") }`, false,
			[]string{"at the disco", "x.TestA"}, nil},
		"exit":     {"x_test.go", head + `func TestA(t *testing.T) { os.Exit(3) }`, false, []string{"failed: "}, nil},
		"no build": {"x_test.go", head + `func TestA(t *testing.T) { undefined() }`, false, []string{"undefined: undefined", "does not build"}, nil},
		"no tests": {"x.go", "package x\n", true, []string{"no test files"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, log, ok := tested(t, tc.file, tc.text)
			if ok != tc.ok {
				t.Errorf("ok = %v, want %v", ok, tc.ok)
			}
			for _, w := range tc.want {
				if !strings.Contains(out, w) {
					t.Errorf("no %q in:\n%s", w, out)
				}
			}
			for _, n := range tc.never {
				if strings.Contains(out, n) {
					t.Errorf("%q in:\n%s", n, out)
				}
				if !strings.Contains(log, n) {
					t.Errorf("no %q in the log:\n%s", n, log)
				}
			}
		})
	}
}

// A pipe that broke or a go command that never ran must not pass.
func TestNothingIsNoSuccess(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":    "",
		"words":      "go: no such tool\n",
		"unfinished": `{"Action":"start","Package":"x"}` + "\n",
	} {
		var out strings.Builder
		ok, err := run(strings.NewReader(in), &out, "", false)
		if ok || err != nil {
			t.Errorf("%s: ok = %v, %v:\n%s", name, ok, err, out.String())
		}
	}
}
