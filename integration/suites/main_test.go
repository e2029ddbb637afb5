package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftdv/dv/internal/needs"
)

func TestMain(m *testing.M) {
	if os.Getenv(shimEnv) != "" {
		os.Exit(shim(os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// fakeProgram builds testdata/fake once.
var fakeProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "fake-")
	if err != nil {
		return "", err
	}
	text, err := exec.Command("go", "test", "-c", "-o", dir+"/fake.test", "./testdata/fake").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	program, err := os.ReadFile(dir + "/fake.test")
	if err != nil {
		return "", err
	}
	os.RemoveAll(dir)
	return string(program), nil
})

// A bench runs tests of the fake program as the tool runs etcd's.
type bench struct {
	*tool
	t     *testing.T
	dir   string // FAKE_DIR
	keys  map[kind]string
	suite *suite
	lines []string // of progress
}

func newBench(t *testing.T, names ...string) *bench {
	t.Helper()
	needs.Time(t, "builds and runs a test program")
	program, err := fakeProgram()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("ETCD_DV_FAKE", "1")
	dir := t.TempDir()
	path := filepath.Join(dir, "fake.test")
	if err := os.WriteFile(path, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "tree", "fake"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := newLauncher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: dir, keys: map[kind]string{stock: "s1", dv: "d1"}}
	b.suite = &suite{name: "fake", pkgs: []string{"fake"}, linked: true, timeout: time.Minute}
	b.tool = &tool{
		cfg:      config{cache: filepath.Join(dir, "cache"), kinds: bothKinds, jobs: 2, reruns: 2, shard: shard{1, 1}},
		launcher: l, tree: filepath.Join(dir, "tree"), stdout: &bytes.Buffer{},
	}
	var mu sync.Mutex
	b.say = func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		b.lines = append(b.lines, fmt.Sprintf(format, args...))
	}
	b.sets = func(_ test, k kind) (set, error) { return set{key: b.keys[k], test: path}, nil }
	for _, n := range names {
		b.tests = append(b.tests, test{suite: b.suite, pkg: "fake", name: n, run: "^" + n + "$", env: []string{"FAKE_DIR=" + dir}})
	}
	return b
}

// with adds a variable to the environment of every test.
func (b *bench) with(kv string) *bench {
	for i := range b.tests {
		b.tests[i].env = append(b.tests[i].env, kv)
	}
	return b
}

func (b *bench) execute(ctx context.Context) (status int, table string) {
	b.t.Helper()
	b.lines = nil
	out := &bytes.Buffer{}
	b.stdout = out
	status, err := b.tool.execute(ctx)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errLimit) {
		b.t.Fatal(err)
	}
	return status, out.String()
}

// runs lists what was run, in no order: kind, test and outcome.
func (b *bench) runs() []string {
	var all []string
	for _, line := range b.lines {
		f := strings.Fields(line)
		run := strings.Join(f[1:4], " ")
		if strings.Contains(line, "(again") {
			run += " again"
		}
		all = append(all, run)
	}
	slices.Sort(all)
	return all
}

func (b *bench) wantRuns(want ...string) {
	b.t.Helper()
	slices.Sort(want)
	if got := b.runs(); !slices.Equal(got, want) {
		b.t.Errorf("runs:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (b *bench) wantStatus(got, want int, table string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("exit status %d, want %d:\n%s", got, want, table)
	}
}

// TestExitStatus plants one fault at a time.
func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		name, test, env string
		want            int
		say             string
	}{
		{"all well", "TestPass", "", exitOK, ""},
		{"skips with both", "TestSkip", "", exitOK, ""},
		{"subtest skips with both", "TestSub", "", exitOK, "subtests skipped within tests that passed: stock 1, dv 1"},
		{"subtest skips with dv", "TestSub", "FAKE_SKIP=1", exitWorse, string(skipsMore)},
		{"fails with dv", "TestDVFails", "", exitWorse, "dv lost a message"},
		{"dv panics", "TestPanic", "", exitWorse, "at the disco"},
		{"fails with stock", "TestStockFails", "", exitOK, string(stockOnly)},
		{"fails with both", "TestBothFail", "", exitOK, string(failsBoth)},
		{"flaky", "TestFlaky", "", exitOK, string(flaky)},
		{"does not exist", "TestNowhere", "", exitOK, "did not run it"},
		{"leaks with both", "TestPass", "FAKE_LEAK=1", exitOK, "passed, but its process failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, c.test)
			if c.env != "" {
				b.with(c.env)
			}
			status, table := b.execute(t.Context())
			b.wantStatus(status, c.want, table)
			if !strings.Contains(table, c.say) {
				t.Errorf("the table does not say %q:\n%s", c.say, table)
			}
		})
	}
}

func TestReruns(t *testing.T) {
	b := newBench(t, "TestDVFails", "TestPass", "TestFlaky")
	status, table := b.execute(t.Context())
	b.wantStatus(status, exitWorse, table)
	b.wantRuns(
		"stock pass fake.TestPass", "dv pass fake.TestPass",
		"stock pass fake.TestDVFails", "dv fail fake.TestDVFails",
		"stock pass fake.TestDVFails again", "stock pass fake.TestDVFails again",
		"dv fail fake.TestDVFails again", "dv fail fake.TestDVFails again",
		"stock fail fake.TestFlaky", "dv fail fake.TestFlaky",
		"stock pass fake.TestFlaky again", "stock pass fake.TestFlaky again",
		"dv pass fake.TestFlaky again", "dv pass fake.TestFlaky again",
	)
}

// TestResume: what passed is not run again, what failed is, and a new build
// is run anew.
func TestResume(t *testing.T) {
	b := newBench(t, "TestPass", "TestSkip", "TestDVFails", "TestFlaky")
	status, table := b.execute(t.Context())
	b.wantStatus(status, exitWorse, table)

	again := []string{
		"dv fail fake.TestDVFails", "dv fail fake.TestDVFails again", "dv fail fake.TestDVFails again",
	}
	status, table = b.execute(t.Context())
	b.wantStatus(status, exitWorse, table)
	b.wantRuns(again...)

	b.keys[dv] = "d2"
	status, table = b.execute(t.Context())
	b.wantStatus(status, exitWorse, table)
	b.wantRuns(append(again, "dv pass fake.TestPass", "dv skip fake.TestSkip", "dv pass fake.TestFlaky")...)

	b.cfg.action = actionReport
	status, table = b.execute(t.Context())
	b.wantStatus(status, exitWorse, table)
	b.wantRuns()

	b.cfg.action, b.cfg.fresh = actionRun, true
	b.tests = b.tests[:1]
	status, table = b.execute(t.Context())
	b.wantStatus(status, exitOK, table)
	b.wantRuns("stock pass fake.TestPass", "dv pass fake.TestPass")
}

// TestFoldersAreFresh: what a test leaves where it runs is not there for the
// next one.
func TestFoldersAreFresh(t *testing.T) {
	b := newBench(t, "TestLeaves")
	b.cfg.jobs = 1
	status, table := b.execute(t.Context())
	b.wantStatus(status, exitOK, table)
	b.wantRuns("stock pass fake.TestLeaves", "dv pass fake.TestLeaves")
}

// TestOneKind: without stock nobody can say whose fault a failure is; with
// what stock did earlier they can.
func TestOneKind(t *testing.T) {
	b := newBench(t, "TestDVFails")
	b.cfg.kinds = []kind{dv}
	status, table := b.execute(t.Context())
	b.wantStatus(status, exitWorse, table)
	if !strings.Contains(table, string(unmatched)) {
		t.Errorf("the table does not say that stock is unknown:\n%s", table)
	}

	b.cfg.kinds = []kind{stock}
	status, table = b.execute(t.Context())
	b.wantStatus(status, exitOK, table)

	b.cfg.kinds = []kind{dv}
	status, table = b.execute(t.Context())
	b.wantStatus(status, exitWorse, table)
	if !strings.Contains(table, string(worse)) {
		t.Errorf("the table does not compare with stock's earlier result:\n%s", table)
	}
}

func TestTimeout(t *testing.T) {
	b := newBench(t, "TestHang")
	b.cfg.testTimeout, b.cfg.reruns = 300*time.Millisecond, 1
	status, table := b.execute(t.Context())
	b.wantStatus(status, exitOK, table)
	if !strings.Contains(table, string(failsBoth)) || !strings.Contains(table, "panic: test timed out") {
		t.Errorf("the table does not tell of the limit:\n%s", table)
	}
}

// TestInterrupt ends a run in the middle: what was done is kept, nothing is
// left running.
func TestInterrupt(t *testing.T) {
	b := newBench(t, "TestPass", "TestHang")
	b.cfg.kinds, b.cfg.jobs = []kind{stock}, 1
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		waitFor(t, func() bool { return exists(filepath.Join(b.dir, "hang")) })
		cancel()
	}()
	status, table := b.execute(ctx)
	b.wantStatus(status, exitIncomplete, table)
	b.wantRuns("stock pass fake.TestPass")

	b.tests = b.tests[:1]
	status, table = b.execute(t.Context())
	b.wantStatus(status, exitOK, table)
	b.wantRuns()
}

func TestLimit(t *testing.T) {
	b := newBench(t, "TestHang", "TestPass")
	b.cfg.kinds, b.cfg.jobs, b.cfg.limit = []kind{dv}, 1, 300*time.Millisecond
	status, table := b.execute(t.Context())
	b.wantStatus(status, exitIncomplete, table)
	b.wantRuns()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// waitFor fails the test if cond does not come true for a minute.
func waitFor(t *testing.T, cond func() bool) {
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Error("waited a minute in vain")
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
