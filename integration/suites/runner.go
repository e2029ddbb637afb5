package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A runner runs tests and stores what became of them.
type runner struct {
	cfg      config
	store    *store
	launcher *launcher
	sets     func(test, kind) (set, error)
	tree     string // of the test module
	scratch  string // removed at the end; its path is short, as sockets lie below it
	say      func(format string, args ...any)

	mu    sync.Mutex
	known map[string]history // by test and kind
	done  int
	total int
}

// A job is one run of a test.
type job struct {
	test  test
	kind  kind
	rerun int
}

func jobKey(t test, k kind) string { return string(k) + " " + t.id() }

// history returns what is known of a test.
func (r *runner) history(t test, k kind) history {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[jobKey(t, k)]
}

// load takes over the results of earlier invocations.
func (r *runner) load(tests []test, kinds []kind) error {
	r.known = map[string]history{}
	files := map[string]map[string][]result{}
	for _, t := range tests {
		for _, k := range kinds {
			set, err := r.sets(t, k)
			if err != nil {
				return err
			}
			path := r.store.path(t.suite.name, set.key)
			if files[path] == nil {
				if files[path], err = r.store.load(t.suite.name, set.key); err != nil {
					return err
				}
			}
			var own []result
			for _, res := range files[path][t.id()] {
				if res.Kind == k {
					own = append(own, res)
				}
			}
			r.known[jobKey(t, k)] = newHistory(own)
		}
	}
	return nil
}

// errLimit ends a run whose time is up.
var errLimit = errors.New("the limit of --limit has passed")

// run runs what is not settled yet, then what failed, alone.
func (r *runner) run(ctx context.Context, tests []test) error {
	if r.cfg.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.cfg.limit, errLimit)
		defer cancel()
	}
	var jobs []job
	for _, t := range tests {
		for _, k := range r.cfg.kinds {
			if r.cfg.fresh || !r.history(t, k).settled(r.cfg.reruns) {
				jobs = append(jobs, job{t, k, 0})
			}
		}
	}
	if err := r.all(ctx, jobs, r.cfg.jobs); err != nil {
		return err
	}
	return r.all(ctx, r.rerunJobs(tests), 1)
}

// rerunJobs lists what is to be run again alone: what failed with one kind,
// with every kind that was asked for.
func (r *runner) rerunJobs(tests []test) []job {
	var jobs []job
	for _, t := range tests {
		again := false
		for _, k := range r.cfg.kinds {
			h := r.history(t, k)
			again = again || h.first != nil && !h.settled(r.cfg.reruns)
		}
		if !again {
			continue
		}
		for n := range r.cfg.reruns {
			for _, k := range r.cfg.kinds {
				if len(r.history(t, k).reruns) <= n {
					jobs = append(jobs, job{t, k, n + 1})
				}
			}
		}
	}
	return jobs
}

// all runs jobs with some workers at a time. It returns when nothing runs
// any more.
func (r *runner) all(ctx context.Context, jobs []job, workers int) error {
	r.done, r.total = 0, len(jobs)
	queue := make(chan job)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range workers {
		wg.Go(func() {
			for j := range queue {
				if errs[i] = r.one(ctx, j, fmt.Sprintf("w%d", i)); errs[i] != nil {
					cancel()
					return
				}
			}
		})
	}
feed:
	for _, j := range jobs {
		select {
		case queue <- j:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// one runs a job in the worker's folder and stores the result.
func (r *runner) one(ctx context.Context, j job, worker string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	set, err := r.sets(j.test, j.kind)
	if err != nil {
		return err
	}
	dir, err := r.workDir(worker)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	res, err := r.execute(ctx, j, set, dir)
	if err != nil {
		return fmt.Errorf("%s with %s: %w", j.test.id(), j.kind, err)
	}
	if err := r.store.add(res); err != nil {
		return err
	}
	r.remember(j, res)
	return nil
}

// workDir makes a worker's folder for one test: a tree in which it finds its
// fixtures, without the sources, and an empty folder for temporary files. Some
// tests leave an etcd's data where they run, and others start one there.
func (r *runner) workDir(worker string) (string, error) {
	dir := filepath.Join(r.scratch, worker)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := copyTree(filepath.Join(dir, "tests"), r.tree, func(path string) bool { return !strings.HasSuffix(path, ".go") }); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(filepath.Join(dir, "tmp"), 0o755)
}

// execute runs a test's process and reads its output.
func (r *runner) execute(ctx context.Context, j job, s set, dir string) (result, error) {
	out, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return result{}, err
	}
	defer out.Close()
	begin := time.Now()
	e, err := r.launcher.run(ctx, r.command(j, s, dir, out))
	if err != nil {
		return result{}, err
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		return result{}, err
	}
	t := readOutput(text, topName(j.test.run))
	res := result{
		Time: begin, Suite: j.test.suite.name, Test: j.test.id(), Kind: j.kind, Key: s.key, Rerun: j.rerun,
		Seconds: time.Since(begin).Seconds(), Passes: t.passes, Skips: t.skips, Fails: t.fails, Left: e.Left,
	}
	res.Outcome, res.Reason = judgeRun(e, t, j.test)
	if res.Outcome == failed {
		res.Log = r.store.logPath(res)
		err = copyFile(res.Log, out.Name())
	}
	return res, err
}

func (r *runner) command(j job, s set, dir string, out *os.File) command {
	limit := j.test.suite.timeout
	if r.cfg.testTimeout > 0 {
		limit = r.cfg.testTimeout
	}
	argv := []string{s.test, "-test.v=test2json", "-test.count=1", "-test.timeout=" + limit.String(), "-test.run=" + j.test.run}
	if s.dir != "" {
		argv = append(argv, "-bin-dir="+s.dir)
	}
	env := append(cleanEnv(), "TMPDIR="+filepath.Join(dir, "tmp"), "RESULTS_DIR="+filepath.Join(r.store.dir, "robustness"))
	env = append(append(append(env, dvSettings(j.kind)...), j.test.suite.env...), j.test.env...)
	return command{
		argv: argv, dir: filepath.Join(dir, "tests", j.test.pkg), env: env, limit: limit + dumpGrace, log: out,
	}
}

// topName is the name of the test that a pattern like ^TestA$/^sub$ selects.
func topName(pattern string) string {
	top, _, _ := strings.Cut(pattern, "/")
	return strings.Trim(top, "^$")
}

func (r *runner) remember(j job, res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.known[jobKey(j.test, j.kind)]
	if j.rerun == 0 {
		h = history{first: &res}
	} else {
		h.reruns = append(h.reruns, res)
	}
	r.known[jobKey(j.test, j.kind)] = h
	r.done++
	again := ""
	if j.rerun > 0 {
		again = fmt.Sprintf(" (again, %d of %d)", j.rerun, r.cfg.reruns)
	}
	r.say("%d/%d %-5s %s %s%s %.1fs %s", r.done, r.total, j.kind, res.Outcome, res.Test, again, res.Seconds, res.Reason)
}
