package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConfigDefaults(t *testing.T) {
	t.Setenv(cacheEnv, "")
	t.Setenv("XDG_CACHE_HOME", "/cache")
	c, err := parseConfig([]string{"--root", "/m"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if c.build != "/m/.build/suites" || c.cache != "/cache/raftdv-suites" || !slices.Equal(c.kinds, bothKinds) || c.reruns != 3 || c.runs != 40 {
		t.Errorf("defaults %+v", c)
	}
	if slices.Contains(c.suites, "robustness") || !slices.Contains(c.suites, "e2e") {
		t.Errorf("suites %q", c.suites)
	}
	t.Setenv(cacheEnv, "/elsewhere")
	if c, _ := parseConfig(nil, io.Discard); c.cache != "/elsewhere" {
		t.Errorf("cache %q", c.cache)
	}
}

func TestConfigFaultsAllAtOnce(t *testing.T) {
	_, err := parseConfig([]string{
		"--suite", "e2e,nosuch", "--binary", "mine", "--shard", "3/2", "--only", "(", "--jobs", "0",
		"--reruns", "0", "--runs", "-1", "--limit", "-1s", "--list", "--report", "more",
	}, io.Discard)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"nosuch", "--binary", "--shard", "--only", "--jobs", "--reruns", "--runs", "--limit", "exclude each other", `"more"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("says nothing of %s:\n%v", part, err)
		}
	}
	for _, args := range [][]string{{"--preset", "big"}, {"--preset", "smoke", "--suite", "e2e"}} {
		if _, err := parseConfig(args, io.Discard); err == nil {
			t.Errorf("%q accepted", args)
		}
	}
}

func TestSuiteNames(t *testing.T) {
	for text, want := range map[string]int{"": len(catalog) - 3, "all": len(catalog), "e2e,integration": 2, "robustness": 1} {
		got, err := parseSuites(text, "")
		if err != nil || len(got) != want {
			t.Errorf("%q: %q, %v; want %d", text, got, err, want)
		}
	}
	got, err := parseSuites("", "smoke")
	if err != nil || len(got) != len(smoke) {
		t.Errorf("smoke: %q, %v", got, err)
	}
}

// TestShards: the parts of any number of shards are a partition, and even.
func TestShards(t *testing.T) {
	s := &suite{name: "s", pkgs: []string{"s"}}
	var tests []test
	for i := range 101 {
		tests = append(tests, test{suite: s, pkg: "s", name: fmt.Sprint("Test", i)})
	}
	for n := 1; n <= 7; n++ {
		seen := map[string]int{}
		for i := 1; i <= n; i++ {
			part, err := parseShard(fmt.Sprintf("%d/%d", i, n))
			if err != nil {
				t.Fatal(err)
			}
			chosen := choose(tests, config{shard: part})
			if len(chosen) < 101/n || len(chosen) > 101/n+1 {
				t.Errorf("%d/%d has %d tests", i, n, len(chosen))
			}
			for _, one := range chosen {
				seen[one.id()]++
			}
		}
		for _, one := range tests {
			if seen[one.id()] != 1 {
				t.Errorf("%d shards: %s is in %d", n, one.id(), seen[one.id()])
			}
		}
	}
	for _, bad := range []string{"0/2", "3/2", "1", "a/b", "1/0", "-1/2"} {
		if _, err := parseShard(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestIDsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range catalog {
		for _, pkg := range s.pkgs {
			id := test{suite: s, pkg: pkg, name: "TestX"}.id()
			if seen[id] {
				t.Errorf("%s twice", id)
			}
			seen[id] = true
		}
	}
}

func TestPresetMustExist(t *testing.T) {
	var tests []test
	for name, names := range smoke {
		if s := suiteByName(name); s == nil {
			t.Errorf("smoke names the suite %q, which does not exist", name)
		} else {
			for _, n := range names {
				tests = append(tests, test{suite: s, pkg: s.pkgs[0], name: n})
			}
		}
	}
	if err := presetExists("smoke", tests); err != nil {
		t.Error(err)
	}
	if got := choose(tests, config{preset: "smoke"}); len(got) != len(tests) {
		t.Errorf("%d of %d chosen", len(got), len(tests))
	}
	gone := tests[0]
	if err := presetExists("smoke", tests[1:]); err == nil || !strings.Contains(err.Error(), gone.name) {
		t.Errorf("%v: does not name %s", err, gone.name)
	}
}

// TestRobustnessRuns: the runs meet every pair of fault and traffic, and
// every case.
func TestRobustnessRuns(t *testing.T) {
	s := suiteByName("robustness")
	pairs, names := map[string]bool{}, map[string]bool{}
	variants := len(robustnessFaults)*len(robustnessTraffic) + len(robustnessCases)
	for _, r := range robustnessRuns(s, config{runs: 40}) {
		names[r.id()] = true
		pairs[r.run+strings.Join(r.env, "")] = true
	}
	if len(names) != 40 || len(pairs) != variants {
		t.Errorf("%d names and %d variants, want 40 and %d", len(names), len(pairs), variants)
	}
	// More runs are added to those that there are.
	a, b := robustnessRuns(s, config{runs: 5}), robustnessRuns(s, config{runs: 50})
	for i := range a {
		if a[i].id() != b[i].id() {
			t.Errorf("run %d is %s of 5 and %s of 50", i, a[i].id(), b[i].id())
		}
	}
}

// TestFailpointChoice: every fault that a run names is one that the file
// added to the test module knows.
func TestFailpointChoice(t *testing.T) {
	for _, f := range robustnessFaults {
		if !strings.Contains(string(failpointChoice), `"`+f+`":`) {
			t.Errorf("the added file does not know %q", f)
		}
	}
	if !strings.Contains(string(failpointChoice), `"`+failpointEnv+`"`) {
		t.Errorf("the added file does not read %s", failpointEnv)
	}
}

func TestStore(t *testing.T) {
	st, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	want := []result{
		{Suite: "s", Test: "s.A", Kind: dv, Key: "k", Outcome: failed, Time: time.Unix(1, 0).UTC(), Skips: []string{"A/b"}},
		{Suite: "s", Test: "s.A", Kind: dv, Key: "k", Outcome: passed, Rerun: 1, Time: time.Unix(2, 0).UTC()},
	}
	if err := st.add(want[0]); err != nil {
		t.Fatal(err)
	}
	// A write that was cut off costs that line and no other.
	f, err := os.OpenFile(st.path("s", "k"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"suite":"s","test":"s.A","ki`)
	f.Close()
	if err := st.add(want[1]); err != nil {
		t.Fatal(err)
	}
	got, err := st.load("s", "k")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got["s.A"]) != fmt.Sprint(want) {
		t.Errorf("loaded %v, want %v", got["s.A"], want)
	}
	for _, missing := range [][2]string{{"s", "other"}, {"other", "k"}} {
		if got, err := st.load(missing[0], missing[1]); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v; want nothing", missing, got, err)
		}
	}
}

// TestKeep: a kept program does not change when its source does, and equal
// programs are one.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	b := newBuilder(&workspace{dir: dir}, t.Logf)
	out := filepath.Join(dir, "prog")
	keep := func(text string) string {
		t.Helper()
		if err := os.WriteFile(out, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		path, err := b.keep(out)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, two, again := keep("one"), keep("two"), keep("one")
	if one == two || one != again {
		t.Errorf("kept as %s, %s, %s", one, two, again)
	}
	if text, _ := os.ReadFile(one); string(text) != "one" {
		t.Errorf("%s holds %q", one, text)
	}
	a, err := b.binDir(map[string]string{progEtcd: one})
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.binDir(map[string]string{progEtcd: two})
	if err != nil || a == other {
		t.Errorf("two folders: %s and %s, %v", a, other, err)
	}
	if text, _ := os.ReadFile(filepath.Join(a, progEtcd)); string(text) != "one" {
		t.Errorf("etcd of %s holds %q", a, text)
	}
	b.removeOld()
	if !exists(one) || !exists(a) {
		t.Error("what is in use was removed")
	}
	old := time.Now().Add(-keepBuilds - time.Minute)
	os.Chtimes(filepath.Dir(two), old, old)
	b.removeOld()
	if exists(two) || !exists(one) {
		t.Error("only what nobody used should be removed")
	}
}

// TestCheckKind: a program that has our transport is no stock, and one that
// has not is no dv.
func TestCheckKind(t *testing.T) {
	for text, is := range map[string]kind{"xx" + hookSymbol + "yy": dv, "anything else": stock} {
		path := filepath.Join(t.TempDir(), "etcd")
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, k := range bothKinds {
			if err := checkKind(path, k); (err == nil) != (k == is) {
				t.Errorf("a program of %s taken for %s: %v", is, k, err)
			}
		}
	}
}

func TestDVSettings(t *testing.T) {
	t.Setenv("ETCD_DV_MODE", "off")
	if got := dvSettings(dv); !slices.Equal(got, []string{"ETCD_DV_MODE=off"}) {
		t.Errorf("dv gets %q", got)
	}
	if got := dvSettings(stock); got != nil {
		t.Errorf("stock gets %q", got)
	}
}

func TestCopyTree(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	os.MkdirAll(filepath.Join(src, "a", "b"), 0o555)
	os.WriteFile(filepath.Join(src, "x.go"), []byte("go"), 0o444)
	os.WriteFile(filepath.Join(src, "x.crt"), []byte("crt"), 0o444)
	os.Symlink("x.crt", filepath.Join(src, "link"))
	if err := copyTree(dst, src, func(p string) bool { return p != "x.go" }); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dst, "link"))
	if err != nil || string(text) != "crt" {
		t.Errorf("link leads to %q, %v", text, err)
	}
	if exists(filepath.Join(dst, "x.go")) || !exists(filepath.Join(dst, "a", "b")) {
		t.Error("the wrong files were copied")
	}
	if err := os.WriteFile(filepath.Join(dst, "a", "new"), nil, 0o644); err != nil {
		t.Errorf("the copy cannot be changed: %v", err)
	}
}
