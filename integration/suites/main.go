package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Exit statuses.
const (
	exitOK         = 0
	exitWorse      = 1 // something fails with dv that passes with stock
	exitUsage      = 2 // or nothing could be built or run
	exitIncomplete = 3 // some tests were not run: a limit, an interrupt
)

func main() {
	if os.Getenv(shimEnv) != "" {
		os.Exit(shim(os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parseConfig(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "suites:\n%v\n", err)
		return exitUsage
	}
	t := &tool{cfg: cfg, stdout: stdout, say: progress(stderr)}
	status, err := t.run(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "suites:", err)
	}
	return status
}

// progress writes lines with the time since the start.
func progress(w io.Writer) func(string, ...any) {
	var mu sync.Mutex
	begin := time.Now()
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "[%6.0fs] %s\n", time.Since(begin).Seconds(), strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// A tool is one invocation.
type tool struct {
	cfg      config
	stdout   io.Writer
	say      func(string, ...any)
	builder  *builder
	launcher *launcher

	tests []test
	tree  string // of etcd's test module
	sets  func(test, kind) (set, error)
}

func (t *tool) run(ctx context.Context) (int, error) {
	if err := t.prepare(ctx); err != nil {
		return exitUsage, err
	}
	switch t.cfg.action {
	case actionPrepare:
		return exitOK, t.printPrepared()
	case actionList:
		for _, one := range t.tests {
			fmt.Fprintln(t.stdout, one.id())
		}
		return exitOK, nil
	}
	return t.execute(ctx)
}

// prepare builds everything and lists the tests. Another invocation in the
// same folder waits meanwhile.
func (t *tool) prepare(ctx context.Context) error {
	w, err := openWorkspace(ctx, t.cfg.root, t.cfg.build)
	if err != nil {
		return err
	}
	if t.launcher, err = newLauncher(ctx); err != nil {
		return err
	}
	if !t.launcher.isolated && t.cfg.jobs > 1 {
		return errors.New("--jobs: without the right to make network namespaces tests would meet on fixed ports: use 1")
	}
	unlock, err := lockFile(filepath.Join(w.dir, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	t.builder = newBuilder(w, t.say)
	t.builder.removeOld()
	t.tree = w.tests
	t.sets = func(one test, k kind) (set, error) { return t.builder.set(ctx, one.suite, one.pkg, k) }
	var tests []test
	for _, name := range t.cfg.suites {
		found, err := t.suiteTests(ctx, suiteByName(name))
		if err != nil {
			return err
		}
		tests = append(tests, found...)
	}
	if err := presetExists(t.cfg.preset, tests); err != nil {
		return err
	}
	t.tests = choose(tests, t.cfg)
	if len(t.tests) == 0 {
		return errors.New("no test matches: see --list")
	}
	return nil
}

// known are the kinds whose results count. When dv alone is to run it is
// compared with what stock did earlier, which is kept under stock's build.
func (t *tool) known() []kind {
	if slices.Contains(t.cfg.kinds, dv) {
		return bothKinds
	}
	return t.cfg.kinds
}

// suiteTests builds a suite and lists its tests.
func (t *tool) suiteTests(ctx context.Context, s *suite) ([]test, error) {
	for _, pkg := range s.pkgs {
		for _, k := range t.known() {
			if _, err := t.builder.set(ctx, s, pkg, k); err != nil {
				return nil, err
			}
		}
	}
	if s.tests != nil {
		return s.tests(s, t.cfg), nil
	}
	var tests []test
	for _, pkg := range s.pkgs {
		names, err := t.list(ctx, s, pkg)
		if err != nil {
			return nil, fmt.Errorf("list the tests of %s: %w", pkg, err)
		}
		for _, n := range names {
			tests = append(tests, test{suite: s, pkg: pkg, name: n, run: "^" + n + "$"})
		}
	}
	return tests, nil
}

// list asks a test program for its tests.
func (t *tool) list(ctx context.Context, s *suite, pkg string) ([]string, error) {
	built, err := t.builder.set(ctx, s, pkg, t.cfg.kinds[0])
	if err != nil {
		return nil, err
	}
	out, err := os.CreateTemp("", "suites-list-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	e, err := t.launcher.run(ctx, command{
		argv: []string{built.test, "-test.list=."}, dir: filepath.Join(t.builder.tests, pkg),
		env: cleanEnv(), limit: time.Minute, log: out,
	})
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		return nil, err
	}
	if e.Exit != 0 {
		return nil, fmt.Errorf("exit status %d: %s", e.Exit, text)
	}
	var names []string
	for name := range strings.FieldsSeq(string(text)) {
		if strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Example") {
			names = append(names, name)
		}
	}
	return names, nil
}

// presetExists fails when etcd no longer has a test that the preset names:
// a preset must not shrink in silence.
func presetExists(preset string, tests []test) error {
	if preset == "" {
		return nil
	}
	have := map[string]bool{}
	for _, t := range tests {
		have[t.suite.name+"."+t.name] = true
	}
	var errs []error
	for suite, names := range smoke {
		for _, n := range names {
			if !have[suite+"."+n] {
				errs = append(errs, fmt.Errorf("--preset=%s: etcd has no %s in %s: correct smoke.go", preset, n, suite))
			}
		}
	}
	return errors.Join(errs...)
}

// choose applies the preset, --only and --shard.
func choose(tests []test, cfg config) []test {
	var chosen []test
	k := 0
	for _, t := range tests {
		if cfg.preset != "" && !slices.Contains(smoke[t.suite.name], t.name) {
			continue
		}
		if cfg.only != nil && !cfg.only.MatchString(t.id()) {
			continue
		}
		if cfg.shard.takes(k) {
			chosen = append(chosen, t)
		}
		k++
	}
	return chosen
}

// execute runs, or only reports, and prints the table.
func (t *tool) execute(ctx context.Context) (int, error) {
	st, err := openStore(t.cfg.cache)
	if err != nil {
		return exitUsage, err
	}
	scratch, err := os.MkdirTemp("", "dvs-")
	if err != nil {
		return exitUsage, err
	}
	defer os.RemoveAll(scratch)
	r := &runner{
		cfg: t.cfg, store: st, launcher: t.launcher, sets: t.sets,
		tree: t.tree, scratch: scratch, say: t.say,
	}
	if err := r.load(t.tests, t.known()); err != nil {
		return exitUsage, err
	}
	if t.cfg.action == actionRun {
		err = r.run(ctx, t.tests)
	}
	sum := summarize(t.tests, r.history, t.cfg.kinds, t.cfg.reruns)
	sum.print(t.stdout)
	fmt.Fprintf(t.stdout, "\nresults: %s\n", st.dir)
	return sum.status(ctx, err), err
}

func (sum *summary) status(ctx context.Context, err error) int {
	switch {
	case sum.bad > 0:
		return exitWorse
	case err != nil && ctx.Err() == nil && !errors.Is(err, errLimit):
		return exitUsage
	case err != nil || sum.missing > 0:
		return exitIncomplete
	}
	return exitOK
}

// prepared is what --prepare prints.
type prepared struct {
	Version string                       `json:"etcd"`
	Tests   string                       `json:"tests"` // etcd's test module
	Sets    map[string]map[string]string `json:"sets"`  // by kind and package: the test program, and the folder of programs under bin
}

func (t *tool) printPrepared() error {
	p := prepared{t.builder.version, t.builder.tests, map[string]map[string]string{}}
	for _, k := range t.cfg.kinds {
		p.Sets[string(k)] = map[string]string{}
		for _, name := range t.cfg.suites {
			s := suiteByName(name)
			for _, pkg := range s.pkgs {
				built, err := t.builder.set(context.Background(), s, pkg, k)
				if err != nil {
					return err
				}
				p.Sets[string(k)][s.label(pkg)] = built.test
				if built.dir != "" {
					p.Sets[string(k)]["bin/"+s.name] = built.dir
				}
			}
		}
	}
	enc := json.NewEncoder(t.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(p)
}
