package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	cacheEnv      = "RAFTDV_SUITES_CACHE"
	defaultReruns = 3
	defaultRuns   = 40
	maxJobs       = 64
)

// config is what the command line asks for.
type config struct {
	root   string // folder of the main module
	build  string // for what is generated and built
	cache  string // for results
	suites []string
	preset string
	kinds  []kind
	only   *regexp.Regexp
	shard  shard

	jobs        int
	testTimeout time.Duration // 0: the suite's
	limit       time.Duration // 0: none
	reruns      int
	runs        int
	fresh       bool

	action action
}

// An action is what to do besides, or instead of, running.
type action int

const (
	actionRun action = iota
	actionList
	actionReport
	actionPrepare
)

// A shard is part i of n, counted from 1.
type shard struct{ i, n int }

// takes says whether the shard has the k-th test. Every test is in exactly
// one of n shards.
func (s shard) takes(k int) bool { return s.n <= 1 || k%s.n == s.i-1 }

func parseShard(text string) (shard, error) {
	if text == "" {
		return shard{1, 1}, nil
	}
	a, b, ok := strings.Cut(text, "/")
	i, err1 := strconv.Atoi(a)
	n, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil || i < 1 || n < 1 || i > n {
		return shard{}, fmt.Errorf("--shard=%q: write i/n with 1 <= i <= n, like 1/4", text)
	}
	return shard{i, n}, nil
}

// A commandLine holds what is written as text and checked afterwards.
type commandLine struct {
	suites, binary, only, shard string
	list, report, prepare       bool
}

func (c *config) flags(out io.Writer) (*flag.FlagSet, *commandLine) {
	var cl commandLine
	fs := flag.NewFlagSet("suites", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() { usage(out, fs) }
	fs.StringVar(&c.root, "root", ".", "folder of the main module's go.mod")
	fs.StringVar(&c.build, "build", "", "folder for what is generated and built (default ROOT/.build/suites)")
	fs.StringVar(&c.cache, "cache", os.Getenv(cacheEnv), "folder for results (default raftdv-suites in the user's cache folder; also "+cacheEnv+")")
	fs.StringVar(&cl.suites, "suite", "", "comma separated suites, or all (default: all that are not optional)")
	fs.StringVar(&c.preset, "preset", "", "smoke: the tests that say most about the transport in a few minutes")
	fs.StringVar(&cl.binary, "binary", "both", "stock, dv or both")
	fs.StringVar(&cl.only, "only", "", "regexp: only tests whose name, as --list prints it, matches")
	fs.StringVar(&cl.shard, "shard", "", "i/n: only the i-th of n parts")
	fs.IntVar(&c.jobs, "jobs", 1, "tests at a time; more than 1 needs network namespaces")
	fs.DurationVar(&c.testTimeout, "test-timeout", 0, "limit of each test (default: the suite's)")
	fs.DurationVar(&c.limit, "limit", 0, "end after this long, with what was done (default: no limit)")
	fs.IntVar(&c.reruns, "reruns", defaultReruns, "how often a test that failed is run again, alone, on both binaries")
	fs.IntVar(&c.runs, "runs", defaultRuns, "how many runs the robustness suite has")
	fs.BoolVar(&c.fresh, "fresh", false, "run everything, whatever results there are")
	fs.BoolVar(&cl.list, "list", false, "print the selected tests and run none")
	fs.BoolVar(&cl.report, "report", false, "print the table of the results there are and run none")
	fs.BoolVar(&cl.prepare, "prepare", false, "build all that the selected suites need, print where it is as JSON, run none")
	return fs, &cl
}

// parseConfig returns all faults of the arguments at once, or flag.ErrHelp.
func parseConfig(args []string, out io.Writer) (c config, err error) {
	fs, cl := c.flags(out)
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	var errs [7]error
	if fs.NArg() > 0 {
		errs[0] = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	c.kinds, errs[1] = parseKinds(cl.binary)
	c.shard, errs[2] = parseShard(cl.shard)
	c.only, errs[3] = parseOnly(cl.only)
	c.action, errs[4] = oneAction(cl.list, cl.report, cl.prepare)
	c.suites, errs[5] = parseSuites(cl.suites, c.preset)
	errs[6] = errors.Join(c.bounds(), c.locate())
	return c, errors.Join(errs[:]...)
}

func parseOnly(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	only, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("--only: %w", err)
	}
	return only, nil
}

func usage(out io.Writer, fs *flag.FlagSet) {
	fmt.Fprint(out, "usage: go run ./integration/suites [flags]\n\nsuites:\n")
	for _, s := range catalog {
		note := ""
		if s.optional {
			note = " (only when named)"
		}
		fmt.Fprintf(out, "  %-20s %s%s\n", s.name, s.about, note)
	}
	fmt.Fprint(out, "\nflags:\n")
	fs.PrintDefaults()
}

func parseKinds(text string) ([]kind, error) {
	switch kind(text) {
	case stock, dv:
		return []kind{kind(text)}, nil
	case "both":
		return bothKinds, nil
	}
	return nil, fmt.Errorf("--binary=%q: use stock, dv or both", text)
}

func oneAction(list, report, prepare bool) (action, error) {
	chosen := actionRun
	n := 0
	for a, on := range map[action]bool{actionList: list, actionReport: report, actionPrepare: prepare} {
		if on {
			chosen = a
			n++
		}
	}
	if n > 1 {
		return actionRun, errors.New("--list, --report and --prepare exclude each other: give one")
	}
	return chosen, nil
}

// parseSuites returns names in the order of the catalog.
func parseSuites(text, preset string) ([]string, error) {
	if preset != "" {
		return presetSuites(text, preset)
	}
	var errs []error
	asked := strings.Split(text, ",")
	for _, name := range asked {
		if text != "" && name != "all" && suiteByName(name) == nil {
			errs = append(errs, fmt.Errorf("--suite: there is no %q: see --help", name))
		}
	}
	var names []string
	for _, s := range catalog {
		if slices.Contains(asked, s.name) || slices.Contains(asked, "all") || text == "" && !s.optional {
			names = append(names, s.name)
		}
	}
	return names, errors.Join(errs...)
}

func presetSuites(text, preset string) ([]string, error) {
	if preset != "smoke" {
		return nil, fmt.Errorf("--preset=%q is unknown: the only one is smoke", preset)
	}
	if text != "" {
		return nil, errors.New("--preset and --suite exclude each other: give one")
	}
	var names []string
	for _, s := range catalog {
		if len(smoke[s.name]) > 0 {
			names = append(names, s.name)
		}
	}
	return names, nil
}

func (c *config) bounds() error {
	var errs []error
	if c.jobs < 1 || c.jobs > maxJobs {
		errs = append(errs, fmt.Errorf("--jobs=%d: use 1 to %d", c.jobs, maxJobs))
	}
	if c.reruns < 1 {
		errs = append(errs, fmt.Errorf("--reruns=%d: use 1 or more", c.reruns))
	}
	if c.runs < 1 {
		errs = append(errs, fmt.Errorf("--runs=%d: use 1 or more", c.runs))
	}
	if c.testTimeout < 0 || c.limit < 0 {
		errs = append(errs, errors.New("--test-timeout and --limit cannot be negative"))
	}
	return errors.Join(errs...)
}

// locate makes all folders absolute.
func (c *config) locate() (err error) {
	if c.root, err = filepath.Abs(c.root); err != nil {
		return err
	}
	if c.build == "" {
		c.build = filepath.Join(c.root, ".build", "suites")
	}
	if c.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("there is no folder for results: %w: say --cache", err)
		}
		c.cache = filepath.Join(dir, "raftdv-suites")
	}
	if c.build, err = filepath.Abs(c.build); err != nil {
		return err
	}
	c.cache, err = filepath.Abs(c.cache)
	return err
}
