package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxLines of a file that is not a test, so that it has one subject.
	maxLines = 500
	// maxFuncLines of a function outside of tests.
	maxFuncLines = 70
)

// PackageDocs: every package has its comment, in doc.go.
func PackageDocs(t Tree) (faults []string, err error) {
	dirs := map[string]bool{} // with a doc.go
	for _, f := range t.GoFiles() {
		if !strings.HasSuffix(f, "_test.go") {
			dirs[path.Dir(f)] = dirs[path.Dir(f)] || path.Base(f) == "doc.go"
		}
	}
	for _, dir := range sortedKeys(dirs) {
		if !dirs[dir] {
			faults = append(faults, fault(dir, "has no doc.go"))
			continue
		}
		name := path.Join(dir, "doc.go")
		text, err := t.read(name)
		if err != nil {
			return nil, err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			return nil, err
		}
		starts := docStarts(file.Name.Name, dir)
		if !slices.ContainsFunc(starts, func(s string) bool { return strings.HasPrefix(file.Doc.Text(), s) }) {
			faults = append(faults, fault(name, "its comment does not start with %q", starts))
		}
	}
	return faults, nil
}

// docStarts are how Go starts the comment of a package or a command.
func docStarts(pkg, dir string) []string {
	if pkg != "main" {
		return []string{"Package " + pkg + " "}
	}
	base := path.Base(dir)
	return []string{strings.ToUpper(base[:1]) + base[1:] + " ", "Command " + base + " "}
}

// Formatted: gofmt -s changes nothing.
func Formatted(t Tree) (faults []string, err error) {
	files := t.GoFiles()
	if len(files) == 0 {
		return nil, nil
	}
	gofmt, err := findGofmt()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(gofmt, append([]string{"-s", "-l"}, files...)...)
	cmd.Dir = t.Root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("gofmt: %w: %s", err, stderr.Bytes())
	}
	for name := range strings.Lines(string(out)) {
		faults = append(faults, fault(strings.TrimSpace(name), "is not as gofmt -s writes it"))
	}
	return faults, nil
}

// findGofmt prefers the one of the go command in use.
func findGofmt() (string, error) {
	if root, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		own := filepath.Join(strings.TrimSpace(string(root)), "bin", "gofmt")
		if _, err := exec.LookPath(own); err == nil {
			return own, nil
		}
	}
	path, err := exec.LookPath("gofmt")
	if err != nil {
		return "", fmt.Errorf("gofmt comes with Go and is not there: %w", err)
	}
	return path, nil
}

// wallClock turns a time into a number and back, which loses the monotonic clock.
var wallClock = regexp.MustCompile(`\btime\.Unix\(|(?i:now)(\(\))?\.UnixNano\(`)

// Clocks: below the commands nobody measures with the wall clock, which may be
// set; a port's logical time starts with it.
func Clocks(t Tree) (faults []string, err error) {
	for _, f := range t.GoFiles() {
		if strings.HasSuffix(f, "_test.go") || !strings.HasPrefix(f, "fabric/") && !strings.HasPrefix(f, "raftdv/") {
			continue
		}
		text, err := t.read(f)
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if wallClock.MatchString(line) {
				faults = append(faults, fault(f, "line %d measures with the wall clock: keep a time.Time, or an instant", i+1))
			}
		}
	}
	return faults, nil
}

// Lengths: files and functions that a reader can hold, generated ones aside.
func Lengths(t Tree) (faults []string, err error) {
	for _, f := range t.GoFiles() {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := t.read(f)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, f, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if ast.IsGenerated(file) {
			continue
		}
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			faults = append(faults, fault(f, "%d lines: more than %d", n, maxLines))
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFuncLines {
				faults = append(faults, fault(f, "func %s has %d lines: more than %d", fn.Name.Name, n, maxFuncLines))
			}
		}
	}
	return faults, nil
}
