package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// maxLine of go test's output; a longer one fails the run.
const maxLine = 16 << 20

// An event is one line of go test -json (see go doc test2json).
type event struct {
	Action, Package, ImportPath, Test, Output string
}

type key struct{ pkg, test string }

// A summary is fed events and remembers what the end needs.
type summary struct {
	out, log io.Writer
	said     map[key][]string // by tests that have not ended, and by packages
	packages map[string]bool  // seen, and whether they ended
	skipped  []string
	failed   []string
	results  []string // go test's own lines
}

func newSummary(out, log io.Writer) *summary {
	return &summary{out: out, log: log, said: map[key][]string{}, packages: map[string]bool{}}
}

func (s *summary) read(in io.Reader) error {
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, maxLine)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil { // the go command's own words
			fmt.Fprintln(s.out, sc.Text())
			continue
		}
		s.add(e)
	}
	return sc.Err()
}

var (
	resultLine = regexp.MustCompile(`^\s*(--- (PASS|FAIL|SKIP): |(ok|FAIL|\?)\s)`)
	noise      = regexp.MustCompile(`^=== (RUN|PAUSE|CONT|NAME)`)
)

func (s *summary) add(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "start":
		s.packages[e.Package] = false
	case "output":
		io.WriteString(s.log, e.Output)
		if resultLine.MatchString(e.Output) {
			s.results = append(s.results, e.Output)
		}
		if !noise.MatchString(e.Output) {
			s.said[k] = append(s.said[k], e.Output)
		}
	case "build-output":
		io.WriteString(s.log, e.Output)
		io.WriteString(s.out, e.Output)
	case "build-fail":
		s.failed = append(s.failed, e.ImportPath+" (does not build)")
	case "pass", "fail", "skip":
		s.end(k, e.Action)
	}
}

// end is the end of a test or, without its name, of a package.
func (s *summary) end(k key, action string) {
	said := s.said[k]
	delete(s.said, k)
	if k.test == "" {
		s.endPackage(k.pkg, action, said)
		return
	}
	name := k.pkg + "." + k.test
	switch action {
	case "skip":
		s.skipped = append(s.skipped, name+": "+reason(said))
	case "fail":
		s.failed = append(s.failed, name)
		fmt.Fprintf(s.out, "--- in %s\n%s", k.pkg, strings.Join(said, ""))
	}
}

func (s *summary) endPackage(pkg, action string, said []string) {
	s.packages[pkg] = true
	if action == "fail" {
		s.failed = append(s.failed, pkg)
		// What ran when the package died never ended and has its words here.
		for k, open := range s.said {
			if k.pkg == pkg {
				fmt.Fprintf(s.out, "--- in %s, %s did not end\n%s", pkg, k.test, strings.Join(open, ""))
				delete(s.said, k)
			}
		}
		io.WriteString(s.out, strings.Join(said, ""))
		return
	}
	if n := len(said); n > 0 {
		io.WriteString(s.out, said[n-1]) // ok …
	}
}

// reason is what a test said before it was skipped.
func reason(said []string) string {
	var words []string
	for _, line := range said {
		if !resultLine.MatchString(line) {
			words = append(words, strings.TrimSpace(line))
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

// ok: something was tested, everything ended, nothing failed.
func (s *summary) ok() bool {
	return len(s.failed) == 0 && len(s.packages) > 0 && len(s.unfinished()) == 0
}

func (s *summary) unfinished() (pkgs []string) {
	for p, ended := range s.packages {
		if !ended {
			pkgs = append(pkgs, p)
		}
	}
	return pkgs
}

func (s *summary) finish(lines bool) {
	section(s.out, "skipped", s.skipped)
	section(s.out, "did not end", s.unfinished())
	section(s.out, "failed", s.failed)
	if len(s.packages) == 0 {
		fmt.Fprintln(s.out, "nothing was tested")
	}
	if lines {
		io.WriteString(s.out, strings.Join(s.results, ""))
	}
}

func section(w io.Writer, title string, names []string) {
	fmt.Fprintf(w, "%s: %d\n", title, len(names))
	for _, n := range names {
		fmt.Fprintf(w, "  %s\n", n)
	}
}
